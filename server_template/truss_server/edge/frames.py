"""Where a websocket stands between two frames, so that a close can be said in the middle of a conversation. No I/O."""

from __future__ import annotations

CLOSE = 8

_LENGTH = 0x7F
_MASKED = 0x80
_EXTENDED = {126: 2, 127: 8}
_MASK_BYTES = 4


class Frames:
    """Follows the frames in one direction.

    Attributes:
        closed: Whether a close has been said.
    """

    def __init__(self) -> None:
        self.closed = False
        self._head = b""
        self._left = 0  # of the payload of a frame

    @property
    def between(self) -> bool:
        """Whether a frame may be put in here."""
        return not self._head and not self._left and not self.closed

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        at, end = 0, len(data)
        while at < end:
            if self._left:
                taken = min(self._left, end - at)
                self._left -= taken
                at += taken
            else:
                self._head += data[at : at + 1]
                at += 1
                self._read_head()

    def _read_head(self) -> None:
        head = self._head
        if len(head) < 2:  # noqa: PLR2004 - RFC 6455, 5.2
            return
        short = head[1] & _LENGTH
        size = 2 + _EXTENDED.get(short, 0)
        if len(head) < size + (_MASK_BYTES if head[1] & _MASKED else 0):
            return
        self._left = short if short not in _EXTENDED else int.from_bytes(head[2:size], "big")
        self.closed = self.closed or head[0] & 0x0F == CLOSE
        self._head = b""


def close_frame(code: int, reason: str) -> bytes:
    """Return a server's frame that closes a websocket; the reason is cut to what such a frame holds."""
    text = reason.encode()[:123].decode("utf-8", "ignore").encode()
    return bytes((0x80 | CLOSE, 2 + len(text))) + code.to_bytes(2, "big") + text
