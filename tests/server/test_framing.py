"""Streams of mixed items read back as what was yielded: JSON lines, and server-sent events by their specification."""

from __future__ import annotations

import json
import re
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truss_server.worker.framing import Framer

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
OBJECTS = st.dictionaries(TEXT, st.integers(-(2**53), 2**53) | TEXT | st.none()) | st.lists(st.booleans())
NO_EVENTS = TEXT.map(lambda text: text.replace(":", ";"))
"""Text that the author cannot have meant as events, which pass as they are."""
ITEMS = st.lists(
    OBJECTS | NO_EVENTS | NO_EVENTS.map(str.encode) | st.binary().map(lambda b: b"\xff" + b), max_size=8
)


def expected(item: object) -> object:
    """Return what an item is in a stream of objects."""
    return b64encode(item).decode() if isinstance(item, bytes) else item


def read_events(text: str) -> list[str]:
    """Return the data of the events in a stream, by the HTML standard, section 9.2.6; empty ones as well."""
    events, data = [], None
    for line in re.split(r"\r\n|\r|\n", text):
        name, _, value = line.partition(":")
        if not line and data is not None:
            events.append("\n".join(data))
            data = None
        elif name == "data":
            data = [*(data or []), value.removeprefix(" ")]
    return events


@given(first=OBJECTS, rest=ITEMS)
def test_lines(first: object, rest: list[object]) -> None:
    """Each line of a stream that began with an object is the JSON of one item."""
    framer = Framer("lines")
    data = b"".join([framer.frame(item) for item in [first, *rest]])

    assert [json.loads(line) for line in data.split(b"\n")[:-1]] == [expected(i) for i in [first, *rest]]
    assert framer.content_type == "application/x-ndjson"


@pytest.mark.parametrize("framing", ["sse", "openai", "named"])
@given(first=OBJECTS, rest=ITEMS)
def test_events(framing: str, first: object, rest: list[object]) -> None:
    """Each event of a stream that began with an object holds one item, in whatever lines it is written."""
    framer = Framer(framing)
    items = [first, *rest]
    text = b"".join([*[framer.frame(item) for item in items], framer.end()]).decode()

    events = read_events(text)
    if framing == "openai":
        assert events.pop() == "[DONE]"
    assert len(events) == len(items)
    for event, item in zip(events, items, strict=True):
        if isinstance(item, (str, bytes)):
            assert event == re.sub(r"\r\n|\r", "\n", str(expected(item)))
        else:
            assert json.loads(event) == item
