"""A line of the user's file with a caret under what is meant."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from textwrap import indent
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import PurePath

WIDTH = 100
"""Columns of a terminal that a line gets; a longer one is cut, with `…` where something is left out."""

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What YAML counts as the end of a line; `str.splitlines` knows more."""


@dataclass(frozen=True)
class Mark:
    """A place in a text, counted from 1."""

    line: int
    column: int


def line_of(text: str, mark: Mark) -> str:
    """Return the line at a mark, empty behind the end of the text."""
    lines = _LINE_BREAK.split(text)
    return lines[mark.line - 1] if mark.line <= len(lines) else ""


def excerpt(text: str, mark: Mark) -> str:
    """Return the line at a mark with a caret under the column; a long line is cut around it."""
    line = "".join(char if char.isprintable() else " " for char in line_of(text, mark))
    before, after = line[: mark.column - 1].ljust(mark.column - 1), line[mark.column - 1 :]
    if _columns(before + after) > WIDTH:
        before = _cut(before[::-1], WIDTH // 2)[::-1]
        after = _cut(after, WIDTH - _columns(before))
    number = str(mark.line)
    caret = " " * _columns(before) + "^"
    return f"  {number} | {(before + after).rstrip()}\n  {' ' * len(number)} | {caret}"


def _cut(text: str, columns: int) -> str:
    """Return the beginning of a text that fits, which ends with `…` where that is not all."""
    if _columns(text) <= columns:
        return text
    kept = text[:columns]
    while _columns(kept) >= columns:
        kept = kept[:-1]
    return f"{kept}…"


def _columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(_width(char) for char in text)


def _width(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me"}:  # an accent stands upon the letter before it
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def describe(path: PurePath, text: str, mark: Mark, problem: str, advice: str = "") -> str:
    """Return a problem as `file:line:column: problem`, the line it is about, and what to do."""
    shown = f"{path}:{mark.line}:{mark.column}: {problem}\n{excerpt(text, mark)}"
    return f"{shown}\n{indent(advice, '  ')}" if advice else shown
