"""Builds are as good where the engine keeps images in containerd's store as where it has its own."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.fakes import RecordedProgress
from tests.helpers import build_tree
from tests.integration.docker_models import COUNT, build
from tests.integration.test_docker_builders import base_id, file_system, need_buildkit, no_buildkit
from tests.plans import make_plan
from truss.context import Context
from truss.images import Image, plan_images
from truss.targets import docker_build
from truss.targets.buildkit import BuildKit
from truss.targets.docker_build import ImageBuilder
from truss.targets.docker_store import in_containerd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.engine import EngineCleaner
    from truss.targets.docker import DockerTarget

    Finds = Callable[[Mapping[str, str]], BuildKit | None]

pytestmark = [
    pytest.mark.docker,
    # The first test builds the server's image, which is slow on a busy machine.
    pytest.mark.timeout(600),
]

MEGABYTE = 1_000_000


@pytest.fixture
def images(
    engine: EngineCleaner, target: DockerTarget, docker_model: str, tmp_path: Path
) -> Iterator[dict[str, Image]]:
    """Give the images of a package by kind; those that only copy files are not there yet, and go again."""
    build(target, tmp_path / "first", docker_model, COUNT)
    files = {
        "model/model.py": COUNT,
        "data/own": docker_model,
        "packages/mine.py": f"NAME = {docker_model!r}",
    }
    plan = make_plan(build_tree(tmp_path / "package", files), docker_model)
    found = {image.kind: image for image in plan_images(plan, base_id(target))}
    yield found
    for kind in ("release", "packages", "data"):
        if engine.image_labels(found[kind].tag):
            engine.client.remove_image(found[kind].tag)


def make(engine: EngineCleaner, image: Image, find: Finds = BuildKit.find) -> list[str]:
    """Build an image; return which builder made each of its own steps, the last one first."""
    ImageBuilder(engine.client, os.environ, find).build(image, RecordedProgress(), {"TRUSS_RELEASE": "1"})
    history = engine.client.history(image.tag)  # type: ignore[no-untyped-call]
    return ["buildkit" if "buildkit" in step["Comment"] else "classic" for step in history]


def test_little_is_copied_by_the_faster_builder(
    engine: EngineCleaner, images: dict[str, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """BuildKit in containerd's store, the classic builder in Docker's own; it is always that where there is much."""
    need_buildkit()
    expected = "buildkit" if in_containerd(engine.client) else "classic"

    little = make(engine, images["data"])
    monkeypatch.setattr(docker_build, "MOST_COPIED_BYTES", 10)
    much = make(engine, images["packages"])

    assert little[0] == expected
    assert much[0] == "classic"


@pytest.mark.containerd
def test_both_builders_copy_the_same(engine: EngineCleaner, images: dict[str, Image]) -> None:
    """Files, and all that an image says of how it is run."""
    need_buildkit()

    seen = []
    for find in (BuildKit.find, no_buildkit):
        for kind in ("data", "packages", "release"):
            builders = make(engine, images[kind], find)
        config = engine.client.inspect_image(images["release"].tag)["Config"]  # type: ignore[no-untyped-call]
        del config["Labels"]["truss.build"]
        seen.append((builders[0], file_system(engine, images["release"].tag), config))
        for kind in ("release", "packages", "data"):
            engine.client.remove_image(images[kind].tag)

    (first, files, config), (second, same_files, same_config) = seen
    assert (first, second) == ("buildkit", "classic")
    assert {name for name in {**files, **same_files} if files.get(name) != same_files.get(name)} == set()
    keys = (
        "User",
        "Env",
        "Labels",
        "Entrypoint",
        "Cmd",
        "WorkingDir",
        "Healthcheck",
        "StopSignal",
        "ExposedPorts",
    )
    assert {key: config.get(key) for key in keys} == {key: same_config.get(key) for key in keys}


@pytest.mark.containerd
def test_the_classic_builder_leaves_nothing_without_a_name(
    engine: EngineCleaner, images: dict[str, Image]
) -> None:
    """Where each step of it becomes an image, and the first one has the labels of the image below."""

    def unnamed() -> set[str]:
        return {one["Id"] for one in engine.client.images(filters={"dangling": True})}

    before = unnamed()
    for kind in ("data", "packages", "release"):
        make(engine, images[kind], no_buildkit)

    assert unnamed() <= before


def test_what_a_build_stands_upon_stays(engine: EngineCleaner, docker_model: str) -> None:
    """A base image of the user's that has no name, too, of which build commands make one."""
    dockerfile = io.BytesIO(f"FROM python:3.11-slim\nLABEL truss.model={docker_model} own=1\n".encode())
    base = ""
    for event in engine.client.build(fileobj=dockerfile, rm=True, decode=True):
        base = event.get("aux", {}).get("ID", base)
    image = Image("system", "run it", f"truss/{docker_model}:own", Context(()), True, base)
    made = replace(image, commands=(("/bin/sh", "-ec", "true"),))

    ImageBuilder(engine.client, os.environ, no_buildkit).build(made, RecordedProgress(), {})

    assert engine.client.inspect_image(base)["Id"] == base  # type: ignore[no-untyped-call]


def test_sizes_are_those_of_the_files(target: DockerTarget, docker_model: str, tmp_path: Path) -> None:
    """However well they pack."""
    package = build_tree(
        tmp_path / "package", {"model/model.py": COUNT, "data/zeros": docker_model.encode() + bytes(MEGABYTE)}
    )
    progress = RecordedProgress()

    target.build(make_plan(package, docker_model), progress)

    (data,) = [image for image in progress.images if image.kind == "data"]
    assert MEGABYTE < data.size < 1.1 * MEGABYTE
