"""Runs calls: synchronous code on threads, coroutines on the event loop, and brings every answer to one end."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Callable

from truss_server import wire
from truss_server.worker.calls import GONE, Call, ClientLeftError
from truss_server.worker.encode import Framer, plain
from truss_server.worker.failures import describe
from truss_server.worker.request import make_request
from truss_server.worker.threads import Threads

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Generator
    from pathlib import Path

    from truss_server.worker.model import Method, Stage

WATCH_GRACE = 10.0
"""Seconds a call that watches for the disconnect itself is given to end its work before it is cancelled."""


Outcome = tuple[Any, "BaseException | None"]
"""What a function gave or raised; a future cannot hold every exception (StopIteration)."""


class Executor:
    """Runs calls of a model.

    Args:
        loop: The event loop of the model's coroutines; it may not run yet.
        root: Folder of the release, for tracebacks.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, root: Path) -> None:
        self._loop = loop
        self._root = root
        self._threads = Threads()
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrivals: deque[tuple[Call, Callable[[], Coroutine[Any, Any, None]]]] = deque()
        self._woken = False

    def submit(self, call: Call, method: Method) -> None:
        """Start a call whose inputs are complete. Called by the thread that reads the socket."""
        if method.is_async:
            self._on_loop(call, lambda: self._guard(call, self._answer_async, method))
        else:
            self._threads.submit(self._run_sync, call, method)

    # ---- synchronous code, on a thread

    def _run_sync(self, call: Call, method: Method) -> None:
        try:
            call.check()
            value, request = call.inputs, self._request(call, method)
            for stage in method.stages:
                value = _invoke(stage, value, request)
                if inspect.isawaitable(value):
                    value = self._wait_for(call, value)
            self._deliver_sync(call, value)
        except BaseException as exc:  # noqa: BLE001 - SystemExit in a model, too, is an answer and not our end
            self._fail(call, exc)

    def _wait_for(self, call: Call, awaitable: Any) -> Any:
        """Have the event loop await what synchronous code returned."""
        done: SimpleQueue[Outcome] = SimpleQueue()

        async def work() -> None:
            try:
                done.put((await awaitable, None))
            except BaseException as exc:  # noqa: BLE001 - handed over to who waits
                done.put((None, exc))

        self._on_loop(call, work)
        return _unpack(done.get())

    def _deliver_sync(self, call: Call, value: Any) -> None:
        if inspect.isgenerator(value):
            self._stream(call, value)
        elif inspect.isasyncgen(value):
            self._on_loop(call, lambda: self._guard(call, self._stream_async, value))
        else:
            data = wire.pack(plain(value))
            call.begin("value")
            if not call.has_room(len(data)):
                call.write(data)
                data = b""
            call.finish(data)

    def _stream(self, call: Call, generator: Generator[Any, Any, Any]) -> None:
        framer = Framer(call.framing)
        begun = False
        try:
            for item in generator:
                data = framer.frame(item)
                if not begun:
                    begun = True
                    call.begin("stream", framer.content_type)
                call.write(data)
        finally:
            generator.close()
        if not begun:
            call.begin("stream", framer.content_type)
        call.write(framer.end())
        call.finish()

    # ---- coroutines, on the event loop

    def _on_loop(self, call: Call, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have the event loop run a coroutine, which must not raise; one wake-up for all that arrive together."""
        self._arrivals.append((call, make))
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._start_arrivals)

    def _start_arrivals(self) -> None:
        self._woken = False
        while self._arrivals:
            call, make = self._arrivals.popleft()
            task = self._loop.create_task(make())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            # It runs up to its first await before a cancellation reaches it: only then it can answer for it.
            call.on_cancel = partial(self._loop.call_soon_threadsafe, self._cancel, call, task)
            if call.cancelled:  # perhaps before on_cancel was set
                call.on_cancel()

    def _cancel(self, call: Call, task: asyncio.Task[None]) -> None:
        if call.body is not None and call.body.watched:
            # The author's own code ends the work (aborts an engine, say): it hears of the disconnect first.
            self._loop.call_later(WATCH_GRACE, task.cancel)
        else:
            task.cancel()

    async def _guard(self, call: Call, answer: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Await an answer; whatever it raises is its end."""
        try:
            call.check()
            await answer(call, *args)
        except BaseException as exc:  # noqa: BLE001 - CancelledError and SystemExit, too, end this call only
            self._fail(call, exc)

    async def _answer_async(self, call: Call, method: Method) -> None:
        value, request = call.inputs, self._request(call, method)
        for stage in method.stages:
            if stage.is_async:
                value = _invoke(stage, value, request)
            else:
                value = await self._in_thread(stage, value, request)
            if inspect.isawaitable(value):
                value = await value
        if inspect.isasyncgen(value):
            await self._stream_async(call, value)
        elif inspect.isgenerator(value):
            self._threads.submit(self._guard_sync, call, value)
        else:
            self._deliver_value_async(call, value)

    def _deliver_value_async(self, call: Call, value: Any) -> None:
        data = wire.pack(plain(value))
        call.begin("value")
        if call.has_room(len(data)):
            call.finish(data)
        else:
            self._threads.submit(self._guard_sync, call, data)

    def _guard_sync(self, call: Call, rest: Any) -> None:
        """Finish on a thread what a coroutine left: a generator, or a value too large to send at once."""
        try:
            if isinstance(rest, bytes):
                call.write(rest)
                call.finish()
            else:
                self._stream(call, rest)
        except BaseException as exc:  # noqa: BLE001 - see _run_sync
            self._fail(call, exc)

    async def _in_thread(self, stage: Stage, value: Any, request: Any) -> Any:
        future: asyncio.Future[Outcome] = self._loop.create_future()

        def run() -> None:
            try:
                outcome: Outcome = _invoke(stage, value, request), None
            except BaseException as exc:  # noqa: BLE001 - handed over to who waits
                outcome = None, exc
            self._loop.call_soon_threadsafe(_settle, future, outcome)

        self._threads.submit(run)
        try:
            return _unpack(await asyncio.shield(future))
        except asyncio.CancelledError:
            await asyncio.wait({future})  # the call is not over while its thread works
            raise

    async def _stream_async(self, call: Call, generator: AsyncGenerator[Any, Any]) -> None:
        framer = Framer(call.framing)
        begun = False
        try:
            async for item in generator:
                data = framer.frame(item)
                if not begun:
                    begun = True
                    call.begin("stream", framer.content_type)
                if not (len(data) <= wire.PIECE and call.offer(data)):
                    await self._write_async(call, data)
                if call.cancelled and not (call.body is not None and call.body.watched):
                    raise ClientLeftError
        finally:
            await generator.aclose()
        if not begun:
            call.begin("stream", framer.content_type)
        await self._write_async(call, framer.end())
        call.finish()

    async def _write_async(self, call: Call, data: bytes) -> None:
        """Send bytes of any size, waiting for room without holding the loop."""
        for at in range(0, len(data), wire.PIECE):
            piece = data[at : at + wire.PIECE]
            while not call.offer(piece):
                await self._room(call, len(piece))

    async def _room(self, call: Call, size: int) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        call.on_credit = partial(self._loop.call_soon_threadsafe, _settle, future, None)
        if not call.has_room(size) and not call.cancelled:
            await future

    # ---- for both

    def _request(self, call: Call, method: Method) -> Any:
        """Build the request once for all stages; the most exact class that any of them asks for."""
        if not method.request or call.request is None or call.body is None:
            return None
        annotations = [stage.arguments.annotation for stage in method.stages if stage.arguments.annotation]
        return make_request(call.request, call.body, call.whole_body, annotations[0] if annotations else None)

    def _fail(self, call: Call, exc: BaseException) -> None:
        if call.cancelled or isinstance(exc, ClientLeftError):
            call.fail(GONE)
        else:
            call.fail(describe(exc, self._root))


def _invoke(stage: Stage, value: Any, request: Any) -> Any:
    arguments = stage.arguments
    if arguments.request is None:
        return stage.function(value) if arguments.inputs else stage.function()
    if arguments.inputs:
        return stage.function(value, **{arguments.request: request})
    return stage.function(**{arguments.request: request})


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _unpack(outcome: Outcome) -> Any:
    value, error = outcome
    if error is not None:
        raise error
    return value
