"""The state folder: where it is, files that are whole, locks that end with their holder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness import eventually
from truss.errors import EngineError
from truss.state import Lock, is_held, locked, read_json, state_folder, write_json

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TRUSS_HOME": "{tmp}/home"}, "home"),
        ({"TRUSS_HOME": "{tmp}/home", "XDG_STATE_HOME": "{tmp}/xdg"}, "home"),
        ({"XDG_STATE_HOME": "{tmp}/xdg"}, "xdg/truss"),
        ({"XDG_STATE_HOME": "relative"}, "user/.local/state/truss"),
        ({"TRUSS_HOME": "", "XDG_STATE_HOME": ""}, "user/.local/state/truss"),
    ],
)
def test_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], expected: str
) -> None:
    """The folder is where the environment says, and private."""
    monkeypatch.setenv("HOME", str(tmp_path / "user"))

    folder = state_folder({name: value.format(tmp=tmp_path) for name, value in environ.items()})

    assert folder == tmp_path / expected
    assert folder.stat().st_mode & 0o777 == 0o700


def test_place_that_cannot_be(tmp_path: Path) -> None:
    """A folder that cannot be made says what to set."""
    (tmp_path / "file").touch()

    with pytest.raises(EngineError) as caught:
        state_folder({"TRUSS_HOME": str(tmp_path / "file/state")})

    assert caught.value.exit_code == 6
    assert "TRUSS_HOME" in caught.value.hint


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()))
def test_json_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]
) -> None:
    """Reading inverts writing."""
    path = tmp_path_factory.getbasetemp() / "value.json"

    write_json(path, value)

    assert read_json(path, tuple(value)) == value


def test_no_json(tmp_path: Path) -> None:
    """A file that is not there is None; one that somebody damaged is named."""
    path = tmp_path / "value.json"
    assert read_json(path, ("a",)) is None

    for text in ("{", "[]", "{}"):
        path.write_text(text)
        with pytest.raises(EngineError, match=r"value\.json is damaged"):
            read_json(path, ("a",))
    assert read_json(path / "below", ("a",)) is None


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """A value that cannot be written changes nothing and leaves nothing behind."""
    path = tmp_path / "value.json"
    write_json(path, {"old": 1})

    with pytest.raises(TypeError):
        write_json(path, {"new": object()})

    assert read_json(path, ("old",)) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_readers_never_see_half(tmp_path: Path) -> None:
    """Whoever reads while another writes sees one of the two values."""
    path = tmp_path / "value.json"
    values: list[dict[str, Any]] = [{"value": letter * 10_000} for letter in "ab"]
    write_json(path, values[0])
    done = threading.Event()

    def write() -> None:
        for number in range(100):
            write_json(path, values[number % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert json.loads(path.read_text()) in values
    writer.join()


def test_lock(tmp_path: Path) -> None:
    """One holds a lock at a time; looking does not disturb; closing twice is one too many but harmless."""
    path = tmp_path / "lock"
    assert not is_held(path)

    lock = Lock.take(path)

    assert lock is not None
    assert Lock.take(path) is None
    assert is_held(path)
    assert is_held(path)
    lock.close()
    lock.close()
    assert not is_held(path)


def test_lock_of_a_child(tmp_path: Path) -> None:
    """A child that inherits a lock holds it until it ends, however it ends, and its own children do not."""
    path = tmp_path / "lock"
    lock = Lock.take(path)
    assert lock is not None
    script = "import subprocess; subprocess.Popen(['sleep', '60']); print('up', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(lock.fd,),
        start_new_session=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        lock.close()
        assert is_held(path)

        child.kill()
        child.wait(10)

        assert not is_held(path)
        os.killpg(child.pid, signal.SIGKILL)


def test_waiting_for_a_lock(tmp_path: Path) -> None:
    """Who waits for a lock says so once, and gets it when it is let go."""
    path = tmp_path / "lock"
    first = Lock.take(path)
    assert first is not None
    said: list[str] = []
    entered = threading.Event()

    def second() -> None:
        with locked(path, timeout=10, busy="busy", waiting=lambda: said.append("waiting")):
            entered.set()

    waiter = threading.Thread(target=second)
    waiter.start()
    eventually(lambda: said)
    assert not entered.is_set()
    first.close()

    assert entered.wait(10)
    waiter.join()
    assert said == ["waiting"]
    assert not is_held(path)


def test_waiting_has_an_end(tmp_path: Path) -> None:
    """A lock that is not let go in time is an error in the words of whoever wanted it."""
    path = tmp_path / "lock"

    with locked(path, timeout=0, busy="never"):
        with (
            pytest.raises(EngineError, match="somebody is at it"),
            locked(path, timeout=0.1, busy="somebody is at it"),
        ):
            pass
        assert is_held(path)
