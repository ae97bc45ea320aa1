"""One worker process as the edge sees it, from its start to its end."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.edge.json_body import LIBRARIES
from truss_server.edge.link import Link
from truss_server.edge.output import copy_output
from truss_server.edge.processes import describe_exit, kill_group
from truss_server.edge.version import FailedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from truss_server.edge.asks import Ask
    from truss_server.edge.logs import Log
    from truss_server.edge.version import Swap, Version

BOOT = Path(__file__).resolve().parent.parent / "worker" / "boot.py"
"""What the model's interpreter runs."""

STOP_TIMEOUT = 5.0
"""Seconds a worker is given to exit when asked to."""

LAST_WORDS = 1.0
"""Seconds to wait for the end of what a dead worker has sent."""

GRACE = 1.0
"""Seconds a spare worker has to say that it loads, and a swap that nobody wants to end: leaving it costs a load."""

START = 5.0
"""Seconds it has for that where it is still being started."""

ASK_TIMEOUT = 5.0
"""Seconds the worker is given to answer a question of the edge's own."""

_NOT_WANTED = "whoever wanted it has gone"


class Worker:
    """A process that loads one version, and may take over the code of later ones.

    Args:
        version: What it loads; of a spare one, what could be loaded when it was started.
        log: Receives its output line by line.
        spare: Whether it waits for `load` with all that a model does not decide done.

    Attributes:
        used: Generations whose files its code may still read.
        generation: The newest it has.
        methods: What that can be called by: name -> {"inputs", "request", ...}.
        link: The connection to it, once it is connected.
        ready: Resolved when the model is loaded; FailedError where it never is.
        life: Runs until the process has ended; its result is how it did, in words.
    """

    def __init__(self, version: Version, log: Log, *, spare: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.generation = version.generation
        self.used = {version.generation}
        self.methods: dict[str, dict[str, Any]] = {}
        self.link: Link | None = None
        self.ready: asyncio.Future[None] = loop.create_future()
        self._version = version
        self._log = log
        self._spare = spare
        self._told = False
        self._greeted = False
        self._hangs = False  # so that another process has to do what this one was told
        self._process: asyncio.subprocess.Process | None = None
        self._ended = False  # or about to
        self._unanswered: set[tuple[str, int]] = set()  # questions that were given up while they ran
        self._swap: asyncio.Future[Mapping[str, Any]] | None = None
        self._astray = False  # its newest code is none that was taken
        self.life = loop.create_task(self._live())

    def load(self, version: Version) -> None:
        """Have a spare one load a version; it must fit."""
        self._version = version
        self.generation = version.generation
        self.used = {version.generation}
        self._told = True
        self._tell()
        asyncio.get_running_loop().call_later(GRACE if self._greeted else START, self._insist)

    def fits(self, version: Version) -> bool:
        """Return whether it lives and has all that a version's process is started with."""
        return not self._ended and self._version.fits(version)

    def _tell(self) -> None:
        """Tell a spare one what to load, once both is known and it has started."""
        if self._spare and self._told and self._greeted and self.link is not None:
            wish = {"root": str(self._version.root), "generation": self._version.generation}
            self.link.write(wire.encode(wire.LOAD, 0, wire.pack(wish)))

    def _insist(self) -> None:
        """Have a new process load what a spare one has not begun to."""
        if self._spare and not self._ended and self._process is not None:
            self._log.write("WARNING", "the process that waited to load hangs; starting another one")
            self._hangs = True
            kill_group(self._process)

    async def swap(self, version: Version, how: Swap, gone: asyncio.Future[None]) -> None:
        """Bring up a version's code beside the running one; from then on it is the newest.

        Args:
            version: What to import.
            how: Which of it is executed, and what stays.
            gone: Resolved when nobody wants it any more.

        Raises:
            RefusedError: It has to be loaded by a worker of its own.
            FailedError: Its code is broken, or nobody wants it.
        """
        if self.link is None:
            raise RefusedError("the worker is not connected")
        if self._astray:
            raise RefusedError("an earlier edit was left before it had been taken")
        swap = self._swap = asyncio.get_running_loop().create_future()
        wish = {"root": str(version.root), "generation": version.generation, "modules": [*how.modules]}
        self.link.write(
            wire.encode(wire.SWAP, 0, wire.pack({**wish, "keep": {k: [*v] for k, v in how.keep.items()}}))
        )
        ends: set[asyncio.Future[Any]] = {swap, gone}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({swap}, timeout=GRACE)
        if not swap.done():
            self._astray = True
            raise FailedError(_NOT_WANTED)
        state = swap.result()
        if state["state"] == "refused":
            raise RefusedError(state["because"])
        if state["state"] != "swapped":
            raise FailedError.of(state)
        self.methods = dict(state["methods"])
        self.generation = version.generation
        self.used.add(version.generation)

    async def until_ready(self, gone: asyncio.Future[None]) -> None:
        """Wait until its model is loaded.

        Args:
            gone: Resolved when nobody wants it any more.

        Raises:
            FailedError: It cannot be, or nobody wants it.
        """
        await asyncio.wait({self.ready, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not self.ready.done():
            self.kill()
            raise FailedError(_NOT_WANTED)
        self.ready.result()

    async def ask(self, method: str) -> bytes | None:
        """Call a method of the worker's own; None where it fails or does not answer in time.

        One that has not answered in time is not asked again before it has ended.
        """
        asked = method, self.generation
        if self.link is None or asked in self._unanswered:
            return None
        exchange = self.link.open(
            (method, wire.OWN, None, self.generation), lambda **_: self._unanswered.discard(asked)
        )
        try:
            answer = await asyncio.wait_for(exchange.rest(), ASK_TIMEOUT)
        except asyncio.TimeoutError:
            self._unanswered.add(asked)  # its thread may be stuck; it must not become one for each question
            exchange.abandon()
            return None
        if exchange.error is not None:
            trace = str(exchange.error.get("traceback", exchange.error.get("detail", "")))
            self._log.write("ERROR", f"`{method}` failed", source="worker", exc_info=trace)
            return None
        return answer

    async def is_alive(self) -> bool:
        """Tell whether it lives, as far as that cannot be seen from outside: what hangs is not healthy."""
        return True

    async def stop(self) -> None:
        """End it: ask, then insist. One that is not ready has nothing to finish."""
        self._ended = True
        if self.link is None or self._process is None or not self.ready.done():
            self.kill()
        else:
            self.link.stop()
            await asyncio.wait({self.life}, timeout=STOP_TIMEOUT)
            self.kill()
        await self.life

    def kill(self) -> None:
        """End it, and what it started, at once."""
        self._ended, self._hangs = True, False
        if self._process is not None:
            kill_group(self._process)

    async def _live(self) -> str:
        try:
            reason = await self._run()
            if self._hangs:
                self._spare = self._ended = False
                reason = await self._run()
        except OSError as exc:
            reason = f"{self._version.python} cannot be started: {exc.strerror}"
        for waiting in (self.ready, self._swap):
            if waiting is not None and not waiting.done():
                waiting.set_exception(FailedError(reason))
                waiting.exception()  # perhaps nobody asks
        return reason

    async def _run(self) -> str:
        """Run the process to its end; return how it ended, in words."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        try:
            self._process = process = await self._spawn(theirs)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.link = link = Link(loop, self._on_state, self._on_log, self._on_broken)
        await loop.create_unix_connection(lambda: link, sock=ours)
        output = loop.create_task(copy_output(process.stdout, self._log))
        exited = loop.create_task(process.wait())
        if self._ended:  # while it was being started
            kill_group(process)
        ends: set[asyncio.Future[Any]] = {exited, link.closed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        self.link = None
        self._ended = True
        await asyncio.wait({exited}, timeout=LAST_WORDS)  # it may have closed the socket and live
        kill_group(process)  # what it started would keep the memory of the GPU, and the pipes
        code = await exited
        self._process = None
        # Its last words may still lie in pipe and socket, which a process that left its group may hold open.
        ends = {output, link.closed}
        await asyncio.wait(ends, timeout=LAST_WORDS)
        output.cancel()
        reason = describe_exit(code)
        link.lost(f"{reason} while it was working on this request")
        return reason

    async def _spawn(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        version = self._version
        arguments = ["--fd", str(theirs.fileno()), "--release", str(version.root)]
        arguments += ["--environment", version.environment, "--generation", str(version.generation)]
        return await asyncio.create_subprocess_exec(
            version.python,
            "-u",  # what the model prints is to be seen when it prints it
            str(BOOT),
            *arguments,
            *("--libraries", str(LIBRARIES)),
            *(["--swaps"] if version.swaps else []),
            *(["--spare"] if self._spare else []),
            pass_fds=[theirs.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=version.environ(),
            start_new_session=True,  # a process group to end as a whole; Ctrl-C of a terminal is for the edge
        )

    def _on_state(self, state: Mapping[str, Any]) -> None:
        if state.get("protocol") not in (None, wire.PROTOCOL):
            self._on_broken(f"it speaks protocol {state['protocol']}, not {wire.PROTOCOL}")
        elif "protocol" in state:
            self._greeted = True
            if self.link is not None:
                self.link.reads_json = state["json"]
            self._tell()
        elif state.get("state") == "loading":
            self._spare = False
        elif state.get("state") == "ready" and not self.ready.done():
            self.methods = dict(state["methods"])
            self.ready.set_result(None)
        elif state.get("state") == "failed" and not self.ready.done():
            self.ready.set_exception(FailedError.of(state))
            self.ready.exception()  # perhaps nobody asks
        elif state.get("state") == "forgotten":
            self.used.discard(state["generation"])
        elif self._swap is not None and not self._swap.done():
            self._swap.set_result(state)

    def _on_log(self, record: Mapping[str, Any], ask: Ask | None) -> None:
        fields = {key: value for key, value in record.items() if key not in ("level", "message")}
        if ask is not None:
            fields |= ask.log_fields
        self._log.write(str(record["level"]), str(record["message"]), source="model", **fields)

    def _on_broken(self, reason: str) -> None:
        """End a worker that does not keep to the protocol."""
        self._log.write("ERROR", f"the worker broke the protocol: {reason}")
        if self._process is not None:
            kill_group(self._process)
