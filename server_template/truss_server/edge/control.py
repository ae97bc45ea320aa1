"""The control channel of a development deployment: edits come in by a Unix socket that only its user can open.

Messages are lines of JSON; one that has `bytes` is followed by so many. `docs/control.md` is the specification.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from truss_server import __version__
from truss_server.edge.background import Background
from truss_server.edge.peer import LINE, Peer
from truss_server.edge.version import FailedError, RefusedError, Swap
from truss_server.edge.versions import BadEditError, Versions
from truss_server.protocol import CONTROL_SOCKET, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from truss_server.edge.logs import Log
    from truss_server.edge.settings import Settings
    from truss_server.edge.supervisor import Supervisor
    from truss_server.edge.version import Version

PROTOCOL = 1
"""Version of this protocol, in both first messages."""

FIRST_SECONDS = 10.0
"""What a peer has to say who it is."""


_WAYS = ("swap", "load")

_PLAINLY_BROKEN = ("SyntaxError", "IndentationError", "TabError", "ModelDefinitionError")

_NO_FILES = bytes(10_240)
"""An empty tar."""


class Control:
    """Applies edits to a deployment, one session at a time.

    Args:
        settings: Of the edge.
        supervisor: Brings versions up.
        log: Is told of sessions and edits.
        folder: Of the socket and the versions.
    """

    def __init__(self, settings: Settings, supervisor: Supervisor, log: Log, folder: Path) -> None:
        self._supervisor = supervisor
        self._log = log
        self._folder = folder
        self._versions = Versions(folder, settings.version.root)
        self._numbers = settings.version.generation
        self._session: dict[str, str] | None = None
        self._lock = asyncio.Lock()  # of the edit that is under way; its session may have ended
        self._background = Background()

    async def serve(self) -> asyncio.Server:
        """Listen; return the server, to be closed.

        Raises:
            OSError: The socket cannot be made.
        """
        return await asyncio.start_unix_server(
            self._serve, sock=_bind(self._folder / CONTROL_SOCKET), limit=LINE
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        try:
            hello = await asyncio.wait_for(peer.receive(), FIRST_SECONDS)
            if self._session is not None:
                await peer.send(event="busy", **self._session)
            elif hello["do"] == "watch" and hello["protocol"] == PROTOCOL:
                await self._watch(peer, str(hello["who"]))
        except ConnectionError:
            pass  # a watcher leaves by closing
        except (OSError, ValueError, KeyError, TypeError, asyncio.TimeoutError) as exc:
            self._log.write("WARNING", f"a session of the control channel was ended: {exc!r}")
        finally:
            peer.close()

    async def _watch(self, peer: Peer, who: str) -> None:
        self._session = {"who": who, "since": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        self._log.write("INFO", f"watched by {who}")
        tell = self._supervisor.listeners
        try:
            await peer.send(event="hello", **await self._about())
            tell.add(peer.tell)
            self._tidy()
            while True:
                wish = await peer.receive()
                if wish["do"] in {"apply", "reload"}:
                    await self._answer(peer, wish)
        finally:
            tell.discard(peer.tell)
            self._session = None

    async def _answer(self, peer: Peer, wish: Mapping[str, Any]) -> None:
        """Do what a peer wishes.

        Raises:
            ConnectionError: It has gone meanwhile; what it wished for is given up as soon as that can be.
        """
        gone = asyncio.get_running_loop().create_future()
        with ExitStack() as held:
            tar = held.enter_context(tempfile.TemporaryFile(dir=self._folder))
            if wish["do"] == "apply":
                try:
                    await peer.receive_file(int(wish["bytes"]), tar)
                except BadEditError as exc:
                    await peer.send(**self._failed(str(exc), "", time.monotonic()))
                    return
            else:
                tar.write(_NO_FILES)
            tar.seek(0)
            work = self._background.begin(self._work(wish, tar, gone, held.pop_all()))
        while not work.done():
            ahead = peer.read_ahead()
            await asyncio.wait({work, ahead}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                break
            if ahead.exception() is not None:
                _give_up(gone)
                raise ConnectionError
            if ahead.result()["do"] != "cancel":
                break  # it is for afterwards
            await peer.receive()
            _give_up(gone)
        await peer.send(**await work)

    async def _work(
        self, wish: Mapping[str, Any], tar: IO[bytes], gone: asyncio.Future[None], held: ExitStack
    ) -> dict[str, Any]:
        """Do what was wished for, after what was before; return the answer."""
        with held:
            async with self._lock:
                answer = await (self._apply if wish["do"] == "apply" else self._reload)(wish, tar, gone)
            self._tidy()
            return answer

    def _tidy(self) -> None:
        used, newest = self._supervisor.workers.used(), self._supervisor.version.generation
        self._background.begin(asyncio.to_thread(self._versions.tidy, used, newest))

    async def _about(self) -> dict[str, Any]:
        version = self._supervisor.version
        return {
            "protocol": PROTOCOL,
            "model": version.manifest.model,
            "environment": version.environment,
            "tool_version": __version__,
            "generation": self._supervisor.generation,
            **await self._state(),
        }

    async def _state(self) -> dict[str, Any]:
        """Return what edits apply to."""
        files = await asyncio.to_thread(self._versions.files)
        return {"digest": self._supervisor.version.manifest.digest, "files": files}

    async def _apply(
        self, wish: Mapping[str, Any], tar: IO[bytes], gone: asyncio.Future[None]
    ) -> dict[str, Any]:
        """Bring an edited version up; return the answer."""
        began = time.monotonic()
        running = self._supervisor.version
        if wish["base"] != running.manifest.digest:
            return {"event": "mismatch", **await self._state()}
        try:
            if wish["how"] not in _WAYS:
                raise BadEditError(f"there is no way {wish['how']!r} to bring an edit up")  # noqa: TRY301 as below
            version = await self._stage(Manifest(**wish["manifest"]), wish["delete"], tar)
        except (BadEditError, TypeError) as exc:
            return self._failed(str(exc), "", began)
        version = replace(version, python=wish.get("python") or running.python)
        return await self._bring_up(version, wish, began, gone)

    async def _reload(
        self, wish: Mapping[str, Any], tar: IO[bytes], gone: asyncio.Future[None]
    ) -> dict[str, Any]:
        """Load the newest version again, as a version of its own: what it reads stays as long as it lives."""
        began = time.monotonic()
        try:
            version = await self._stage(self._supervisor.version.manifest, (), tar)
            self._supervisor.workers.forget_spare()
        except BadEditError as exc:
            return self._failed(str(exc), "", began)
        return await self._bring_up(version, {**wish, "how": "load"}, began, gone)

    async def _stage(self, manifest: Manifest, delete: Iterable[str], tar: IO[bytes]) -> Version:
        """Make the next version out of the newest one.

        Raises:
            BadEditError: That cannot be.
        """
        self._numbers += 1
        stage = self._versions.stage
        root = await asyncio.to_thread(stage, self._numbers, manifest.to_json(), delete, tar)
        return replace(self._supervisor.version, root=root, manifest=manifest, generation=self._numbers)

    async def _bring_up(
        self, version: Version, wish: Mapping[str, Any], began: float, gone: asyncio.Future[None]
    ) -> dict[str, Any]:
        how, because = wish["how"], ""
        try:
            if how == "swap":
                try:
                    await self._supervisor.swap(version, Swap(wish["modules"], wish["keep"]), gone)
                except RefusedError as exc:
                    how, because = "load", str(exc)
                except FailedError as exc:
                    # What is imported a second time in a process may fail for that alone (a metric that is there
                    # already), so a fresh one is to say so; where it would have to replace the old one, none is.
                    if (
                        gone.done()
                        or wish.get("strategy") == "replace"
                        or str(exc).startswith(_PLAINLY_BROKEN)
                    ):
                        raise
                    how, because = "load", f"it cannot be imported beside the running code: {exc}"
            if how == "load":
                await self._supervisor.load(version, gone, beside=wish.get("strategy") != "replace")
        except FailedError as exc:
            await asyncio.to_thread(self._versions.discard, version.root)
            if gone.done():
                return {"event": "cancelled", "generation": self._supervisor.generation}
            return self._failed(str(exc), exc.trace, began)
        try:
            self._versions.keep(version.root, version.python)
        except OSError as exc:
            because = f"a restart will come back with the version before: {exc.strerror}"
            self._log.write("WARNING", because)
        seconds = round(time.monotonic() - began, 4)
        self._log.write("INFO", f"generation {version.generation} by {how} in {seconds:g} s")
        answer = {"event": "applied", "generation": version.generation, "digest": version.manifest.digest}
        return {**answer, "how": how, "because": because, "seconds": seconds}

    def _failed(self, error: str, trace: str, began: float) -> dict[str, Any]:
        self._log.write("INFO", f"an edit was not taken: {error}")  # whoever made it is told
        seconds = round(time.monotonic() - began, 4)
        generation = self._supervisor.generation
        return {
            "event": "failed",
            "generation": generation,
            "error": error,
            "traceback": trace,
            "seconds": seconds,
        }


def _give_up(gone: asyncio.Future[None]) -> None:
    if not gone.done():
        gone.set_result(None)


def _bind(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # By the folder's descriptor: the path of a Unix socket has at most some hundred bytes.
        short = Path(f"/proc/self/fd/{folder}")
        sock.bind(str(short / path.name if short.exists() else path))
    finally:
        os.close(folder)
    path.chmod(0o600)
    return sock
