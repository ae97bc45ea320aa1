"""Excerpts of the user's files."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

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
    assert (shown[6], shown[-1]) == ("…", "…")


def test_excerpt_that_is_cut_at_one_side() -> None:
    """Nothing is left out where nothing says so."""
    assert excerpt("!" + "y" * 300, Mark(1, 1)).splitlines()[0] == "  1 | !" + "y" * (WIDTH - 2) + "…"
    assert excerpt("x" * 300 + "!", Mark(1, 301)).splitlines()[0] == "  1 | …" + "x" * (WIDTH // 2 - 1) + "!"


@pytest.mark.parametrize(
    ("before", "columns"), [("鷹: ", 4), ("🦅: ", 4), ("\uff21: ", 4), ("e\u0301: ", 3), ("é: ", 3)]
)
def test_excerpt_of_wide_characters(before: str, columns: int) -> None:
    """The caret stands where a terminal shows the place: some characters take two columns, and some none."""
    shown = excerpt(f"{before}x", Mark(1, len(before) + 1))

    assert shown == f"  1 | {before}x\n    | {' ' * columns}^"


def test_excerpt_of_a_long_line_of_wide_characters() -> None:
    """It is cut to the columns of the terminal, not to so many characters."""
    shown, caret = excerpt("鷹" * 200 + "x", Mark(1, 101)).splitlines()

    assert shown == f"  1 | …{'鷹' * 49}…"
    assert caret == f"    | {' ' * 49}^"


def test_excerpt_behind_the_end() -> None:
    """A place behind the last line, or a character that would upset the terminal, shows as blank."""
    assert excerpt("a: 1", Mark(2, 1)) == "  2 | \n    | ^"
    assert excerpt("a\x1b[31m: 1", Mark(1, 1)) == "  1 | a [31m: 1\n    | ^"
