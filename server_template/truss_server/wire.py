"""The frames that edge and worker exchange over one Unix socket. No I/O in here.

A frame is a 9-byte header and a payload (`docs/wire.md` is the specification)::

    length u32 | stream u32 | kind u8 | payload: `length` bytes        network byte order

Structured payloads are `marshal` format 2: in the standard library of every Python from 3.9 on, read alike by
all of them, and five to thirty times faster than `json`: a worker may have nothing but the standard library.
Both ends belong to one user and one release, so a peer is trusted to send well-formed values, never to keep
limits: those are checked here.
"""

from __future__ import annotations

import marshal
import struct
from typing import Any

PROTOCOL = 1
"""Version of this format, sent in HELLO; both ends are of one release, so a difference is a bug."""

MAX_PAYLOAD = 1024 * 1024
"""Bytes in the payload of one frame; a peer that announces more is cut off."""

PIECE = 64 * 1024
"""Bytes in one piece of a body, an input or an answer."""

WINDOW = 256 * 1024
"""Bytes of pieces that may be under way on one stream in one direction before credit is given."""

GRANT = WINDOW - PIECE
"""A receiver gives credit back once it has consumed this much: rarely, and always before a sender is stuck."""

LAST = 0x80
"""Set in a piece's kind where it is the last of its message."""

# About the connection; stream 0.
HELLO = 1  # worker -> edge: {"protocol", "python", "pid", "json"}
STATE = 2  # worker -> edge: {"state": "ready" | "failed", ...}, and what came of a SWAP
STOP = 3  # edge -> worker: finish and exit
SWAP = 5  # edge -> worker: {"generation", "root", "modules", "keep"}: import a new version beside this one
DROP = 6  # edge -> worker: the number of a generation that is called no more
LOAD = 7  # edge -> worker: {"generation", "root"}: what a spare worker is to load
LOG = 4  # worker -> edge, on the stream of a call or 0: {"level", "message", ...}

# About one call; stream 1, 2, ...
CALL = 8  # edge -> worker: a `Call`
INPUT = 9  # edge -> worker: a piece of the marshalled inputs
BODY = 10  # edge -> worker: a piece of the raw request body
HEAD = 11  # worker -> edge: how an answer begins that is not one value
DATA = 12  # worker -> edge: a piece of the answer
ERROR = 13  # worker -> edge: the answer ends here, with this error
CREDIT = 14  # both ways: u32, bytes of pieces that may be sent on top
CANCEL = 15  # edge -> worker: the client left
MESSAGE = 16  # both ways: a piece of one marshalled ASGI event of a websocket
JSON = 17  # both ways: a piece of JSON: the inputs as the client sent them, or an answer that is one value

Call = tuple[str, str, Any, int]
"""Method, framing, the ASGI scope of the request or None, and the generation that is to answer."""

OWN = "own"
"""Framing of the edge's own questions: their answers are marshalled values."""

Frame = tuple[int, int, Any]
"""Kind (with its LAST bit), stream, payload: bytes, of large pieces of JSON a memoryview."""

_LARGE = 16 * 1024  # bytes
_HEADER = struct.Struct("!IIB")
_CREDIT = struct.Struct("!I")
_FORMAT = 2


class WireError(Exception):
    """The peer broke the protocol; the connection is of no use any more."""


def encode(kind: int, stream: int, payload: bytes | bytearray | memoryview = b"") -> bytes:
    """Return one frame.

    Raises:
        WireError: The payload is larger than MAX_PAYLOAD.
    """
    return header(kind, stream, len(payload)) + payload


def header(kind: int, stream: int, size: int) -> bytes:
    """Return the header of a frame with a payload of `size` bytes.

    Raises:
        WireError: That is larger than MAX_PAYLOAD.
    """
    if size > MAX_PAYLOAD:
        raise WireError(f"a payload of {size} bytes; the limit is {MAX_PAYLOAD}")
    return _HEADER.pack(size, stream, kind)


