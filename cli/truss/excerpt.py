"""A line of the user's file with a caret under what is meant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import PurePath

WIDTH = 100

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
    start = max(0, mark.column - 1 - WIDTH // 2) if len(line) > WIDTH else 0
    number = str(mark.line)
    caret = " " * (mark.column - 1 - start) + "^"
    return f"  {number} | {line[start : start + WIDTH].rstrip()}\n  {' ' * len(number)} | {caret}"


def describe(path: PurePath, text: str, mark: Mark, problem: str, advice: str = "") -> str:
    """Return a problem as `file:line:column: problem`, the line it is about, and what to do."""
    shown = f"{path}:{mark.line}:{mark.column}: {problem}\n{excerpt(text, mark)}"
    return f"{shown}\n  {advice}" if advice else shown
