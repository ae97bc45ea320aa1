"""What each problem in config.yaml is called, and what to do about it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from truss.config_sections import section_of
from truss.errors import PackageError
from truss.yaml_source import in_a_line

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def explain(source: YamlSource, errors: list[ErrorDetails], schema: type[Section]) -> PackageError:
    """Return one error that lists all problems in the order of the file, with places and what to do."""
    found = []
    for error in errors:
        problem, advice = _teach(error, schema)
        at_key = error["type"] == "extra_forbidden" or error["loc"][-1:] == ("[key]",)
        mark = source.find(error["loc"], key=at_key)
        found.append((mark.line, mark.column, source.describe(mark, problem, advice)))
    count = "a problem" if len(found) == 1 else f"{len(found)} problems"
    return PackageError(
        f"{source.path} has {count}.", details="\n\n".join(text for *_, text in sorted(found))
    )


def _teach(error: ErrorDetails, schema: type[Section]) -> tuple[str, str]:
    """Return what is wrong and what to do."""
    name = _dotted(error["loc"])
    kind = error["type"]
    if kind == "extra_forbidden":
        return _unknown(error["loc"], schema)
    if kind == "truss":
        return f"{name}: {error['ctx']['problem']}", error["ctx"]["advice"]
    if kind == "string_type":
        quotable = isinstance(error["input"], (bool, int, float))
        written = in_a_line(error["input"])
        return f"{name}: must be text", f'Put it in quotes: "{written}".' if quotable else ""
    if kind in _WRONG_KIND:
        problem, advice = _WRONG_KIND[kind]
        return f"{name}: {problem}", advice or _like(error["loc"], schema)
    return f"{name}: {error['msg'].replace('Input should be', 'must be')}", ""


def _like(location: Location, schema: type[Section]) -> str:
    """Return what a value looks like; empty where only the problem says that."""
    section, key = _section_above(location, schema), location[-1]
    if isinstance(key, int) or (field := section.model_fields.get(key)) is None:
        return ""
    if (inner := section_of(field.annotation)) is not None:
        return f"`{key}` takes {', '.join(_known(inner))}."
    return f"For example: `{key}: {in_a_line(field.examples[0])}`." if field.examples else ""


def _section_above(location: Location, schema: type[Section]) -> type[Section]:
    for part in location[:-1]:
        if isinstance(part, str):
            schema = _inner(schema, in_lists=True).get(part, schema)
    return schema


def _known(section: type[Section]) -> list[str]:
    return [name for name in section.model_fields if name not in section.unused_keys()]


def _unknown(location: Location, schema: type[Section]) -> tuple[str, str]:
    above, key = location[:-1], str(location[-1])
    section = _section_above(location, schema)
    return f"unknown key `{_dotted(location)}`", _meant(above, key, section, schema)


def _meant(above: Location, key: str, section: type[Section], schema: type[Section]) -> str:
    known = _known(section)
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.7)
    if close:
        return f"Did you mean `{_dotted((*above, close[0]))}`?"
    elsewhere = next((path for path in _paths(schema) if path[-1] == key), ())
    if elsewhere:
        return f"Did you mean `{_dotted(elsewhere)}`?"
    if above:
        return f"`{_dotted(above)}` takes {', '.join(known)}."
    return "Correct its name, or remove it."


def _inner(section: type[Section], *, in_lists: bool = False) -> dict[str, type[Section]]:
    fields = section.model_fields.items()
    found = {name: section_of(field.annotation, in_lists=in_lists) for name, field in fields}
    return {name: inner for name, inner in found.items() if inner is not None}


def _paths(section: type[Section], above: Location = ()) -> Iterator[Location]:
    for name in section.model_fields:
        yield (*above, name)
    for name, inner in _inner(section).items():
        yield from _paths(inner, (*above, name))


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location if part != "[key]")
