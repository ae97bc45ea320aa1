"""What of errors, durations and foreign lines reaches the user."""

from __future__ import annotations

import pytest

from truss.errors import StartError, TrussError
from truss.wording import as_error, clean, format_error, format_seconds


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("plain", "plain"),
        ("naïve 隼\n", "naïve 隼"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x08b\x00c\x7f\x9bd", "abcd"),
        ("1%\r50%\r100%", "100%"),
        ("a\tb", "a   b"),
        ("\x1b", ""),
    ],
)
def test_clean(line: str, expected: str) -> None:
    """Of a line of somebody else's only its text reaches the terminal."""
    assert clean(line) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (75.2, "75 s"), (725, "12 min 5 s")]
)
def test_seconds(seconds: float, expected: str) -> None:
    """Durations are as exact as is useful."""
    assert format_seconds(seconds) == expected


def test_format_error_cleans() -> None:
    """What a server or a model says in an error cannot command the terminal."""
    error = TrussError("bad \x1b[2J", details="one\x07\ntwo", hint="try\x1b[H")

    assert format_error(error) == "error: bad \none\ntwo\n\nhint: try\n"


def test_known_errors_are_no_bugs() -> None:
    """An error of ours stays what it is."""
    error = StartError("x")

    assert as_error(error, {}) is error