def encode_credit(stream: int, size: int) -> bytes:
    """Return the frame that lets the peer send `size` more bytes of pieces on `stream`."""
    return encode(CREDIT, stream, _CREDIT.pack(size))


def decode_credit(payload: bytes) -> int:
    """Read the payload of a CREDIT frame.

    Raises:
        WireError: It is not four bytes.
    """
    if len(payload) != _CREDIT.size:
        raise WireError(f"a CREDIT of {len(payload)} bytes")
    return int(_CREDIT.unpack(payload)[0])


def pack(value: Any) -> bytes:
    """Marshal a value made of None, bool, int, float, str, bytes, list, tuple and dict.

    Raises:
        ValueError: Something else is in it.
    """
    return marshal.dumps(value, _FORMAT)


def unpack(payload: bytes | bytearray | memoryview) -> Any:
    """Read what `pack` wrote.

    Raises:
        WireError: It is no marshalled value.
    """
    try:
        return marshal.loads(payload)  # noqa: S302 - both ends are one user's; see the module's docstring
    except (EOFError, TypeError, ValueError) as exc:
        raise WireError(f"a payload that is no value: {exc}") from exc


def pieces(
    kind: int, stream: int, message: bytes | bytearray, last: int = LAST
) -> list[tuple[bytes, memoryview]]:
    """Cut bytes into frames of at most PIECE each: headers and payloads, which are not copied.

    `last` (LAST or 0) is set in the kind of the final one.
    """
    view = memoryview(message)
    tail = max(len(view) - 1, 0) // PIECE * PIECE
    whole = header(kind, stream, PIECE)
    frames = [(whole, view[at : at + PIECE]) for at in range(0, tail, PIECE)]
    frames.append((header(kind | last, stream, len(view) - tail), view[tail:]))
    return frames


class Decoder:
    """Frames out of a byte stream, however it is cut.

    `feed` keeps what is not yet a whole frame; at most one frame of MAX_PAYLOAD is ever kept.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take the next bytes, return the frames they complete.

        Raises:
            WireError: A frame announces more than MAX_PAYLOAD bytes.
        """
        data = self._rest + chunk if self._rest else chunk
        frames: list[Frame] = []
        at, end, header = 0, len(data), _HEADER.size
        while end - at >= header:
            size, stream, kind = _HEADER.unpack_from(data, at)
            if size > MAX_PAYLOAD:
                raise WireError(f"a frame of {size} bytes; the limit is {MAX_PAYLOAD}")
            start = at + header
            if end - start < size:
                break
            at = start + size
            # JSON comes in large pieces, which who takes them joins: no need to copy them twice.
            joined = size > _LARGE and kind & ~LAST == JSON
            frames.append((kind, stream, memoryview(data)[start:at] if joined else data[start:at]))
        self._rest = data[at:]
        return frames


class Inbox:
    """How much of a stream's incoming pieces lies in memory, and when to give credit for more.

    `received` is called where the socket is read, `consumed` where the pieces are used; these may be two threads,
    so each has a counter of its own and no lock is needed.
    """

    def __init__(self) -> None:
        self._received = 0
        self._consumed = 0
        self._granted = 0

    def received(self, size: int) -> None:
        """Count a piece that came in.

        Raises:
            WireError: The sender ignores its window.
        """
        self._received += size
        if self._received - self._granted > WINDOW:
            raise WireError(f"{self._received - self._granted} bytes under way; the window is {WINDOW}")

    @property
    def is_crowded(self) -> bool:
        """Whether there may be no room for one more piece: the sender waits until some are consumed."""
        return self._received - self._granted > WINDOW - PIECE

    def consumed(self, size: int) -> int:
        """Count bytes that left memory; return the credit to send now, mostly 0."""
        self._consumed += size
        grant = self._consumed - self._granted
        if grant < GRANT:
            return 0
        self._granted += grant
        return grant
