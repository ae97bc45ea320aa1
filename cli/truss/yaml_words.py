"""What is wrong with a file that is no YAML, in words of those who write one, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from truss.excerpt import Mark, line_of

if TYPE_CHECKING:
    from collections.abc import Callable

_CLOSING = {"[": "]", "{": "}"}
_QUOTES = "\"'"
_MEANT = "&*!|>"
_TAKEN = f"{_MEANT}@`%?-"
"""What no text can begin with unless it stands in quotes; some of it because it has a meaning."""

_BEFORE_VALUE = re.compile(r"\s*(?:- +)*(?:[^\s:\"'#][^:\"'#]*: +)?")
_COMMENT = re.compile(r"\s#.*$")


def explain_syntax(text: str, exc: yaml.MarkedYAMLError) -> tuple[Mark, str, str]:
    """Return where a text stops being YAML, what is wrong there, and what to do.

    Args:
        text: Of the file.
        exc: What PyYAML says, which tells little more than two places and the part of it that gave up.
    """
    at, since = exc.problem_mark, exc.context_mark or exc.problem_mark
    place = _Place(text, at, since)
    for kind, applies, told in _KNOWN:
        if isinstance(exc, kind) and applies(place):
            return told(place)
    return place.mark, exc.problem or "this is no YAML", ""


def value_at(text: str, mark: Mark) -> str:
    """Return the value that a place is in, as far as it is on that line; for what was not meant as YAML."""
    line = line_of(text, mark)
    begin = _BEFORE_VALUE.match(line)
    found = line[begin.end() if begin and begin.end() < mark.column else mark.column - 1 :]
    return _COMMENT.sub("", found).strip()


def in_quotes(value: str) -> str:
    """Return a value as a text of YAML in quotes."""
    plain = not set(value) & {'"', "\\"}
    return f'"{value}"' if plain else "'" + value.replace("'", "''") + "'"


class _Place:
    """Where PyYAML gave up, and where it had begun what it gave up.

    Attributes:
        mark: Where it gave up.
        since: Where that began.
        sign: The character where it gave up, empty at the end of the file.
        opened: The character where that began.
        line: The line where it gave up.
        before: What is before it on that line.
    """

    def __init__(self, text: str, at: Any, since: Any) -> None:
        self.mark, self.since = Mark(at.line + 1, at.column + 1), Mark(since.line + 1, since.column + 1)
        self.sign, self.opened = text[at.index : at.index + 1], text[since.index : since.index + 1]
        self.line = line_of(text, self.mark)
        self.before = self.line[: at.column]
        self._text = text

    @property
    def at_once(self) -> bool:
        """Whether it gave up where it had begun."""
        return self.since == self.mark

    @property
    def indented(self) -> bool:
        """Whether nothing but space comes before on the line."""
        return not self.before.strip()

    @property
    def ended(self) -> str:
        """The character that comes before, spaces left out."""
        return self.before.rstrip()[-1:]

    @property
    def first(self) -> str:
        """The line on which it began, without what follows its value."""
        return _COMMENT.sub("", line_of(self._text, self.since)).strip()

    @property
    def value(self) -> str:
        """The value on this line, which perhaps was not meant as YAML."""
        return value_at(self._text, self.mark)

    @property
    def quote(self) -> str:
        """What to do if it was not."""
        return f"If it is text, put it in quotes: {in_quotes(self.value)}."


_Told = tuple[Mark, str, str]


def _tab(place: _Place) -> _Told:
    return place.mark, "a tab, where YAML wants spaces", "Indent with spaces."


def _escape(place: _Place) -> _Told:
    advice = r"Write `\\`, or take single quotes."
    return place.mark, f"in double quotes, `\\{place.sign}` is no character", advice


def _quote_open(place: _Place) -> _Told:
    return place.since, f"this `{place.opened}` has no other one that ends the text", "Add it."


def _second_colon(place: _Place) -> _Told:
    advice = f"Put it in quotes: {in_quotes(place.value)}."
    return place.mark, "a `: ` in a value that stands in no quotes", advice


def _key_in_value(place: _Place) -> _Told:
    advice = "Begin keys that belong together in the same column."
    return place.mark, "a key where the value above goes on", advice


def _taken(place: _Place) -> _Told:
    sign = "a backtick" if place.sign == "`" else f"`{place.sign}`"
    return place.mark, f"no value can begin with {sign}", place.quote


def _begun(place: _Place) -> _Told:
    return place.since, f"`{place.opened}` has a meaning of its own here", place.quote


def _no_colon(place: _Place) -> _Told:
    first = place.first
    advice = "After a colon comes a space." if ":" in first else "Write `key: value`."
    if first.startswith("-"):
        advice = f"After a dash comes a space: `- {first[1:]}`."
    return place.since, f"`{first}` is no `key: value`", advice


def _bracket_open(place: _Place) -> _Told:
    problem = f"this `{place.opened}` has no `{_CLOSING[place.opened]}`"
    if not place.sign:
        return place.since, problem, "Add it."
    before = f"before line {place.mark.line}, column {place.mark.column}"
    return place.since, f"{problem} {before}", "Add it, or a comma."


def _stray(place: _Place) -> _Told:
    return (
        place.mark,
        f"this `{place.sign}` has nothing before it that it could end",
        f"Remove it. {place.quote}",
    )


def _ended(place: _Place) -> _Told:
    end, value = place.ended, place.value
    problem = f"the value has ended at the `{end}` before"
    if end not in _QUOTES:
        return place.mark, problem, place.quote
    if place.before.count(end) == 1:
        problem = f"a text that began further up has ended at the `{end}` before"
        return place.mark, problem, f"Add the `{end}` that is missing there."
    inner = value[1:-1] if value[:1] == value[-1:] == end else value
    return place.mark, problem, f"Write {in_quotes(inner)}."


def _indented(place: _Place) -> _Told:
    advice = "Begin keys that belong together in the same column, and so the items of a list."
    return place.mark, "this line begins in another column than those it belongs to", advice


def _alias(place: _Place) -> _Told:
    return place.mark, "`*` names an anchor, and there is none of that name", place.quote


def _document(place: _Place) -> _Told:
    return place.mark, "a second document, where one is expected", "Remove it, and the `---` before."


_SCANNER, _PARSER, _COMPOSER = (
    yaml.scanner.ScannerError,
    yaml.parser.ParserError,
    yaml.composer.ComposerError,
)

_KNOWN: tuple[tuple[type[yaml.MarkedYAMLError], Callable[[_Place], bool], Callable[[_Place], _Told]], ...] = (
    (_SCANNER, lambda at: at.sign == "\t" or (at.indented and "\t" in at.before), _tab),
    (_SCANNER, lambda at: at.opened == '"' and at.before.endswith("\\"), _escape),
    (_SCANNER, lambda at: at.opened in {*_QUOTES} and at.sign in {"", "-", "."}, _quote_open),
    (_SCANNER, lambda at: at.at_once and at.sign == ":" and ": " in at.before, _second_colon),
    (_SCANNER, lambda at: at.at_once and at.sign == ":", _key_in_value),
    (_SCANNER, lambda at: at.at_once and at.sign in {*_TAKEN}, _taken),
    (_SCANNER, lambda at: at.opened in {*_MEANT}, _begun),
    (_SCANNER, lambda at: not at.at_once, _no_colon),
    (_PARSER, lambda at: not at.at_once and at.opened in _CLOSING, _bracket_open),
    (_PARSER, lambda at: at.sign in {*",]}"}, _stray),
    (_PARSER, lambda at: at.ended in {*_QUOTES, *_CLOSING.values()}, _ended),
    (_PARSER, lambda at: at.indented, _indented),
    (_PARSER, lambda at: at.sign in {*_TAKEN}, _taken),
    (_COMPOSER, lambda at: at.sign == "*", _alias),
    (_COMPOSER, lambda at: not at.at_once, _document),
)
"""What is told of which error; the first that applies."""
