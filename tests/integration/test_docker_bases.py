"""Base images of the user's own, on a real engine: what is taken, what is refused, and which Python runs what."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.docker_models import COUNT, build, predict, start
from tests.server.interpreters import PYTHONS
from truss.errors import BuildError, EngineError
from truss.targets.docker import DockerTarget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine import EngineCleaner

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

VERSIONS = """
import sys

class Model:
    def predict(self, request):
        return sys.version_info[:2]
"""


@pytest.fixture
def bare(engine: EngineCleaner, docker_model: str) -> Iterator[str]:
    """Give an image with a single file in it."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("nothing"))
    name = f"{docker_model}-bare"
    engine.client.import_image_from_data(content.getvalue(), repository=name, tag="1")
    yield f"{name}:1"
    engine.client.remove_image(f"{name}:1")


def test_an_image_that_is_not_debian_like(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, bare: str, tmp_path: Path
) -> None:
    """It is refused before anything runs in it: it may have nothing that could run. Nothing is left."""
    before = engine.client.containers(all=True, quiet=True)

    with pytest.raises(BuildError) as caught:
        build(target, tmp_path, docker_model, COUNT, base_image={"image": bare})

    assert caught.value.message == f"The base image {bare} is no Debian-like one: it has no /usr/bin/dpkg."
    assert "Alpine" in caught.value.hint
    assert engine.client.containers(all=True, quiet=True) == before


@pytest.mark.parametrize(
    "case",
    [
        ("ONBUILD COPY . /kept/", "has ONBUILD instructions, which would copy the settings of the build."),
        ("VOLUME /opt", "declares /opt as a volume: what a build puts there is lost."),
    ],
)
def test_an_image_that_does_more_than_to_be_built_upon(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path, case: tuple[str, str]
) -> None:
    """A password of an index would stay in it, or the server would be lost: it is refused before anything is built."""
    instruction, why = case
    base = f"{docker_model}-base:1"
    dockerfile = f"FROM python:3.11-slim\nLABEL truss.model={docker_model}\n{instruction}\n"
    (tmp_path / "Dockerfile").write_text(dockerfile)
    for event in engine.client.build(path=str(tmp_path), tag=base, rm=True, decode=True):
        assert "error" not in event, event

    with pytest.raises(BuildError) as caught:
        build(target, tmp_path, docker_model, COUNT, base_image={"image": base})

    assert caught.value.message == f"The base image {base} {why}"


@pytest.fixture
def two_pythons(engine: EngineCleaner, docker_model: str, tmp_path: Path) -> str:
    """Give an image whose first python3 is a 3.9, and that has a newer one from Debian."""
    if "3.9" not in PYTHONS:
        pytest.skip("there is no Python 3.9 on this machine")
    root = Path(PYTHONS["3.9"]).resolve().parents[1]
    context = io.BytesIO()
    text = f"FROM python:3.11-slim\nLABEL truss.model={docker_model}\nCOPY python /usr/local\nRUN ldconfig\n".encode()
    with tarfile.open(fileobj=context, mode="w") as tar:
        head = tarfile.TarInfo("Dockerfile")
        head.size = len(text)
        tar.addfile(head, io.BytesIO(text))
        for part in ("bin", "lib"):
            tar.add(root / part, f"python/{part}", filter=_without_tests)
    name = f"{docker_model}-two:1"
    context.seek(0)
    for event in engine.client.build(fileobj=context, custom_context=True, tag=name, rm=True, decode=True):
        assert "error" not in event, event
    return name


