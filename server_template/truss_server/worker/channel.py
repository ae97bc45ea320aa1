"""The worker's end of the socket: any thread writes, any thread reads, one thread sends what bursts leave behind."""

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

ALONE = 0.0005
"""Seconds: what follows the last write by more leaves at once; what comes faster may join the next write."""

_RECEIVE = 256 * 1024  # bytes asked of the kernel at once

_BACKLOG = 256  # frames that may wait before whoever prints waits too
_LAST_WORDS = 5.0  # seconds for others to send what they are sending, at the end

Flush = Callable[[], None]


class Channel:
    """Frames to and from the edge.

    Whoever sends writes to the socket itself, so that a lone frame leaves without a change of threads; while
    somebody is writing, others leave their frames to them. Writing blocks: the edge always reads, and how much it can
    be sent is bounded by the credit it gave. Reading does not.

    Args:
        sock: Connected to the edge, blocking.

    Attributes:
        forked: Whether this is a child that the model forked: it has no connection.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.forked = False
        self._sock = sock
        self._decoder = wire.Decoder()
        self._received = memoryview(bytearray(_RECEIVE))
        self._posted_at = 0.0
        self._outbox: list[bytes] = []
        self._writing = threading.RLock()
        self._closed = False
        self._flushes: SimpleQueue[Flush | None] = SimpleQueue()
        os.register_at_fork(after_in_child=self._leave)
        threading.Thread(target=self._flush_bursts, name="truss-flush", daemon=True).start()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._sock.fileno()

    def send(self, frames: bytes) -> None:
        """Send whole frames, in the order of the calls."""
        if not self._closed:
            self._outbox.append(frames)
            self.flush()

    def post(self, frames: bytes) -> None:
        """Send whole frames with the next ones that are sent, or at the next `flush`: the caller sees to one."""
        now = time.monotonic()
        if not self._outbox:
            self._posted_at = now
        self._outbox.append(frames)
        if now - self._posted_at > ALONE:
            self.flush()

    def flush(self) -> None:
        """Send what was posted.

        This waits for nobody and holds at any instruction: a finalizer or a signal handler may print in the midst of
        it, and a call whose client left may be ended there.
        """
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
            if self._flushes.empty():
                self.flush()

    def receive(self) -> tuple[list[wire.Frame], bool]:
        """Return the frames that have come, and whether there may be more. For one thread at a time.

        Raises:
            EOFError: The edge closed the socket.
            WireError: It broke the protocol.
        """
        try:
            size = self._sock.recv_into(self._received, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return [], False
        except ConnectionError:
            raise EOFError from None
        if not size:
            raise EOFError
        return self._decoder.feed(bytes(self._received[:size])), size == _RECEIVE

    def close(self) -> None:
        """Send what is left, waiting for whoever is sending; then send no more, and tell the edge so."""
        self._closed = True
        self._flushes.put(None)
        with contextlib.suppress(OSError):  # the edge closed first
            if self._writing.acquire(timeout=_LAST_WORDS):  # and never released
                self._send_outbox()
            self._sock.shutdown(socket.SHUT_WR)
