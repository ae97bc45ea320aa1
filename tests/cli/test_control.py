"""The tool's end of the control channel, against a server that speaks it on a real socket."""

from __future__ import annotations

import json
import socket
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.control_server import TRACEBACK, ControlServer, Version
from tests.helpers import build_tree
from truss.channel import Frames, SocketChannel, connect, wait_readable
from truss.control import Session
from truss.control_messages import (
    Applied,
    BusyError,
    Change,
    ChannelClosedError,
    Event,
    Failed,
    Messages,
    Mismatch,
    State,
    check_path,
)
from truss.errors import EngineError
from truss.plan import plan_release
from truss.release import FileChangedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from truss.release import ReleasePlan

SECONDS = 10.0
MODEL = "class Model:\n    def predict(self, inputs):\n        return 1\n"


@pytest.fixture
def plan(tmp_path: Path) -> ReleasePlan:
    """Give the plan of a package."""
    files: dict[str, str | bytes] = {
        "config.yaml": "",
        "model/model.py": MODEL,
        "data/grün.bin": b"\0\1",
        "data/b.txt": "b",
    }
    return plan_release(build_tree(tmp_path / "falcon", files))


@pytest.fixture
def server(tmp_path: Path, plan: ReleasePlan) -> Iterator[ControlServer]:
    """Give a deployment that runs the package; the path of its socket is longer than an address can be."""
    server = ControlServer(tmp_path / ("d" * 120) / "control", Version.of(plan))
    yield server
    server.close()


@pytest.fixture
def session(server: ControlServer) -> Iterator[Session]:
    """Give a session with it."""
    session = Session.begin(connect(server.path), "pid 1 of anna")
    yield session
    session.close()


def next_event(session: Session) -> Event:
    """Return the next event."""
    while True:
        assert wait_readable(session, SECONDS), "no event came"
        if events := session.receive():
            return events[0]


def edited(plan: ReleasePlan, path: str, content: str) -> ReleasePlan:
    """Return the plan after an edit."""
    (plan.package / path).write_text(content)
    return plan_release(plan.package)


def change(plan: ReleasePlan, base: str, *paths: str, delete: tuple[str, ...] = ()) -> Change:
    """Return a change that sends some files."""
    files = tuple(file for file in plan.files if str(file.path) in paths)
    manifest = {"digest": plan.manifest.digest}
    return Change(base, "swap", manifest, files, delete, ("model/model.py",), {"model/model.py": ("A",)})


def test_hello(session: Session, plan: ReleasePlan) -> None:
    """A session begins with what runs."""
    hello = session.hello

    assert (hello.model, hello.digest, hello.generation) == ("falcon", plan.manifest.digest, 1)
    assert hello.files == {str(file.path): file.sha256 for file in plan.files}


def test_apply(session: Session, server: ControlServer, plan: ReleasePlan) -> None:
    """New files arrive as they are, deleted ones go, and the answer says what runs now."""
    new = edited(plan, "data/grün.bin", "ä" * 700_000)

    session.apply(change(new, plan.manifest.digest, "data/grün.bin", delete=("data/b.txt",)))

    assert next_event(session) == Applied(2, new.manifest.digest, "swap", "", 0.25)
    assert server.version.files["data/grün.bin"] == ("ä" * 700_000).encode()
    assert "data/b.txt" not in server.version.files
    assert server.asked[-1] == {
        "do": "apply",
        "base": plan.manifest.digest,
        "how": "swap",
        "manifest": {"digest": new.manifest.digest},
        "delete": ["data/b.txt"],
        "modules": ["model/model.py"],
        "keep": {"model/model.py": ["A"]},
        "strategy": "beside",
        "python": None,
    }


def test_failed(session: Session, plan: ReleasePlan) -> None:
    """A version that does not load comes back with the traceback and the generation that goes on."""
    new = edited(plan, "model/model.py", MODEL + "# BROKEN\n")

    session.apply(change(new, plan.manifest.digest, "model/model.py"))

    assert next_event(session) == Failed(1, "RuntimeError: no", TRACEBACK, 0.25)


def test_mismatch(session: Session, server: ControlServer, plan: ReleasePlan) -> None:
    """A patch for another version is answered with what runs."""
    session.apply(change(plan, "another", "model/model.py"))

    assert next_event(session) == Mismatch(plan.manifest.digest, server.version.hashes)


