"""Ends synchronous code whose client left, by an exception raised in its thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from truss_server.worker.calls import ClientLeftError

if TYPE_CHECKING:
    from typing_extensions import Self

    from truss_server.worker.calls import Call


class Interrupt:
    """While it is entered, a disconnect raises `ClientLeftError` in this thread at its next Python instruction.

    Code that is inside one long call of C ends when that call returns. Code that catches `Exception` does not catch
    this one.

    Args:
        call: Whose client is meant.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._before = call.on_cancel
        self._lock = threading.Lock()
        self._thread = 0
        self._raised = False

    def __enter__(self) -> Self:
        self._thread = threading.get_ident()
        self._before, self._call.on_cancel = self._call.on_cancel, self._raise
        self._call.check()  # perhaps it left before on_cancel was set
        return self

    def __exit__(self, *_: object) -> None:
        self._call.on_cancel = self._before
        with self._lock:
            thread, self._thread = self._thread, 0
            if self._raised:
                _set_exception(thread, None)  # raised too late, it must not hit the next call

    def _raise(self) -> None:
        with self._lock:
            if self._thread and not self._call.watched:
                self._raised = True
                _set_exception(self._thread, ClientLeftError)


def _set_exception(thread: int, exception: type[BaseException] | None) -> None:
    """Have a thread raise an exception soon; None takes back one that it has not raised yet."""
    import ctypes

    pending = ctypes.py_object() if exception is None else ctypes.py_object(exception)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), pending)
