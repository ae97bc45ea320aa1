"""Containers that belong to a command: they end with it, and what one that was killed left is cleared away."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest
from docker.errors import NotFound

from tests.fakes import RecordedProgress
from tests.harness import TRUSS, spawn_truss
from tests.helpers import build_tree, wait_until
from tests.integration.docker_models import COUNT, READY_SECONDS, is_ready, start
from tests.plans import make_plan
from truss.ports import free_port
from truss.targets.docker import DockerTarget
from truss.targets.docker_owned import OWNER_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.engine import EngineCleaner

pytestmark = [
    pytest.mark.docker,
    # The first test builds the server's image, which is slow on a busy machine.
    pytest.mark.timeout(600),
]

BUILD_SECONDS = 300.0

TYPED = """
import pydantic

class Point(pydantic.BaseModel):
    x: int

class Model:
    def __init__(self, secrets):
        self._x = 1

    def predict(self, point: Point) -> Point:
        return point
"""

PYDANTIC = '''
class BaseModel:
    """Has of pydantic what the server asks for."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    @classmethod
    def model_validate(cls, value):
        return cls(**value)

    @classmethod
    def model_json_schema(cls):
        fields = {name: {"type": "integer"} for name in cls.__annotations__}
        return {"title": cls.__name__, "type": "object", "properties": fields, "required": [*fields]}
