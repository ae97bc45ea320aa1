"""The pipe to a control socket inside of a container."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.control_server import ControlServer, Version
from tests.harness import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WATCH = b'{"do": "watch", "protocol": 1, "who": "me"}\n'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ControlServer]:
    """Give a control socket, on a path longer than an address can be."""
    server = ControlServer(tmp_path / ("d" * 120), Version("digest"))
    yield server
    server.close()


def start(path: Path) -> subprocess.Popen[bytes]:
    """Start the relay."""
    command = [sys.executable, "-I", "-m", "truss_server.relay", str(path)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )


def test_both_directions(server: ControlServer) -> None:
    """Bytes pass in both directions, and the session ends with stdin: a killed watcher leaves nothing."""
    with start(server.path) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(WATCH)
        assert b'"event": "hello"' in process.stdout.read(4096)
        process.stdin.write(b'{"do": "reload"}\n')
        assert b'"event": "applied"' in process.stdout.read(4096)

        process.stdin.close()

        assert process.wait(10) == 0
        eventually(lambda: server._watcher is None)


def test_end_of_the_server(server: ControlServer) -> None:
    """The relay ends with the server, though its stdin stays open."""
    with start(server.path) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(WATCH)
        assert process.stdout.read(4096)

        server.drop()

        assert process.wait(10) == 0


def test_no_server(tmp_path: Path) -> None:
    """Where nobody listens, stderr says so."""
    with start(tmp_path / "control.sock") as process:
        assert process.stderr
        assert process.wait(10) == 1
        assert process.stderr.read() == (
            f"nobody listens at {tmp_path}/control.sock: No such file or directory\n".encode()
        )
