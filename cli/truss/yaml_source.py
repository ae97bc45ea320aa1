"""YAML with positions: what a file says, and where it says it.

Plain data only: mappings with text keys, lists, text, numbers, booleans and null. Whatever else YAML can
express (dates, sets, bytes, references to itself, tags of other languages) has no place in a configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from truss.errors import PackageError
from truss.excerpt import Mark, describe, line_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Location = tuple[str | int, ...]
"""Where a value lies: keys and indices from the top. A key has the location of its value."""

MAX_BYTES = 1 << 20
MAX_VALUES = 20_000
"""An alias repeats all that it names; a few lines of nested aliases would otherwise fill the memory."""

_CORE = "tag:yaml.org,2002:"
_PLAIN_TAGS = {_CORE + name for name in ("map", "seq", "str", "int", "float", "bool", "null")}


@dataclass(frozen=True)
class YamlSource:
    """A YAML file that was read.

    Attributes:
        path: The file.
        text: Its content.
        data: What it says; an empty file says `{}`.
        keys: Where each key (or item of a list) begins.
        values: Where each value begins.
    """

    path: Path
    text: str
    data: dict[str, Any] = field(default_factory=dict)
    keys: dict[Location, Mark] = field(default_factory=dict)
    values: dict[Location, Mark] = field(default_factory=dict)

    def describe(self, mark: Mark, problem: str, advice: str = "") -> str:
        """Return a problem as `file:line:column: problem`, the line it is about, and what to do."""
        return describe(self.path, self.text, mark, problem, advice)

    def find(self, location: Location, *, key: bool = False) -> Mark:
        """Return where a location is, or the nearest place above it that the file names."""
        places = self.keys if key else self.values
        while location and location not in places:
            location = location[:-1]
            places = self.keys
        return places.get(location, Mark(1, 1))


def read_yaml(path: Path, *, verbatim: Callable[[Location], bool] = lambda _: False) -> YamlSource:
    """Read a YAML file whose top level is a mapping.

    Args:
        path: The file.
        verbatim: Says of a location whether a scalar there stays as written: `3.10` is a version, no number.

    Raises:
        PackageError: No such file, no YAML, no mapping, a key that is there twice.
    """
    source = YamlSource(path, _read_text(path))
    try:
        loader = _Loader(source.text)
        node = loader.get_single_node()
        if node is None or (node.tag == _CORE + "null" and not node.value):
            return source
        if not isinstance(node, yaml.MappingNode):
            kind = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
            raise _error(source, _mark(node.start_mark), f"{kind}, where `key: value` lines are expected")
        _Walk(source, verbatim).visit(node, (), ())
        data: dict[str, Any] = loader.construct_document(node)
    except (ValueError, KeyError) as exc:  # what PyYAML makes of `!!int many` and `!!bool maybe`
        raise PackageError(f"{path} has a value that contradicts its tag: {exc}.") from exc
    except yaml.reader.ReaderError as exc:
        mark = _mark_at(source.text, exc.position)
        problem = f"the character {chr(exc.character)!r} is not allowed in YAML"
        raise _error(source, mark, problem) from exc
    except yaml.MarkedYAMLError as exc:
        raise _invalid(source, exc) from exc
    except RecursionError as exc:
        raise PackageError(f"{path} is nested too deeply.") from exc
    return YamlSource(path, source.text, data, source.keys, source.values)


def in_a_line(value: object) -> str:
    """Return a value as YAML in a line."""
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=10_000).removesuffix("...\n").strip()


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, for which a date or a lone `=` is text like any other."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in {_CORE + "timestamp", _CORE + "value"}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Walk:
    """Notes where everything is, and refuses what is no plain data."""

    def __init__(self, source: YamlSource, verbatim: Callable[[Location], bool]) -> None:
        self._source = source
        self._verbatim = verbatim

    def visit(self, node: yaml.Node, location: Location, above: tuple[yaml.Node, ...]) -> None:
        """Note a value and all below it."""
        mark = _mark(node.start_mark)
        if any(node is parent for parent in above):
            raise _error(self._source, mark, "this value contains itself")
        if len(self._source.values) >= MAX_VALUES:
            raise _error(self._source, mark, f"more than {MAX_VALUES} values")
        if node.tag not in _PLAIN_TAGS:
            raise _error(self._source, mark, f"the tag `{node.tag.replace(_CORE, '!!')}` is not supported")
        self._source.values[location] = mark
        if isinstance(node, yaml.MappingNode):
            self._mapping(node, location, above)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._source.keys[(*location, index)] = _mark(item.start_mark)
                self.visit(item, (*location, index), (*above, node))
        elif self._verbatim(location) and node.tag != _CORE + "null":
            node.tag = _CORE + "str"

    def _mapping(self, node: yaml.MappingNode, location: Location, above: tuple[yaml.Node, ...]) -> None:
        seen: dict[str, Mark] = {}
        merges = [value for key, value in node.value if key.tag == _CORE + "merge"]
        for merged in merges:  # first: a key of the mapping's own wins, so its place does too
            self._merge(merged, location, (*above, node))
        for key, value in node.value:
            mark = _mark(key.start_mark)
            if key.tag == _CORE + "merge":
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise _error(self._source, mark, "a key must be text")
            key.tag = _CORE + "str"  # `on:` is a key like any other, although YAML 1.1 reads it as true
            if key.value in seen:
                problem = f"the key `{key.value}` is already on line {seen[key.value].line}"
                raise _error(self._source, mark, problem, hint="Keep one of the two.")
            seen[key.value] = self._source.keys[(*location, key.value)] = mark
            self.visit(value, (*location, key.value), (*above, node))

    def _merge(self, value: yaml.Node, location: Location, above: tuple[yaml.Node, ...]) -> None:
        for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if not isinstance(merged, yaml.MappingNode):
                raise _error(self._source, _mark(merged.start_mark), "`<<` takes a mapping")
            if any(merged is parent for parent in above):
                raise _error(self._source, _mark(merged.start_mark), "this value contains itself")
            self._mapping(merged, location, above)


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PackageError(f"{path} is larger than {MAX_BYTES >> 20} MiB.")
        raw = path.read_bytes()
    except FileNotFoundError as exc:
        raise _missing(path) from exc
    except OSError as exc:
        raise PackageError(f"{path} cannot be read: {exc.strerror}.") from exc
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise PackageError(f"{path}:{line} is not UTF-8.", hint="Save the file as UTF-8.") from exc


def _missing(path: Path) -> PackageError:
    sibling = path.with_suffix(".yml")
    if sibling.is_file():
        return PackageError(
            f"The file must be called {path.name}, not {sibling.name}.", hint=f"mv {sibling} {path}"
        )
    if not path.parent.is_dir():
        return PackageError(
            f"There is no folder {path.parent}.", hint="`truss init DIR` makes a new package."
        )
    return PackageError(
        f"There is no {path.name} in {path.parent.absolute()}.",
        hint="Change to the folder of a package, or make one with `truss init DIR`.",
    )


def _invalid(source: YamlSource, exc: yaml.MarkedYAMLError) -> PackageError:
    mark = _mark(exc.problem_mark)
    began = _mark(exc.context_mark) if exc.context_mark else mark
    problem = exc.problem or "this is no YAML"
    if exc.context:
        since = f" that began on line {began.line}" if began.line != mark.line else ""
        problem = f"{exc.context}{since}: {problem}"
    tabs = "\t" in line_of(source.text, mark)[: mark.column]
    return _error(source, mark, problem, hint="YAML indents with spaces, not with tabs." if tabs else "")


def _error(source: YamlSource, mark: Mark, problem: str, *, hint: str = "") -> PackageError:
    return PackageError(f"{source.path} is not valid.", details=source.describe(mark, problem), hint=hint)


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _mark_at(text: str, offset: int) -> Mark:
    before = text[:offset]
    return Mark(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)