'''


def typed_package(folder: Path, source: str) -> Path:
    """Return a package whose types need no index: the base class is a module of its own."""
    base = {
        "packages/pydantic/__init__.py": "from pydantic.main import BaseModel\n",
        "packages/pydantic/main.py": PYDANTIC,
    }
    return build_tree(folder, {"model/model.py": source, **base})


def is_there(engine: EngineCleaner, container: str) -> bool:
    """Return whether an engine has a container."""
    try:
        engine.client.inspect_container(container)
    except NotFound:
        return False
    return True


def run_image(
    engine: EngineCleaner, package: Path, environ: dict[str, str]
) -> tuple[subprocess.Popen[bytes], str]:
    """Start `truss image run`; return it, and its container once that is there."""
    command = [TRUSS, "image", "run", str(package), "--port", str(free_port())]
    run = subprocess.Popen(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    (container,) = wait_until(
        lambda: owned(engine, environ["TRUSS_HOME"], serving=True), BUILD_SECONDS, what="the container"
    )
    return run, container


def owned(engine: EngineCleaner, state: str, *, serving: bool = False) -> list[str]:
    """Return the containers of the commands with a folder for state; if asked for, those that listen on a port."""
    found = engine.client.containers(all=True, filters={"label": OWNER_LABEL})
    mine = [one for one in found if one["Labels"][OWNER_LABEL].startswith(state)]
    return [one["Id"] for one in mine if one["Ports"] or not serving]


def test_a_run_that_was_killed(engine: EngineCleaner, docker_model: str, tmp_path: Path) -> None:
    """Its container and its secrets are gone after the next build; what others run stays, whoever they are."""
    files = {"config.yaml": f"model_name: {docker_model}\nsecrets: {{WORD: null}}\n", "model/model.py": COUNT}
    package = build_tree(tmp_path / "package", dict(files))
    here = {**os.environ, "TRUSS_HOME": str(tmp_path / "here"), "TRUSS_SECRET_WORD": "hush"}
    killed, left = run_image(engine, package, here)
    killed.kill()
    killed.wait(30)
    assert is_there(engine, left)

    def secrets() -> list[Path]:
        return [path for path in (tmp_path / "here").rglob("WORD") if path.read_text() == "hush"]

    assert len(secrets()) == 1
    there = {**os.environ, "TRUSS_HOME": str(tmp_path / "there")}
    assert spawn_truss("image", "build", str(package), environ=there).code == 0
    assert is_there(engine, left), "it belongs to somebody else's state"

    assert spawn_truss("image", "build", str(package), environ=here).code == 0
    assert not is_there(engine, left)
    assert secrets() == []

    running, mine = run_image(engine, package, here)
    assert spawn_truss("image", "build", str(package), environ=here).code == 0
    assert is_there(engine, mine), "its command lives"
    running.send_signal(signal.SIGINT)
    running.wait(60)
    assert not is_there(engine, mine)


def test_a_port_that_is_taken_is_seen_before_the_build(
    engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """Neither a run nor a push builds anything for it."""
    package = build_tree(
        tmp_path / "package", {"config.yaml": f"model_name: {docker_model}\n", "model/model.py": COUNT}
    )
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        run = spawn_truss("image", "run", str(package), "--port", port)
        push = spawn_truss("push", str(package), "--target", "docker", "--port", port)

    assert (run.code, push.code) == (6, 6)
    assert f"error: Port {port} is taken.\n" in run.stderr
    assert f"error: Port {port} is taken.\n" in push.stderr
    assert engine.tags(docker_model) == []


def test_a_label_has_the_types_of_a_model(engine: EngineCleaner, docker_model: str, tmp_path: Path) -> None:
    """The document in the label is what the server shows; the model was not even made for it, and nothing is left."""
    target = DockerTarget(engine.client, {**os.environ, "TRUSS_HOME": str(tmp_path / "state")})
    package = typed_package(tmp_path / "package", TYPED)

    release = target.build(make_plan(package, docker_model), RecordedProgress())

    assert owned(engine, str(tmp_path)) == []
    document = json.loads(engine.image_labels(release.reference)["truss.openapi"])
    assert (
        document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]["title"]
        == "Point"
    )
    shown = start(target, release)
    assert is_ready(target, shown)
    assert document == httpx.get(f"{shown.url}/openapi.json", timeout=READY_SECONDS).json()


@pytest.mark.parametrize(
    "broken",
    [
        (
            lambda text: f"import nowhere_at_all\n{text}",
            "ModuleNotFoundError: No module named 'nowhere_at_all'",
        ),
        (
            lambda text: (
                f"{text}\nimport urllib.request\nurllib.request.urlopen('http://192.0.2.1', timeout=20)\n"
            ),
            "urllib.error.URLError: <urlopen error [Errno 101] Network is unreachable>",
        ),
    ],
    ids=["broken", "network"],
)
def test_types_that_cannot_be_read(
    target: DockerTarget,
    engine: EngineCleaner,
    docker_model: str,
    tmp_path: Path,
    broken: tuple[Callable[[str], str], str],
) -> None:
    """The image is built all the same, its label names the route, and one line says why."""
    edit, reason = broken
    package = typed_package(tmp_path / "package", edit(TYPED))
    progress = RecordedProgress()

    release = target.build(make_plan(package, docker_model), progress)

    assert engine.image_labels(release.reference)["truss.openapi"] == "/openapi.json"
    note = f"The image's label truss.openapi names the route only, not the types: {reason}"
    assert [line for line in progress.details if "truss.openapi" in line] == [note]


def test_an_edit_that_leaves_the_document(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """Every release has its document; nothing is run for one that an earlier release has already."""
    told, edited = RecordedProgress(), RecordedProgress()
    package = build_tree(tmp_path / "package", {"model/model.py": COUNT})
    first = target.build(make_plan(package, docker_model), told)
    build_tree(package, {"model/model.py": f"{COUNT}\n# An edit.\n"})
    second = target.build(make_plan(package, docker_model), edited)

    documents = [engine.image_labels(one.reference)["truss.openapi"] for one in (first, second)]
    assert first.reference != second.reference
    assert "/predict" in json.loads(documents[0])["paths"]
    assert documents[0] == documents[1]
    assert "read the model's types" in told.details
    assert "read the model's types" not in edited.details


def test_a_document_that_cannot_be_made(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """A model that cannot be imported in a build has the route instead, and its document once it can."""
    package = build_tree(tmp_path / "package", {"model/model.py": f"import nowhere_at_all\n{COUNT}"})
    broken = target.build(make_plan(package, docker_model), RecordedProgress())
    build_tree(package, {"model/model.py": COUNT})
    mended = target.build(make_plan(package, docker_model), RecordedProgress())

    assert engine.image_labels(broken.reference)["truss.openapi"] == "/openapi.json"
    assert "/predict" in json.loads(engine.image_labels(mended.reference)["truss.openapi"])["paths"]
