"""Runs calls: synchronous code on threads, coroutines on the event loop, and every call to exactly one end."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Callable

from truss_server.worker.answers import encode_value, is_response, respond, send_value, stream, stream_async
from truss_server.worker.calls import GONE, ClientLeftError
from truss_server.worker.context import current_stream
from truss_server.worker.encode import PLAIN
from truss_server.worker.failures import describe
from truss_server.worker.inputs import take_inputs
from truss_server.worker.interrupt import Interrupt
from truss_server.worker.request import make_request
from truss_server.worker.sockets import run_socket

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from pathlib import Path

    from truss_server.worker.calls import Call
    from truss_server.worker.methods import Method, Stage
    from truss_server.worker.threads import Threads

WATCH_GRACE = 10.0
"""Seconds a call that watches for the disconnect itself is given to end its work before it is cancelled."""

Outcome = tuple[Any, "BaseException | None"]
"""What a function gave or raised; a future cannot hold every exception (StopIteration)."""

_RESPONSE_SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "http_version": "1.1",
    "method": "POST",
    "headers": [],
    "extensions": {},
}


class Executor:
    """Runs calls of a model.

    Args:
        loop: The event loop of the model's coroutines; it may not run yet.
        roots: Folders of the release's versions, for tracebacks.
        threads: Run synchronous code.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, roots: Sequence[Path], threads: Threads) -> None:
        self._loop = loop
        self._roots = roots
        self._threads = threads
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrivals: deque[tuple[Call, Callable[[], Coroutine[Any, Any, None]]]] = deque()
        self._woken = False

    def submit(self, call: Call, method: Method) -> None:
        """Start a call whose inputs are complete. Called by the thread that reads the socket."""
        if call.socket is not None:
            self._on_loop(call, partial(run_socket, call, call.socket, method.stages[0]))
        elif method.is_async:
            self._on_loop(call, partial(self._answer_async, call, method))
        else:
            self._threads.submit(self._on_thread, call, partial(self._answer, call, method))

    # ---- on a thread

    def _on_thread(self, call: Call, answer: Callable[[], None]) -> None:
        """Run an answer; whatever it raises is its end."""
        current_stream.set(call.stream)
        try:
            call.check()
            answer()
        except BaseException as exc:  # noqa: BLE001 - SystemExit in a model, too, is an answer and not our end
            self._fail(call, exc)

    def _answer(self, call: Call, method: Method) -> None:
        request = self._request(call, method)
        value = take_inputs(call)
        with Interrupt(call):
            for stage in method.stages:
                value = stage(value, request)
                if type(value) not in PLAIN and inspect.isawaitable(value):
                    value = self._wait_for(call, value)
            # Here, because it may run more of the author's code: that of an iterator.
            data = encode_value(call, value) if type(value) in PLAIN or _is_value(value) else None
        if data is not None:
            del (
                value
            )  # now, not when others have had their turn: what is large is still at hand for the processor
            send_value(call, data)
        elif inspect.isgenerator(value):
            stream(call, value)
        elif inspect.isasyncgen(value):
            self._on_loop(call, partial(stream_async, call, value))
        else:
            self._on_loop(call, partial(respond, call, value, _scope(call)))

    def _wait_for(self, call: Call, awaitable: Any) -> Any:
        """Have the event loop await what synchronous code returned."""
        done: SimpleQueue[Outcome] = SimpleQueue()

        async def work() -> None:
            try:
                done.put((await awaitable, None))
            except BaseException as exc:  # noqa: BLE001 - handed over to who waits
                done.put((None, exc))

        self._arrive(call, work)
        return _unpack(done.get())

    # ---- on the event loop

    def _on_loop(self, call: Call, answer: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have the event loop await an answer."""
        self._arrive(call, partial(self._guard, call, answer))

    def _arrive(self, call: Call, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
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
        if call.ended:
            return  # what goes on in the background of an answer goes on without its client
        if call.watched:
            # The author's own code ends the work (aborts an engine, say): it hears of the disconnect first.
            self._loop.call_later(WATCH_GRACE, task.cancel)
        else:
            task.cancel()

    async def _guard(self, call: Call, answer: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Await an answer; whatever it raises is its end."""
        current_stream.set(call.stream)
        try:
            call.check()
            await answer()
        except BaseException as exc:  # noqa: BLE001 - CancelledError and SystemExit, too, end this call only
            self._fail(call, exc)

    async def _answer_async(self, call: Call, method: Method) -> None:
        request = self._request(call, method)
        value = take_inputs(call)
        for stage in method.stages:
            if stage.is_async:
                value = stage(value, request)
            else:
                value = await self._in_thread(call, stage, value, request)
            if inspect.isawaitable(value):
                value = await value
        if inspect.isasyncgen(value):
            await stream_async(call, value)
        elif is_response(value):
            await respond(call, value, _scope(call))
        elif inspect.isgenerator(value):
            self._threads.submit(self._on_thread, call, partial(stream, call, value))
        else:
            data = encode_value(call, value)
            if call.has_room(len(data)):
                call.finish(data)
            else:
                self._threads.submit(self._on_thread, call, partial(send_value, call, data))

    async def _in_thread(self, call: Call, stage: Stage, value: Any, request: Any) -> Any:
        future: asyncio.Future[Outcome] = self._loop.create_future()

        def run() -> None:
            current_stream.set(call.stream)
            try:
                with Interrupt(call):
                    outcome: Outcome = stage(value, request), None
            except BaseException as exc:  # noqa: BLE001 - handed over to who waits
                outcome = None, exc
            self._loop.call_soon_threadsafe(_settle, future, outcome)

        self._threads.submit(run)
        try:
            result = _unpack(await asyncio.shield(future))
        except asyncio.CancelledError:
            await asyncio.wait({future})  # the call is not over while its thread works
            raise
        call.check()  # it may have left when its thread was done, and this coroutine not yet on
        return result

    # ---- for both

    def _request(self, call: Call, method: Method) -> Any:
        """Build the request once for all stages; the class that one of them names, if any does."""
        if not method.request:
            return None
        annotations = [stage.arguments.annotation for stage in method.stages if stage.arguments.annotation]
        return make_request(call, annotations[0] if annotations else None)

    def _fail(self, call: Call, exc: BaseException) -> None:
        if call.ended:  # a task in the background of its answer; nobody is told, so the log must be
            logging.getLogger("truss").error("after the answer had ended", exc_info=exc)
        elif call.cancelled or isinstance(exc, ClientLeftError):
            call.fail(GONE)
        else:
            call.fail(describe(exc, self._roots, answers=call.socket is None))


def _is_value(value: Any) -> bool:
    """Tell whether an answer is neither a stream nor a response."""
    return not (inspect.isgenerator(value) or inspect.isasyncgen(value) or is_response(value))


def _scope(call: Call) -> dict[str, Any]:
    return {**_RESPONSE_SCOPE, **(call.request or {})}


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _unpack(outcome: Outcome) -> Any:
    value, error = outcome
    if error is not None:
        raise error
    return value
