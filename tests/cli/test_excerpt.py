"""Excerpts of the user's files."""

from __future__ import annotations

from pathlib import PurePosixPath

from truss.excerpt import WIDTH, Mark, describe, excerpt


def test_describe() -> None:
    """A problem names its place, shows the line with a caret, and says what to do."""
    text = "import torch\nclass Modle:\n"

    described = describe(PurePosixPath("model.py"), text, Mark(2, 7), "no `Model`", "Rename it.")

    assert described == (
        "model.py:2:7: no `Model`\n"  # the form that editors and terminals make a link of
        "  2 | class Modle:\n"
        "    |       ^\n"
        "  Rename it."
    )


def test_excerpt_of_a_long_line() -> None:
    """A long line is cut so that its caret stays near the place."""
    text = "x" * 300 + "!" + "y" * 300

    shown, caret = excerpt(text, Mark(1, 301)).splitlines()

    assert len(shown) == len("  1 | ") + WIDTH
    assert shown[caret.index("^")] == "!"


def test_excerpt_behind_the_end() -> None:
    """A place behind the last line, or a character that would upset the terminal, shows as blank."""
    assert excerpt("a: 1", Mark(2, 1)) == "  2 | \n    | ^"
    assert excerpt("a\x1b[31m: 1", Mark(1, 1)) == "  1 | a [31m: 1\n    | ^"
