"""BuildKit and the classic builder make the same images; what one lacks changes nothing that a user sees."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.engine import way_to_engine
from tests.fakes import RecordedProgress
from tests.file_server import serve_folder
from tests.helpers import build_tree
from tests.integration.docker_models import COUNT, build
from tests.plans import make_plan
from tests.wheelhouse import make_wheel
from truss.errors import BuildError
from truss.images import plan_images
from truss.targets.buildkit import BuildKit
from truss.targets.docker_build import ImageBuilder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.engine import EngineCleaner
    from truss.targets.docker import DockerTarget

pytestmark = [
    pytest.mark.docker,
    # The first test builds the server's image, which is slow on a busy machine.
    pytest.mark.timeout(600),
    # docker-py leaves the sockets of calls that are broken off to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

VOLATILE = {"etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"}
"""Written by the engine for each container, and in no image."""


def need_buildkit() -> None:
    """Skip the test where BuildKit is not installed."""
    if BuildKit.find(os.environ) is None:
        pytest.skip("no docker command with BuildKit on PATH")


def file_system(engine: EngineCleaner, tag: str) -> dict[str, tuple[object, ...]]:
    """Return every file of an image: kind, mode, owner, target, content."""
    container = engine.client.create_container(tag, ["none"])["Id"]
    try:
        raw = io.BytesIO(b"".join(engine.client.export(container)))
    finally:
        engine.client.remove_container(container, v=True)
    with tarfile.open(fileobj=raw) as tar:
        found = {}
        for info in tar:
            content = tar.extractfile(info) if info.isreg() else None
            known = hashlib.sha256(content.read()).hexdigest() if content else ""
            found[info.name] = (info.type, info.mode, info.uid, info.gid, info.linkname, known)
    return {name: facts for name, facts in found.items() if name not in VOLATILE}


def test_both_builders_make_the_same_files(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """The images that install something hold the same files, byte for byte, and run the same."""
    need_buildkit()
    make_wheel(tmp_path / "index/simple/probe", "probe", source="NAME = 'probe'")
    with serve_folder(tmp_path / "index", engine.host_address()) as url:
        environ = {
            **os.environ,
            "PIP_INDEX_URL": f"{url}/simple",
            "PIP_TRUSTED_HOST": engine.host_address(),
        }
        build(target, tmp_path / "first", docker_model, COUNT)
        package = build_tree(tmp_path / "package", {"model/model.py": COUNT})
        images = plan_images(make_plan(package, docker_model, ("probe==1.0",)), base_id(target))
        image = next(image for image in images if image.kind == "environment")
        seen = []
        for name, find in (("buildkit", BuildKit.find), ("classic", no_buildkit)):
            tag = f"truss/{docker_model}:{name}"
            builder = ImageBuilder(engine.client, environ, find)
            try:
                builder.build(replace(image, tag=tag), RecordedProgress(), {})
                seen.append((file_system(engine, tag), engine.client.inspect_image(tag)["Config"]["User"]))  # type: ignore[no-untyped-call]
            finally:
                engine.client.remove_image(tag)

    (first, user), (second, other) = seen
    assert {name for name in {**first, **second} if first.get(name) != second.get(name)} == set()
    assert user == other == "10001:10001"
    assert any(name.endswith("probe-1.0.dist-info/METADATA") for name in first)


def no_buildkit(environ: Mapping[str, str]) -> None:
    """Find no BuildKit, as on a machine without it."""


def base_id(target: DockerTarget) -> str:
    """Return the id of the base image."""
    return target._releases._builder.base_id("python:3.11-slim", RecordedProgress())


@pytest.mark.parametrize("which", ["buildkit", "classic"])
def test_a_failed_step_shows_its_own_last_lines(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path, which: str
) -> None:
    """Not those of the engine, nor those of a step before it."""
    need_buildkit()
    find = no_buildkit if which == "classic" else BuildKit.find
    build(target, tmp_path / "first", docker_model, COUNT)
    (tmp_path / "index/simple").mkdir(parents=True)
    with serve_folder(tmp_path / "index", engine.host_address()) as url:
        environ = way_to_engine(PIP_INDEX_URL=f"{url}/simple", PIP_TRUSTED_HOST=engine.host_address())
        package = build_tree(tmp_path / "package", {"model/model.py": COUNT})
        image = next(
            image
            for image in plan_images(make_plan(package, docker_model, ("nothing==7.0",)), base_id(target))
            if image.kind == "environment"
        )
        with pytest.raises(BuildError) as caught:
            ImageBuilder(engine.client, environ, find).build(image, RecordedProgress(), {})

    assert caught.value.message == "Docker could not install the requirements."
    assert "nothing was not found in the package registry" in caught.value.details
    assert "exit code" not in caught.value.details
    assert "non-zero code" not in caught.value.details


def test_a_docker_without_buildkit_is_passed_over(tmp_path: Path) -> None:
    """Which command line can mount secrets is asked of each, in the order of PATH."""
    without = build_tree(tmp_path / "without", {"docker": "#!/bin/sh\necho --tag\n"})
    with_it = build_tree(tmp_path / "with", {"docker": "#!/bin/sh\necho --secret\n"})
    for folder in (without, with_it):
        (folder / "docker").chmod(0o755)

    assert BuildKit.find({"PATH": str(without)}) is None
    found = BuildKit.find({"PATH": f"{without}:{with_it}"})
    assert found is not None
    assert found._program == str(with_it / "docker")
