"""The wire by itself: frames under any chunking and interleaving, and credit that neither leaks nor deadlocks."""

from __future__ import annotations

import math
import subprocess
from collections import defaultdict, deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.server.interpreters import PYTHONS
from truss_server import wire

KINDS = st.sampled_from([wire.CALL, wire.INPUT, wire.BODY, wire.HEAD, wire.DATA, wire.ERROR, wire.CANCEL])
STREAMS = st.integers(0, 2**32 - 1)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(categories=None))
    | st.binary()
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(st.characters(categories=None)), inner)
    ),
    max_leaves=20,
)


def frames_of(kind: int, stream: int, message: bytes | bytearray, last: int = wire.LAST) -> list[bytes]:
    """Return the frames of a message."""
    return [b"".join(parts) for parts in wire.pieces(kind, stream, message, last)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes at places (taken modulo the length)."""
    ends = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


@given(
    frames=st.lists(st.tuples(KINDS, STREAMS, st.binary(max_size=300))),
    places=st.lists(st.integers(0, 10_000)),
)
def test_frames_survive_any_chunking(frames: list[wire.Frame], places: list[int]) -> None:
    """Decoding gives what was encoded, however the bytes are cut on their way."""
    decoder = wire.Decoder()
    data = b"".join(wire.encode(kind, stream, payload) for kind, stream, payload in frames)

    received = [frame for chunk in cut(data, places) for frame in decoder.feed(chunk)]

    assert received == frames


@given(
    messages=st.dictionaries(st.integers(1, 5), st.integers(0, 4 * wire.PIECE), min_size=1),
    order=st.lists(st.integers(0, 4)),
    places=st.lists(st.integers(0, 10**7)),
    kind=st.sampled_from([wire.INPUT, wire.BODY, wire.DATA]),
)
@settings(max_examples=50)
def test_messages_survive_any_interleaving(
    messages: dict[int, int], order: list[int], places: list[int], kind: int
) -> None:
    """Messages that are cut into pieces and mixed come out whole, each ended by exactly one last piece."""
    sent = {stream: bytes([stream]) * size for stream, size in messages.items()}
    queues = {stream: deque(frames_of(kind, stream, message)) for stream, message in sent.items()}
    mixed = []
    turns = deque(order)
    while any(queues.values()):
        waiting = [stream for stream, queue in queues.items() if queue]
        mixed.append(queues[waiting[(turns.popleft() if turns else 0) % len(waiting)]].popleft())
    decoder = wire.Decoder()
    received: dict[int, bytes] = defaultdict(bytes)
    last: dict[int, int] = defaultdict(int)

    for chunk in cut(b"".join(mixed), places):
        for got, stream, payload in decoder.feed(chunk):
            assert got & ~wire.LAST == kind
            assert len(payload) <= wire.PIECE
            assert not last[stream]
            received[stream] += payload
            last[stream] += bool(got & wire.LAST)

    assert dict(received) == sent
    assert set(last.values()) == {1}


@pytest.mark.parametrize("size", [0, 1, wire.PIECE - 1, wire.PIECE, wire.PIECE + 1, 3 * wire.PIECE])
@pytest.mark.parametrize("last", [0, wire.LAST])
def test_pieces_of_every_size(size: int, last: int) -> None:
    """Sizes around a piece give no empty piece, and the mark where it was asked for."""
    frames = wire.Decoder().feed(b"".join(frames_of(wire.DATA, 7, bytearray(size), last)))

    assert [len(payload) for _, _, payload in frames] == [wire.PIECE] * (size // wire.PIECE) + (
        [size % wire.PIECE] if size % wire.PIECE or not size else []
    )
    assert [kind & wire.LAST for kind, _, _ in frames] == [0] * (len(frames) - 1) + [last]


def test_a_payload_of_the_largest_size_passes_and_no_larger() -> None:
    """Sender and receiver agree on the limit to the byte."""
    largest = bytes(wire.MAX_PAYLOAD)

    assert wire.Decoder().feed(wire.encode(wire.ERROR, 1, largest)) == [(wire.ERROR, 1, largest)]
    with pytest.raises(wire.WireError, match=f"a payload of {wire.MAX_PAYLOAD + 1} bytes"):
        wire.encode(wire.ERROR, 1, largest + b"x")


@given(size=st.integers(wire.MAX_PAYLOAD + 1, 2**32 - 1), split=st.integers(0, 8))
def test_a_frame_that_announces_too_much_is_refused_at_its_header(size: int, split: int) -> None:
    """Not a byte of an oversize payload is waited for."""
    header = size.to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes([wire.DATA])
    decoder = wire.Decoder()
    assert decoder.feed(header[:split]) == []

    with pytest.raises(wire.WireError, match=f"a frame of {size} bytes"):
        decoder.feed(header[split:])


@given(value=PLAIN)
def test_plain_values_come_back_equal(value: Any) -> None:
    """Every plain value, lone surrogates included, unpacks to itself with the same types."""
    assert repr(wire.unpack(wire.pack(value))) == repr(value)


def test_numbers_at_the_edges() -> None:
    """Large integers, infinities, the negative zero and NaN survive."""
    value = wire.unpack(wire.pack([2**64, -(2**1000), math.inf, -0.0, math.nan]))

    assert value[:3] == [2**64, -(2**1000), math.inf]
    assert math.copysign(1, value[3]) == -1
    assert math.isnan(value[4])


@pytest.mark.parametrize("payload", [b"", b"[", b"i\x00", b"\xff", b"[\x02\x00\x00\x00i"])
def test_a_payload_that_is_no_value(payload: bytes) -> None:
    """Truncated and foreign payloads break the connection, not the process."""
    with pytest.raises(wire.WireError, match="a payload that is no value"):
        wire.unpack(payload)


@pytest.mark.parametrize(
    "value",
    [{1, 2}.__class__, object(), {"a": [print]}, range(3)],
    ids=["class", "object", "function", "range"],
)
def test_a_value_that_is_not_plain(value: Any) -> None:
    """What is not plain is refused where it is packed."""
    with pytest.raises(ValueError, match="unmarshallable object"):
        wire.pack(value)


@pytest.mark.parametrize("payload", [b"", b"123", b"12345"])
def test_a_credit_of_the_wrong_size(payload: bytes) -> None:
    """A CREDIT has four bytes."""
    with pytest.raises(wire.WireError, match=f"a CREDIT of {len(payload)} bytes"):
        wire.decode_credit(payload)


@given(stream=STREAMS, size=st.integers(0, 2**32 - 1))
def test_credit_comes_back(stream: int, size: int) -> None:
    """A credit's stream and size survive."""
    ((kind, got, payload),) = wire.Decoder().feed(wire.encode_credit(stream, size))

    assert (kind, got, wire.decode_credit(payload)) == (wire.CREDIT, stream, size)


class Credit(RuleBasedStateMachine):
    """Two ends of one stream and the wires between them, where anything may take any time.

    The sender is written as both real ones are (`Call.offer`, `Exchange.send`): it sends a piece when the piece fits
    into what was granted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inbox = wire.Inbox()
        self.to_send: deque[int] = deque()
        self.forth: deque[int] = deque()
        self.back: deque[int] = deque()
        self.held: deque[int] = deque()
        self.sent = 0
        self.granted = wire.WINDOW

    @rule(sizes=st.lists(st.integers(0, wire.PIECE), min_size=1, max_size=10))
    def produce(self, sizes: list[int]) -> None:
        self.to_send.extend(sizes)

    @rule(sizes=st.integers(1, 8).map(lambda n: [wire.PIECE] * n))
    def produce_large(self, sizes: list[int]) -> None:
        self.to_send.extend(sizes)

    @rule()
    def send(self) -> None:
        if self.may_send():
            size = self.to_send.popleft()
            self.sent += size
            self.forth.append(size)

    def may_send(self) -> bool:
        return bool(self.to_send) and self.granted - self.sent >= self.to_send[0]

    @rule()
    def receive(self) -> None:
        if self.forth:
            size = self.forth.popleft()
            self.inbox.received(size)  # raises if the sender is over its window
            self.held.append(size)

    @rule()
    def consume(self) -> None:
        if self.held:
            self.give(self.held.popleft())

    @rule()
    def consume_all_as_one(self) -> None:
        total = sum(self.held)
        self.held.clear()
        self.give(total)

    def give(self, size: int) -> None:
        credit = self.inbox.consumed(size)
        if credit:
            self.back.append(credit)

    @rule()
    def grant(self) -> None:
        if self.back:
            self.granted += self.back.popleft()

    @invariant()
    def memory_is_bounded(self) -> None:
        assert sum(self.forth) + sum(self.held) <= wire.WINDOW

    def teardown(self) -> None:
        """Let everything that is under way arrive: all that was to be sent must come through."""
        while self.to_send:
            before = len(self.to_send)
            while self.may_send():
                self.send()
            while self.forth:
                self.receive()
            while self.held:
                self.consume()
            while self.back:
                self.grant()
            assert len(self.to_send) < before or self.may_send(), "both sides wait for each other"


Credit.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestCredit = Credit.TestCase


def test_a_sender_that_ignores_its_window_is_found_out() -> None:
    """One byte over the window breaks the connection."""
    inbox = wire.Inbox()
    inbox.received(wire.WINDOW)

    with pytest.raises(wire.WireError, match="the window is 262144"):
        inbox.received(1)


VALUES = [
    None, True, False, 0, -1, 2**31, -(2**31), 2**63, 2**200, 0.1, -0.0, math.inf, "", "a", "ß\U0001f980", "\ud83d",
    b"", b"\x00\xff", [], [1, [2.5, "x"]], (), (1, ("a",)), {}, {"a": {"b": [None]}}, "interned", "x" * 300,
    {"method": "predict", "request": {"headers": [(b"a", b"b")], "client": ("127.0.0.1", 1), "path": "/"}},
]  # fmt: skip


@pytest.mark.parametrize("version", sorted(PYTHONS))
def test_other_pythons_read_and_write_the_same(version: str) -> None:
    """Every Python a model may run on reads what we write, and we read what it writes."""
    script = (
        "import marshal, sys; value = marshal.loads(sys.stdin.buffer.read());"
        "sys.stdout.buffer.write(marshal.dumps([repr(value), marshal.dumps(value, 2)], 2))"
    )

    done = subprocess.run(
        [PYTHONS[version], "-I", "-c", script],
        input=wire.pack(VALUES),
        capture_output=True,
        check=True,
        timeout=60,
    )

    text, again = wire.unpack(done.stdout)
    assert text == repr(VALUES)
    assert repr(wire.unpack(again)) == repr(VALUES)
