"""What each problem in config.yaml is called, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from truss.config_keys import known, meant, section_above
from truss.config_sections import section_of
from truss.errors import Problem
from truss.yaml_source import dotted, in_a_line
from truss.yaml_words import in_quotes, value_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    from truss.config_sections import Section
    from truss.yaml_source import Location, YamlSource

_WRONG_KIND = {
    "bool_type": ("must be true or false", ""),
    "dict_type": ("must be `key: value` lines", ""),
    "finite_number": ("must be a number", ""),
    "float_type": ("must be a number", ""),
    "int_type": ("must be a whole number", ""),
    "missing": ("is missing", ""),
    "model_type": ("must be `key: value` lines", ""),
    "tuple_type": ("must be a list", "Write each item on a line of its own, after `- `."),
}

_ADVICE = {"missing": "Add it."}
"""What is to be done where there is no example."""

_OUT_OF_RANGE = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}

_LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
"""What the limits of a number are called, by the names pydantic has for them."""


def explain(source: YamlSource, errors: Iterable[ErrorDetails], schema: type[Section]) -> Iterator[Problem]:
    """Yield each error as a problem of the file, but those that only follow from what could not be read."""
    for error in errors:
        location = tuple(part for part in error["loc"] if part != "[key]")
        if any(location[:length] in source.unread for length in range(len(location) + 1)):
            continue
        problem, advice = _teach(error, location, source, schema)
        at_key = error["type"] == "extra_forbidden" or location != error["loc"]
        yield located(source, location, problem, advice, at_key=at_key)


def located(
    source: YamlSource, location: Location, problem: str, advice: str = "", *, at_key: bool = False
) -> Problem:
    """Return a problem at the place of a key or of its value."""
    mark = source.find(location, key=at_key)
    return Problem(mark.line, mark.column, dotted(location), problem, advice)


def _teach(
    error: ErrorDetails, location: Location, source: YamlSource, schema: type[Section]
) -> tuple[str, str]:
    """Return what is wrong and what to do."""
    name, kind = dotted(location), error["type"]
    if kind == "extra_forbidden":
        return f"unknown key `{name}`", meant(location, schema)
    if kind == "truss":
        return f"{name}: {error['ctx']['problem']}", error["ctx"]["advice"]
    if kind == "string_type":
        return f"{name}: must be text", _as_text(location, source) or _like(location, schema)
    if kind in _WRONG_KIND:
        problem, advice = _WRONG_KIND[kind]
        return f"{name}: {problem}", advice or _like(location, schema) or _ADVICE.get(kind, "")
    advice = _range(location, schema) if kind in _OUT_OF_RANGE else ""
    return f"{name}: {error['msg'].replace('Input should be', 'must be')}", advice


def _as_text(location: Location, source: YamlSource) -> str:
    """Return how a value is written if it is text; empty where it is a list or a mapping on purpose."""
    if written := source.written.get(location):
        return f'Put it in quotes: "{written}".'
    value = value_at(source.text, source.find(location))
    by_chance = location in source.values and value[:1] not in {"", "[", "{", "-"}
    return f"If it is text, put it in quotes: {in_quotes(value)}." if by_chance else ""


def _like(location: Location, schema: type[Section]) -> str:
    """Return what a value looks like; empty where only the problem says that."""
    field = _field(location, schema)
    if field is None:
        return ""
    if (inner := section_of(field.annotation)) is not None:
        return f"`{location[-1]}` takes {', '.join(known(inner))}."
    return f"For example: `{location[-1]}: {in_a_line(field.examples[0])}`." if field.examples else ""


def _range(location: Location, schema: type[Section]) -> str:
    """Return which numbers a key takes."""
    field = _field(location, schema)
    limits = [
        f"{words} {limit:.0f}"
        for one in (field.metadata if field else ())
        for name, words in _LIMITS.items()
        if (limit := getattr(one, name, None)) is not None
    ]
    return f"Write a number of {' and '.join(limits)}." if limits else _like(location, schema)


def _field(location: Location, schema: type[Section]) -> FieldInfo | None:
    return section_above(location, schema).model_fields.get(str(location[-1]))
