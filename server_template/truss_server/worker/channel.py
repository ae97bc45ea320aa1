"""The worker's end of the socket: one thread reads, any thread writes, one thread sends what bursts leave behind."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from queue import SimpleQueue
from typing import Callable

from truss_server import wire

_RECEIVE = 256 * 1024  # bytes asked of the kernel at once

Flush = Callable[[], None]


class Channel:
    """Frames to and from the edge.

    Whoever sends writes to the socket itself, so that a lone frame leaves without a change of threads; while
    somebody is writing, others leave their frames to them. The socket blocks: the edge always reads, and how
    much it can be sent is bounded by the credit it gave.

    Args:
        sock: Connected to the edge, blocking.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._outbox: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._writing = False
        self._flushes: SimpleQueue[Flush | None] = SimpleQueue()
        threading.Thread(target=self._flush_bursts, name="truss-flush", daemon=True).start()

    def send(self, frames: bytes) -> None:
        """Send whole frames, in the order of the calls."""
        with self._lock:
            self._outbox.append(frames)
            if self._writing:
                return
            self._writing = True
        while True:
            with self._lock:
                if not self._outbox:
                    self._writing = False
                    return
                batch = b"".join(self._outbox)
                self._outbox.clear()
            try:
                self._sock.sendall(batch)
            except OSError:
                # The edge is gone; the reader sees the same and ends the process. `_writing` stays set, so that
                # nobody else tries.
                return

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
        """Stop sending and tell the edge so."""
        self._flushes.put(None)
        with contextlib.suppress(OSError):  # the edge closed first
            self._sock.shutdown(socket.SHUT_WR)