def _without_tests(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    unneeded = {"test", "tests", "__pycache__", "site-packages", "idlelib", "tkinter"} & set(
        info.name.split("/")
    )
    return None if unneeded or info.name.endswith(".a") else info


def test_the_models_python_and_the_servers(
    target: DockerTarget, docker_model: str, two_pythons: str, tmp_path: Path
) -> None:
    """A model may run on 3.9, which is too old for the server; a path says which Python is the model's."""
    old = build(target, tmp_path, docker_model, VERSIONS, base_image={"image": two_pythons})
    assert json.loads(predict(start(target, old), {})) == [3, 9]

    named = {"image": two_pythons, "python_executable_path": "/usr/bin/python3"}
    new = build(target, tmp_path, docker_model, VERSIONS, base_image=named)
    assert json.loads(predict(start(target, new, "staging"), {})) == [3, 11]


OFFICIAL = """\
FROM python:3.11-slim
LABEL truss.model={model}
RUN if ! [ -x /usr/local/bin/python3 ]; then \
      cp -a /usr/lib/python3.11 /usr/lib/python3 /usr/local/lib/ && mv /usr/bin/python3.11 /usr/local/bin/ \
      && ln -s python3.11 /usr/local/bin/python3 && ln -s python3 /usr/local/bin/python \
      && rm -r /usr/lib/python3.11 /usr/lib/python3 /usr/bin/python3* /usr/bin/pip* \
      && rm -f /usr/local/lib/python3.11/EXTERNALLY-MANAGED; \
    fi; \
    python -c 'import sys; assert sys.base_prefix == "/usr/local", sys.base_prefix' \
 && printf '#!/bin/sh\\nexec /usr/local/bin/python3 -m pip "$@"\\n' >/usr/local/bin/pip && chmod +x /usr/local/bin/pip
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
"""
"""As Python's official images have it: all of it in /usr/local, nothing of Debian's, pip may install there.

What `.ci/engine` makes without a registry has Debian's own Python instead, which nothing may be installed into.
"""

REPORT = """
import sys

class Model:
    def predict(self, request):
        yield f"{sys.base_prefix} "
        yield sys.executable
"""


@pytest.fixture
def official(engine: EngineCleaner, docker_model: str) -> str:
    """Give an image that is laid out as Python's official ones."""
    context = io.BytesIO()
    text = OFFICIAL.format(model=docker_model).encode()
    with tarfile.open(fileobj=context, mode="w") as tar:
        head = tarfile.TarInfo("Dockerfile")
        head.size = len(text)
        tar.addfile(head, io.BytesIO(text))
    name = f"{docker_model}-official:1"
    context.seek(0)
    for event in engine.client.build(fileobj=context, custom_context=True, tag=name, rm=True, decode=True):
        assert "error" not in event, event
    return name


@pytest.mark.parametrize("path", [os.environ.get("PATH", os.defpath), "/nonexistent"], ids=["any", "classic"])
def test_the_layout_of_the_official_images(
    engine: EngineCleaner, docker_model: str, official: str, tmp_path: Path, path: str
) -> None:
    """A Python in /usr/local alone is the model's and the server's, and build commands find its pip, whoever builds."""
    target = DockerTarget(engine.client, {**os.environ, "PATH": path})
    commands = [
        "pip --version | grep /usr/local/",
        "python -c 'import sys; sys.exit(sys.prefix != \"/opt/model\")'",
        f"echo {len(path)}",  # so that each builder builds
    ]
    release = build(
        target, tmp_path, docker_model, REPORT, base_image={"image": official}, build_commands=commands
    )

    deployment = start(target, release)

    assert predict(deployment, {}) == "/usr/local /opt/model/bin/python"


def test_a_python_that_is_not_there(target: DockerTarget, docker_model: str, tmp_path: Path) -> None:
    """The path that config.yaml names is in the error."""
    named = {"image": "python:3.11-slim", "python_executable_path": "/opt/none/python3"}

    with pytest.raises(BuildError) as caught:
        build(target, tmp_path, docker_model, COUNT, base_image=named)

    assert caught.value.details == "python:3.11-slim has no /opt/none/python3"


def test_a_gpu_is_asked_for(engine: EngineCleaner, docker_model: str, tmp_path: Path) -> None:
    """The engine is asked for as many of the machine's as the model wants; an engine that has none says so."""
    none = DockerTarget(engine.client, os.environ, gpus=lambda: 0)
    two = DockerTarget(engine.client, os.environ, gpus=lambda: 2)
    release = build(none, tmp_path, docker_model, COUNT, resources={"accelerator": "L4:4"})
    assert predict(start(none, release), {"count": 1}) == "0 "

    if "nvidia" in engine.client.info()["Runtimes"]:
        pytest.skip("the engine has GPUs")
    with pytest.raises(EngineError) as caught:
        two.start(release, "staging", port=None)

    assert "could not select device driver" in caught.value.details
    assert "NVIDIA Container Toolkit" in caught.value.hint
