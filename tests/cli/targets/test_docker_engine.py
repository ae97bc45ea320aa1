"""`truss.targets.docker_engine`: whatever is wrong with the engine is said at once, with what to do about it."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from truss.errors import EngineError
from truss.targets.docker_engine import CONNECT_LIMIT_SECONDS, connect, engine_errors, with_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCAL = "use the target that needs none: `--target local`."
NOBODY = 65534


@contextmanager
def listening(path: Path, *answers: bytes) -> Iterator[str]:
    """Serve given answers on a Unix socket, a connection each, and hang up on everybody after that."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            for answer in answers:
                with server.accept()[0] as peer:
                    # Whoever only looks whether somebody listens gets no answer.
                    if peer.recv(65536):
                        peer.sendall(answer)
            with suppress(OSError):
                while True:
                    server.accept()[0].close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"unix://{path}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=5)


def refusal(host: str) -> EngineError:
    """Return the error of connecting to a host."""
    with pytest.raises(EngineError) as caught:
        connect({"DOCKER_HOST": host})
    return caught.value


def test_no_engine(tmp_path: Path) -> None:
    """No socket, or one that nobody listens on any more, means that Docker is not running."""
    gone = f"unix://{tmp_path}/gone.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "stale.sock"))
    stale = f"unix://{tmp_path}/stale.sock"

    for host in (gone, stale):
        error = refusal(host)

        assert error.message == f"No Docker engine answers at {host}."
        assert error.hint == f"Start Docker, name another engine in DOCKER_HOST, or {LOCAL}"


def test_no_permission(tmp_path: Path) -> None:
    """The most common first failure on Linux gets its own words."""
    with listening(tmp_path / "docker.sock") as host:
        (tmp_path / "docker.sock").chmod(0o000)
        root = os.geteuid() == 0
        for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
            folder.chmod(0o755)
        if root:
            os.seteuid(NOBODY)
        try:
            error = refusal(host)
        finally:
            if root:
                os.seteuid(0)

    assert error.message == f"You may not use the Docker engine at {host}."
    assert (
        error.hint == f"Join the group its socket belongs to (usually `docker`) and log in again, or {LOCAL}"
    )


def test_an_engine_that_keeps_silent(tmp_path: Path) -> None:
    """Whether there is an engine is known within two seconds, so that the default target is."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "docker.sock"))
        server.listen()
        started = time.monotonic()
        error = refusal(f"unix://{tmp_path}/docker.sock")
        took = time.monotonic() - started

    assert error.message == f"The Docker engine at unix://{tmp_path}/docker.sock did not answer within 2 s."
    assert error.hint == f"It may still be starting: try again, or {LOCAL}"
    assert took < CONNECT_LIMIT_SECONDS + 1


def test_a_setting_that_makes_no_sense() -> None:
    """A wrong DOCKER_HOST is shown with what docker-py says of it."""
    error = refusal("gopher://127.0.0.1")

    assert error.message == "The Docker engine at gopher://127.0.0.1 cannot be used."
    assert error.details
    assert error.hint == f"Check DOCKER_HOST and the other DOCKER_ variables, or {LOCAL}"


def test_an_engine_that_goes_away_later(tmp_path: Path) -> None:
    """A connection that breaks in the middle is an error of the engine, too."""
    body = b'{"ApiVersion": "1.41"}'
    version = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
    with listening(tmp_path / "docker.sock", b"", version) as host:
        client = connect({"DOCKER_HOST": host})
        with pytest.raises(EngineError) as caught, engine_errors("list its containers"):
            client.containers()
        client.close()

    assert caught.value.message == "Docker could not list its containers: the engine went away."


@pytest.mark.parametrize("address", ["tcp://10.1.2.3:2375", "ssh://somebody@elsewhere"])
def test_an_engine_elsewhere_is_refused(address: str) -> None:
    """A deployment on another machine would not be reached at 127.0.0.1, so nothing is started there."""
    with pytest.raises(EngineError, match="on another machine"):
        connect({"DOCKER_HOST": address})


def test_the_engine_of_the_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DOCKER_HOST the engine is that of DOCKER_CONTEXT, else the one `docker context use` chose.

    Docker's own command line is told which.
    """
    name = "elsewhere"
    folder = tmp_path / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    endpoint = {"Host": f"unix://{tmp_path}/engine.sock", "SkipTLSVerify": False}
    (folder / "meta.json").write_text(
        json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}})
    )
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    with pytest.raises(EngineError, match=r"engine\.sock"):
        connect({"DOCKER_CONTEXT": name})
    with pytest.raises(EngineError, match="There is no Docker context nowhere"):
        connect({"DOCKER_CONTEXT": "nowhere"})
    told = with_address({"DOCKER_CONTEXT": name, "A": "b"})
    assert told == {"A": "b", "DOCKER_HOST": f"unix://{tmp_path}/engine.sock"}

    (tmp_path / "config.json").write_text(json.dumps({"currentContext": name}))
    with pytest.raises(EngineError, match=r"engine\.sock"):
        connect({})
