"""A client of the control channel, as small as one can be: edits files and has the server take them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import tarfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.server.harness import Edge

MODEL = "model/model.py"


class Session:
    """One session of the control channel.

    Args:
        folder: Of the control channel.
        who: Is watching.

    Attributes:
        hello: The first message: `hello`, or `busy`.
    """

    def __init__(self, folder: Path, who: str = "a test") -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(60)
        directory = os.open(folder, os.O_RDONLY)
        self._sock.connect(f"/proc/self/fd/{directory}/control.sock")
        os.close(directory)
        self._file = self._sock.makefile("rb")
        self.say({"do": "watch", "protocol": 1, "who": who})
        self.hello = self.hear()
        self._digest = self.hello.get("digest", "")

    def say(self, message: Mapping[str, Any], data: bytes = b"") -> None:
        """Send a message and what follows it."""
        self._sock.sendall(json.dumps(message).encode() + b"\n" + data)

    def hear(self) -> dict[str, Any]:
        """Wait for a message; an end is an empty one."""
        return json.loads(self._file.readline() or b"{}")  # type: ignore[no-any-return]

    def edit(
        self, edge: Edge, files: Mapping[str, str | bytes], how: str = "swap", **fields: Any
    ) -> dict[str, Any]:
        """Have files changed, as `begin_edit` asks for it, and return what came of it."""
        self.begin_edit(edge, files, how, **fields)
        while (answer := self.hear()).get("event") == "state":  # of the worker, in between
            pass
        self._digest = answer.get("digest", self._digest)
        return answer

    def begin_edit(
        self,
        edge: Edge,
        files: Mapping[str, str | bytes],
        how: str = "swap",
        *,
        delete: Sequence[str] = (),
        modules: Sequence[str] = (MODEL,),
        keep: Mapping[str, Sequence[str]] | None = None,
        **fields: Any,
    ) -> None:
        """Ask for files to be changed."""
        manifest = json.loads((edge.root / "release.json").read_text())
        manifest["digest"] = hashlib.sha256(repr((self._digest, files)).encode()).hexdigest()
        tar = pack(files)
        wish = {"do": "apply", "base": self._digest, "how": how, "manifest": manifest, "delete": [*delete]}
        self.say({**wish, "modules": [*modules], "keep": keep or {}, "bytes": len(tar), **fields}, tar)

    def close(self) -> None:
        """Leave."""
        self._file.close()
        self._sock.close()


def pack(files: Mapping[str, str | bytes]) -> bytes:
    """Return a tar of files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
