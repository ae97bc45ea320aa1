"""The server's end of a control channel, honest and small: it keeps files, checks what it is sent, and runs nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import select
import socket
import tarfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from truss.release import ReleasePlan

BROKEN = b"BROKEN"
"""Code that holds this does not load."""

TRACEBACK = 'Traceback (most recent call last):\n  File "model/model.py", line 3\nRuntimeError: no'


@dataclass
class Version:
    """What runs."""

    digest: str
    files: dict[str, bytes] = field(default_factory=dict)
    generation: int = 1

    @classmethod
    def of(cls, plan: ReleasePlan) -> Version:
        """Return the version a plan makes."""
        return cls(plan.manifest.digest, {str(file.path): file.source.read_bytes() for file in plan.files})

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of its files."""
        return {path: hashlib.sha256(content).hexdigest() for path, content in self.files.items()}


class ControlServer:
    """Listens on a control socket until it is closed.

    Args:
        folder: Where the socket is made.
        version: What runs.

    Attributes:
        asked: Messages that came, in order, without tars.
        hold: While it is cleared, answers wait.
    """

    def __init__(self, folder: Path, version: Version) -> None:
        self.version = version
        self.asked: list[dict[str, Any]] = []
        self.hold = threading.Event()
        self.hold.set()
        self._watcher: str | None = None
        self._connections: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = folder / "control.sock"
        fd = os.open(folder, os.O_RDONLY)
        self._listener.bind(f"/proc/self/fd/{fd}/control.sock")
        os.close(fd)
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        """End it and every session."""
        self.hold.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        self._thread.join(10)

    def drop(self) -> None:
        """Break off every session, as a server does that dies."""
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def say(self, fields: Mapping[str, Any]) -> None:
        """Say something unasked."""
        self._connections[-1].sendall(json.dumps(fields).encode() + b"\n")

    def _accept(self) -> None:
        threads = []
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                break
            self._connections.append(connection)
            threads.append(threading.Thread(target=self._serve, args=(connection,)))
            threads[-1].start()
        for thread in threads:
            thread.join(10)

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            first = json.loads(stream.readline() or b"null")
            if first is None:
                return
            self.asked.append(first)
            if self._watcher is not None:
                _send(connection, {"event": "busy", "who": self._watcher, "since": "2026-01-02T03:04:05Z"})
                return
            self._watcher = first["who"]
            try:
                _send(connection, self._hello())
                for line in stream:
                    fields = json.loads(line)
                    tar = stream.read(fields.pop("bytes", 0))
                    self.asked.append(fields)
                    if fields["do"] == "cancel":
                        continue  # it came too late
                    if self._is_cancelled(connection, stream):
                        _send(connection, {"event": "cancelled", "generation": self.version.generation})
                        continue
                    _send(connection, self._answer(fields, tar))
            except OSError:
                pass
            finally:
                self._watcher = None

    def _is_cancelled(self, connection: socket.socket, stream: IO[bytes]) -> bool:
        """Wait while answers are held; return whether this one is not wanted any more."""
        deadline = time.monotonic() + 30
        while not self.hold.wait(0.02) and time.monotonic() < deadline:
            if select.select([connection], [], [], 0)[0]:
                self.asked.append(json.loads(stream.readline() or b'{"do": "leave"}'))
                return True
        return False

    def _hello(self) -> dict[str, Any]:
        return {
            "event": "hello",
            "protocol": 1,
            "model": "falcon",
            "environment": "development",
            "tool_version": "0.1.0",
            "digest": self.version.digest,
            "generation": self.version.generation,
            "files": self.version.hashes,
        }

    def _answer(self, fields: Mapping[str, Any], tar: bytes) -> dict[str, Any]:
        running = self.version
        if fields["do"] == "reload":
            return self._applied(Version(running.digest, running.files), "load")
        if fields["base"] != running.digest:
            return {"event": "mismatch", "digest": running.digest, "files": running.hashes}
        files = {path: content for path, content in running.files.items() if path not in fields["delete"]}
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            for member in archive.getmembers():
                file = archive.extractfile(member)
                assert file is not None, "a tar of files only"
                files[member.name] = file.read()
        if any(BROKEN in content for content in files.values()):
            failed = {"event": "failed", "generation": running.generation, "seconds": 0.25}
            return {**failed, "error": "RuntimeError: no", "traceback": TRACEBACK}
        return self._applied(Version(fields["manifest"]["digest"], files), fields["how"])

    def _applied(self, version: Version, how: str) -> dict[str, Any]:
        version.generation = self.version.generation + 1
        self.version = version
        fields = {"event": "applied", "generation": version.generation, "digest": version.digest, "how": how}
        return {**fields, "because": "", "seconds": 0.25}


def _send(connection: socket.socket, fields: Mapping[str, Any]) -> None:
    connection.sendall(json.dumps(fields).encode() + b"\n")
