"""Where a websocket stands between two frames, however its bytes are cut."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from truss_server.edge.frames import Frames, close_frame

payloads = st.one_of(st.binary(max_size=200), st.integers(120, 70_000).map(bytes))


@given(st.lists(st.tuples(payloads, st.booleans()), max_size=4), st.lists(st.integers(1, 5000), max_size=30))
def test_between_frames(messages: list[tuple[bytes, bool]], cuts: list[int]) -> None:
    """After each whole frame, and only there, another may follow, masked or not and whatever its length."""
    follower, ends, data = Frames(), {0}, b""
    for payload, mask in messages:
        data += Frame(Opcode.BINARY, payload).serialize(mask=mask)
        ends.add(len(data))
    at = 0
    for cut in [*cuts, len(data)]:
        assert follower.between == (at in ends)
        follower.feed(data[at : at + cut])
        at = min(at + cut, len(data))

    assert follower.between == (at in ends)
    assert not follower.closed


def test_a_close() -> None:
    """After a close nothing may follow; ours has its code, and a reason of whole characters."""
    follower = Frames()
    frame = close_frame(1012, "ü" * 100)
    follower.feed(frame)

    assert follower.closed
    assert not follower.between
    assert len(frame) <= 127
    assert frame[2:4] == (1012).to_bytes(2, "big")
    assert frame[4:].decode() == "ü" * 61


def test_many_small_frames() -> None:
    """A million bytes of the smallest frames are followed in seconds, as they take time by their number."""
    follower, begun = Frames(), time.process_time()
    follower.feed(b"\x8a\x00" * 500_000)

    assert follower.between
    assert time.process_time() - begun < 5
