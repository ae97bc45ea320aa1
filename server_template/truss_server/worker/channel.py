"""The worker's end of the socket: one thread reads, any thread writes, one thread sends what bursts leave behind."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from functools import partial
from queue import SimpleQueue
from typing import Callable

from truss_server import wire

_RECEIVE = 256 * 1024  # bytes asked of the kernel at once

_BACKLOG = 256  # frames that may wait before whoever prints waits too
_LAST_WORDS = 5.0  # seconds for others to send what they are sending, at the end

Flush = Callable[[], None]


class Channel:
    """Frames to and from the edge.

    Whoever sends writes to the socket itself, so that a lone frame leaves without a change of threads; while
    somebody is writing, others leave their frames to them. The socket blocks: the edge always reads, and how
    much it can be sent is bounded by the credit it gave.

    Args:
        sock: Connected to the edge, blocking.

    Attributes:
        forked: Whether this is a child that the model forked: it has no connection.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.forked = False
        self._sock = sock
        self._outbox: list[bytes] = []
        self._writing = threading.RLock()
        self._closed = False
        self._flushes: SimpleQueue[Flush | None] = SimpleQueue()
        os.register_at_fork(after_in_child=self._leave)
        threading.Thread(target=self._flush_bursts, name="truss-flush", daemon=True).start()

    def send(self, frames: bytes) -> None:
        """Send whole frames, in the order of the calls.

        This waits for nobody and holds at any instruction: a finalizer or a signal handler may print in the midst of
        it, and a call whose client left may be ended there.
        """
        if self._closed:
            return
        self._outbox.append(frames)
        if self._is_writing():  # this is a print in the midst of a send, which goes on afterwards
            return
        try:
            while self._outbox and self._writing.acquire(blocking=False):
                self._send_outbox()
                self._writing.release()  # who left frames meanwhile did not wait: look again
        except OSError:
            # The edge is gone; the reader sees the same and ends the process. The lock stays taken, so that nobody
            # else tries.
            return
        except BaseException:
            if self._is_writing():
                self._writing.release()
            raise

    def _is_writing(self) -> bool:
        """Tell whether the caller's own thread is sending."""
        return self._writing._is_owned()  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001 - as Condition does

    def _send_outbox(self) -> None:
        frames = self._outbox[:]
        send = partial(self._sock.sendall, frames[0] if len(frames) == 1 else b"".join(frames))
        forget = partial(self._outbox.__delitem__, slice(len(frames)))
        list(
            map(partial.__call__, (send, forget))
        )  # one step of the interpreter, which nothing can come between

    def keep_up(self) -> None:
        """Wait while much is unsent: for frames that no credit bounds."""
        while len(self._outbox) > _BACKLOG and not self._closed and not self._is_writing():
            time.sleep(0.001)

    def _leave(self) -> None:
        """In a forked child: the connection is the parent's alone."""
        self.forked = True
        self._sock.close()

    def flush_soon(self, flush: Flush) -> None:
        """Have `flush` called on another thread as soon as that one gets to run.

        A producer that makes chunks without pause holds the interpreter until it is switched out: everything it made
        till then leaves in one write. One that waits for something lets the flush happen at once.
        """
        self._flushes.put(flush)

    def _flush_bursts(self) -> None:
        while True:
            flush = self._flushes.get()
            if flush is None:
                return
            flush()

    def read(self, handle: Callable[[wire.Frame], None]) -> None:
        """Hand every frame to `handle` until the edge closes the socket.

        Raises:
            WireError: The edge broke the protocol.
        """
        decoder = wire.Decoder()
        while True:
            try:
                chunk = self._sock.recv(_RECEIVE)
            except ConnectionError:
                return
            if not chunk:
                return
            for frame in decoder.feed(chunk):
                handle(frame)

    def close(self) -> None:
        """Send what is left, waiting for whoever is sending; then send no more, and tell the edge so."""
        self._closed = True
        self._flushes.put(None)
        with contextlib.suppress(OSError):  # the edge closed first
            if self._writing.acquire(timeout=_LAST_WORDS):  # and never released
                self._send_outbox()
            self._sock.shutdown(socket.SHUT_WR)
