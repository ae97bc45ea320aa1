"""An HTTP/1.1 client that costs little while it measures: it stamps and stores, and parses when all is over."""

from __future__ import annotations

import re
import select
import socket
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

RECEIVE = 256 * 1024
TIMEOUT = 60.0
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_GAP = b"\r\n\r\n"
_END = b"\r\n0\r\n\r\n"


def post(path: str, body: bytes) -> bytes:
    """Return the bytes of a request."""
    return (
        b"POST %s HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        % (path.encode(), len(body))
    ) + body


@dataclass
class Answer:
    """One answer as it came in.

    Attributes:
        sent: When the request was sent.
        stamps: When each part came.
        parts: What each `recv` gave.
    """

    sent: float
    stamps: list[float] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the status is 200."""
        return self.parts[0].startswith(b"HTTP/1.1 200 ")

    @property
    def seconds(self) -> float:
        """From the request to the end of the answer."""
        return self.stamps[-1] - self.sent

    def body(self) -> bytes:
        """Return the body without its framing."""
        return b"".join(piece for _, piece in self._pieces())

    def arrivals(self, chunks: Sequence[bytes]) -> list[float]:
        """Return the seconds after which each of the chunks that make up the body was complete."""
        # Ends of recv()s in the raw answer -> ends of HTTP pieces in it -> ends of chunks in the body.
        received = list(accumulate(map(len, self.parts)))
        pieces = self._pieces()
        body_ends = list(accumulate(len(piece) for _, piece in pieces))
        found = []
        for end in accumulate(map(len, chunks)):
            at = bisect_left(body_ends, end)
            start, piece = pieces[at]
            raw_end = start + len(piece) - (body_ends[at] - end)
            found.append(self.stamps[bisect_left(received, raw_end)] - self.sent)
        return found

    def _pieces(self) -> list[tuple[int, bytes]]:
        """Return the pieces of the body with their places in the raw answer."""
        raw = b"".join(self.parts)
        at = raw.index(_GAP) + len(_GAP)
        if _LENGTH.search(raw, 0, at):
            return [(at, raw[at:])]
        pieces: list[tuple[int, bytes]] = []
        while True:
            line_end = raw.index(b"\r\n", at)
            size = int(raw[at:line_end], 16)
            if not size:
                return pieces
            at = line_end + 2
            pieces.append((at, raw[at : at + size]))
            at += size + 2


class Connection:
    """A keep-alive connection that sends the same request again and again.

    Args:
        port: On loopback.
        request: Bytes of the request.

    Attributes:
        answer: The newest one, complete or not.
    """

    def __init__(self, port: int, request: bytes) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answer = Answer(0.0)
        self._request = request
        self._left: int | None = None  # bytes to come, where the answer announced its length

    def send(self) -> None:
        """Send the request."""
        self._left = None
        self.answer = Answer(time.perf_counter())
        self.sock.sendall(self._request)

    def receive(self) -> bool:
        """Take what is there; return whether the answer is complete.

        Raises:
            SystemExit: The server closed the connection.
        """
        data = self.sock.recv(RECEIVE)
        answer = self.answer
        answer.stamps.append(time.perf_counter())
        answer.parts.append(data)
        if not data:
            raise SystemExit(f"the server cut its answer: {b''.join(answer.parts)[:500]!r}")
        if self._left is not None:
            self._left -= len(data)
            return self._left <= 0
        if len(answer.parts) < 3:
            raw = b"".join(answer.parts)
            head, gap, body = raw.partition(_GAP)
            length = _LENGTH.search(head)
            if gap and length:
                self._left = int(length[1]) - len(body)
                return self._left <= 0
        return (data if len(data) >= len(_END) else b"".join(answer.parts[-8:])).endswith(_END)

    def ask(self) -> Answer:
        """Send the request and wait for the whole answer."""
        self.send()
        while not self.receive():
            pass
        return self.answer


def load(port: int, request: bytes, connections: int, *, count: int) -> tuple[list[Answer], float]:
    """Ask `count` times on each of some connections at once.

    Returns:
        The answers, and the seconds it took.
    """
    links = {link.sock.fileno(): link for link in (Connection(port, request) for _ in range(connections))}
    left = dict.fromkeys(links, count)
    poll = select.epoll()
    for number in links:
        poll.register(number, select.EPOLLIN)
    answers: list[Answer] = []
    began = time.perf_counter()
    for link in links.values():
        link.send()
    while left:
        ready = poll.poll(TIMEOUT)
        if not ready:
            raise SystemExit(f"no byte of {len(left)} answers came for {TIMEOUT:g} s")
        for number, _ in ready:
            link = links[number]
            if not link.receive():
                continue
            answers.append(link.answer)
            left[number] -= 1
            if left[number]:
                link.send()
            else:
                del left[number]
                poll.unregister(number)
    seconds = time.perf_counter() - began
    poll.close()
    for link in links.values():
        link.sock.close()
    return answers, seconds
