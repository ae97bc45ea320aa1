"""Deaths, reloads and imports that fail in the midst of edits: the service goes on, with one worker in the end."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.helpers import wait_until
from tests.server.editing import MODEL, Session
from tests.server.harness import Servers
from tests.server.releases import Gates

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.server.harness import Edge

SOURCE = """
import gates
from pathlib import Path

TABLE, LIMITS = {}, [1]

class Model:
    def __init__(self, data_dir):
        self.words = data_dir / "words.txt"

    def load(self):
        TABLE["loaded"] = LIMITS
        #load#

    def predict(self, x):
        if x == "stream":
            return self.stream()
        return ["VERSION", self.words.read_text(), TABLE]

    def stream(self):
        yield "VERSION "
        gates.wait("go")
        yield "end"
"""
FILES = {"data/words.txt": "words", "gates/.keep": ""}
KEEP = {MODEL: ["TABLE", "LIMITS"]}


def source(version: str, load: str = "pass") -> str:
    """Return the model in a version."""
    return SOURCE.replace("VERSION", version).replace("#load#", load)


@pytest.fixture
def edge(servers: Servers) -> Edge:
    """Serve version one, ready for edits."""
    return servers.start(source("one"), files=FILES, environment="development", control=True)


@pytest.fixture
def session(edge: Edge) -> Iterator[Session]:
    """Give a session with the server."""
    session = Session(edge.control)
    yield session
    session.close()


def kill(edge: Edge, pid: int) -> None:
    """Kill a worker."""
    assert pid in edge.workers()
    os.kill(pid, signal.SIGKILL)


def test_the_old_worker_dies_while_the_new_one_loads(edge: Edge, session: Session) -> None:
    """It is started again, the new one takes over all the same, and only that one is left; its death is noticed."""
    (old,) = edge.workers()
    with ThreadPoolExecutor() as pool:
        slow = source("two", 'print("slowly"); gates.wait("loaded")')
        edit = pool.submit(session.edit, edge, {MODEL: slow}, "load")
        edge.wait_log("slowly")
        kill(edge, old)
        edge.wait_log("starting it again")
        edge.wait_ready()
        assert edge.call(1)[0] == "one"
        Gates(edge.control / "versions/2/gates").open("loaded")
        assert edit.result()["event"] == "applied"

    wait_until(lambda: len(edge.workers()) == 1, 20, what="the end of all workers but one")
    assert edge.call(1)[0] == "two"
    (new,) = edge.workers()
    kill(edge, new)
    wait_until(lambda: edge.workers() not in ([], [new]), 20, what="the next worker")
    edge.wait_ready()
    assert edge.call(1)[0] == "two"


def test_the_new_worker_dies_while_the_old_one_drains(edge: Edge, session: Session) -> None:
    """It is started again at once; the stream of the old one runs to its end."""
    (old,) = edge.workers()
    with edge.stream("stream") as stream:
        pieces = stream.iter_text()
        assert next(pieces) == "one "
        session.edit(edge, {MODEL: source("two")}, "load")
        (new,) = set(edge.workers()) - {old}
        kill(edge, new)
        edge.wait_log("starting it again")
        edge.wait_ready()
        assert edge.call(1)[0] == "two"
        edge.gates.open("go")
        assert "".join(pieces) == "end"


def test_a_reload_keeps_what_it_reads(edge: Edge, session: Session) -> None:
    """After a reload and a swap the model still finds its data, also when older versions are removed."""
    session.edit(edge, {MODEL: source("two")}, keep=KEEP)
    session.say({"do": "reload"})
    assert session.hear()["generation"] == 3
    for version in ("four", "five"):
        assert session.edit(edge, {MODEL: source(version)}, keep=KEEP)["how"] == "swap"

    assert edge.call(1) == ["five", "words", {"loaded": [1]}]


def test_names_bound_by_one_assignment_are_kept(edge: Edge, session: Session) -> None:
    """`TABLE, LIMITS = {}, [1]` is not executed again where `load` has filled the table."""
    session.edit(edge, {MODEL: source("two")}, keep=KEEP)

    assert edge.call(1) == ["two", "words", {"loaded": [1]}]


def test_what_cannot_be_imported_twice_is_loaded(edge: Edge, session: Session) -> None:
    """A module that registers itself somewhere once is no broken edit: a fresh process says whether it is."""
    once = "import sys\nif hasattr(sys, 'registered'):\n    raise ValueError('Duplicated')\nsys.registered = True\n"
    assert session.edit(edge, {MODEL: once + source("two")}, keep=KEEP)["how"] == "swap"

    answer = session.edit(edge, {MODEL: once + source("three")}, keep=KEEP)

    assert (answer["event"], answer["how"]) == ("applied", "load")
    assert "Duplicated" in answer["because"]
    assert edge.call(1)[0] == "three"


def test_a_way_that_there_is_not(edge: Edge, session: Session) -> None:
    """An edit that is to come up in another way than there are is refused, and nothing of it stays."""
    answer = session.edit(edge, {MODEL: "no Python"}, "somehow")

    assert (answer["event"], edge.call(1)[0]) == ("failed", "one")
    assert not (edge.control / "current").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system with room for little more than a model."""
    place = tmp_path / "release-0-control"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("how", ["swap", "load"])
def test_a_full_disk(small_disk: Path, tmp_path: Path, how: str) -> None:
    """An edit that the disk does not take is refused as a whole, what served serves on, and smaller edits go on."""
    servers = Servers(tmp_path)
    try:
        edge = servers.start(source("one"), files=FILES, environment="development", control=True)
        large: dict[str, str | bytes] = {MODEL: source("two"), "data/large.bin": bytes(1 << 20)}
        with closing(Session(edge.control)) as session:
            answer = session.edit(edge, large, how, keep=KEEP)
            assert (answer["event"], answer["generation"]) == ("failed", 1)
            assert "No space left on device" in answer["error"]
            assert edge.post("/predict", 1).json()[0] == "one"

            assert session.edit(edge, {MODEL: source("three")}, how, keep=KEEP)["event"] == "applied"
            assert edge.post("/predict", 1).json()[0] == "three"
        assert (small_disk / "current").resolve().name == "2"
    finally:
        servers.end()
