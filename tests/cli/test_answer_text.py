"""Text of answers in any split, and errors in every shape that servers have for them."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truss.answer_text import EventErrors, WholeCharacters, error_body_text, error_text, pretty_json


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes at places."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(places)]


CUTS = st.lists(st.integers(min_value=0))


@given(st.binary(), CUTS)
def test_bytes_are_neither_lost_nor_changed(data: bytes, cuts: list[int]) -> None:
    """Whatever comes, in whatever pieces, goes out to the byte."""
    characters = WholeCharacters()

    out = [characters.feed(piece) for piece in pieces_of(data, cuts)]

    assert b"".join([*out, characters.feed(b"", final=True)]) == data


@given(st.text(), CUTS)
def test_every_piece_of_text_is_text(text: str, cuts: list[int]) -> None:
    """No piece ends inside of a character."""
    characters = WholeCharacters()

    out = [characters.feed(piece) for piece in pieces_of(text.encode(), cuts)]

    assert "".join(piece.decode() for piece in out) == text


ERROR = b'data: {"error": {"message": "out of memory"}}\n\n'


@given(
    st.lists(st.sampled_from([b'data: {"a": 1}\n\n', b": ping\n\n", b"data: [DONE]\n\n"])),
    CUTS,
    st.booleans(),
)
def test_error_events_in_any_split(events: list[bytes], cuts: list[int], fails: bool) -> None:
    """An error event is noticed wherever it is cut, and nothing else is taken for one."""
    errors = EventErrors()

    for piece in pieces_of(b"".join([*events, ERROR if fails else b"", *events]), cuts):
        errors.feed(piece.decode())

    assert errors.text == ("out of memory" if fails else "")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_newlines_of_events(newline: str) -> None:
    """Server-sent events may end lines in three ways."""
    errors = EventErrors()
    for character in newline.join(["event: error", 'data: {"message":', 'data: "x"}', "", ""]):
        errors.feed(character)
    errors.feed("data: more")

    assert errors.text == "x"


def test_first_error_is_kept() -> None:
    """What went wrong first is why."""
    errors = EventErrors()
    errors.feed("event: error\ndata: first\n\nevent: error\ndata: second\n\n")

    assert errors.text == "first"


def test_event_without_end() -> None:
    """An event that never ends does not fill the memory."""
    errors = EventErrors()
    for _ in range(3):
        errors.feed("x" * 600_000)
    errors.feed("\n\n" + ERROR.decode())

    assert errors.text == "out of memory"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"error": "no prompt"}, "no prompt"),
        ({"error": "ValueError: x", "traceback": "Traceback\nValueError: x\n"}, "Traceback\nValueError: x"),
        ({"error": "x", "traceback": "Traceback\nValueError: y\n"}, "x\nTraceback\nValueError: y"),
        ({"error": {"message": "too long", "type": "invalid_request_error"}}, "too long"),
        ({"error": {"message": "x", "traceback": "T\nx"}}, "T\nx"),
        ({"type": "error", "error": {"type": "api_error", "message": "lost"}}, "lost"),
        ({"error": {"code": 5}}, '{"code": 5}'),
        ({"error": [1, "é"]}, '[1, "é"]'),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": [{"loc": ["body"]}]}, '[{"loc": ["body"]}]'),
        ("text", "text"),
        (None, "null"),
    ],
)
def test_errors_of_all_dialects(value: object, expected: str) -> None:
    """An error reads the same whichever API's shape it comes in."""
    assert error_text(value) == expected
    assert error_body_text(json.dumps(value).encode()) == expected


def test_error_body_that_is_no_json() -> None:
    """Any other body is shown as text."""
    assert error_body_text(b"<h1>Bad Gateway</h1>\n\xff") == "<h1>Bad Gateway</h1>\n\ufffd"


def test_pretty_json_of_what_is_none() -> None:
    """A body that only claims to be JSON is shown as it is."""
    assert pretty_json(b"{oops") == "{oops"
