"""`truss push --watch` on the target `docker`: edits reach a container by an exec, and stay in it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.helpers import wait_until
from tests.watching import MODEL, SECONDS, Project, call

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engine import EngineCleaner

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture
def project(tmp_path: Path, docker_model: str) -> Iterator[Project]:
    """Give a package; whatever watches it is ended."""
    project = Project(tmp_path / "falcon", docker_model)
    yield project
    for watcher in project.watchers:
        watcher.end(signal.SIGKILL)


def test_edits(project: Project, engine: EngineCleaner, docker_model: str) -> None:
    """Code is swapped and loaded in a container; a restart of it comes back with the edits, and so does the watcher."""
    watcher = project.watch("push", "--watch", "--target", "docker")
    watcher.wait("attached")
    address = project.address

    project.write("model/model.py", MODEL.replace('shout("one")', 'shout("two")'))
    assert watcher.wait("swapped")["generation"] == 2
    assert call(address) == (["two!", ["falcons"], 1], "2")
    project.write("model/model.py", MODEL.replace('shout("one")', 'shout("two")').replace("falcons", "owls"))
    watcher.wait("loaded")
    project.write("model/model.py", MODEL + "1 / 0\n")
    assert "division by zero" in watcher.wait("failed")["what"]
    assert call(address)[0] == ["two!", ["owls"], 1]

    found = engine.client.containers(filters={"label": f"truss.model={docker_model}"})
    engine.client.restart(found[0]["Id"], timeout=5)
    wait_until(lambda: any("it is back" in event.get("what", "") for event in watcher.events), SECONDS)

    wait_until(lambda: answer(address) == ["two!", ["owls"], 1], SECONDS)
    assert watcher.end() == 0, watcher.errors


def answer(address: str) -> object:
    """Return the answer of a model that may not be there yet."""
    try:
        return call(address)[0]
    except (OSError, ValueError, TypeError):
        return None