def test_reload(session: Session, plan: ReleasePlan) -> None:
    """The version that runs can be loaded again."""
    session.reload()

    assert next_event(session) == Applied(2, plan.manifest.digest, "load", "", 0.25)


def test_state(session: Session, server: ControlServer) -> None:
    """What happens to the model is told unasked; what only a later server says is passed over."""
    server.say({"event": "weather", "is": "fine"})
    server.say({"event": "state", "status": "restarting", "error": "killed by signal 9"})

    assert next_event(session) == State("restarting", "killed by signal 9")


def test_second_watcher(session: Session, server: ControlServer) -> None:
    """A second watcher is told who the first one is, and the first goes on."""
    with pytest.raises(BusyError) as caught:
        Session.begin(connect(server.path), "pid 2 of bert")

    assert caught.value.message == (
        "It is being watched already, by pid 1 of anna since 2026-01-02T03:04:05Z."
    )
    session.reload()
    assert isinstance(next_event(session), Applied)


def test_file_that_changes_while_it_is_sent(
    session: Session, server: ControlServer, plan: ReleasePlan
) -> None:
    """Nothing is asked for with a file that is not what was planned, and the session goes on."""
    (plan.package / "model/model.py").write_text("other")

    with pytest.raises(FileChangedError):
        session.apply(change(plan, plan.manifest.digest, "model/model.py"))

    session.reload()
    assert isinstance(next_event(session), Applied)
    assert [fields["do"] for fields in server.asked] == ["watch", "reload"]


def test_end_of_the_deployment(session: Session, server: ControlServer) -> None:
    """A deployment that goes away is noticed."""
    server.drop()

    with pytest.raises(ChannelClosedError):
        next_event(session)


def test_nobody_listens(tmp_path: Path) -> None:
    """A deployment that cannot be watched is told apart within the time."""
    with pytest.raises(EngineError, match="does not answer: No such file"):
        connect(tmp_path / "control.sock", seconds=0.1)


def test_silent_deployment() -> None:
    """A deployment that says nothing is not waited for without end."""
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(EngineError, match="does not say what it runs"):
        Session.begin(SocketChannel(ours), "me", seconds=0.1)


@pytest.mark.parametrize(
    "said",
    [b"[1]\n", b"hello\n", b'{"event": "hello", "protocol": 2}\n', b'{"bytes": -1}\n', b'{"bytes": "x"}\n'],
)
def test_other_words(said: bytes) -> None:
    """What is no message of this protocol ends the session with an error, not with a traceback."""
    ours, theirs = socket.socketpair()
    theirs.sendall(said)
    with theirs, pytest.raises(EngineError):
        Session.begin(SocketChannel(ours), "me", seconds=SECONDS)


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/", "a\0b"])
def test_path_that_leads_out(path: str) -> None:
    """No such path is sent, whoever named it."""
    with pytest.raises(EngineError, match="no path in a release"):
        check_path(path)


MESSAGES = st.lists(
    st.tuples(st.dictionaries(st.text(), st.integers() | st.text()), st.binary(max_size=20)), max_size=5
)


@given(MESSAGES, st.data())
def test_messages_in_any_pieces(messages: list[tuple[dict[str, object], bytes]], data: st.DataObject) -> None:
    """Messages are the same whatever pieces they come in."""
    sent = [{**fields, "bytes": len(payload)} for fields, payload in messages]
    wire = b"".join(
        json.dumps(fields).encode() + b"\n" + payload
        for fields, (_, payload) in zip(sent, messages, strict=True)
    )
    reader = Messages()
    found = []
    while wire:
        cut = data.draw(st.integers(1, len(wire)))
        found += reader.feed(wire[:cut])
        wire = wire[cut:]

    assert found == sent


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=30))), st.integers(1, 9))
def test_frames_in_any_pieces(frames: list[tuple[int, bytes]], size: int) -> None:
    """The output of an exec is taken apart whatever pieces it comes in."""
    wire = b"".join(struct.pack(">BxxxL", kind, len(data)) + data for kind, data in frames)
    reader = Frames()
    pieces = [reader.feed(wire[start : start + size]) for start in range(0, len(wire), size)]

    assert b"".join(out for out, _ in pieces) == b"".join(data for kind, data in frames if kind == 1)
    assert b"".join(told for _, told in pieces) == b"".join(data for kind, data in frames if kind == 2)
