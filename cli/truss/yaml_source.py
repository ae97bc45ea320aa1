"""YAML with positions: what a file says, and where it says it.

Plain data only: mappings with text keys, lists, text, numbers, booleans and null. Whatever else YAML can
express (dates, sets, bytes, references to itself, tags of other languages) has no place in a configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from truss.errors import PackageError, Problem
from truss.excerpt import Mark, describe
from truss.yaml_file import read_text
from truss.yaml_words import explain_syntax, in_quotes, value_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

Location = tuple[str | int, ...]
"""Where a value lies: keys and indices from the top. A key has the location of its value."""

MAX_VALUES = 20_000
"""An alias repeats all that it names; a few lines of nested aliases would otherwise fill the memory."""

MAX_DEPTH = 100
"""Mappings and lists in each other: more would be too much for whatever writes them out again."""

MAX_DIGITS = 1000
"""Of a number: Python itself refuses to write one of 4301."""

_CORE = "tag:yaml.org,2002:"
_TAGS: dict[type[yaml.Node], set[str]] = {
    yaml.MappingNode: {_CORE + "map"},
    yaml.SequenceNode: {_CORE + "seq"},
    yaml.ScalarNode: {_CORE + name for name in ("str", "int", "float", "bool", "null")},
}
_NUMBERS = {_CORE + "int", _CORE + "float"}

_HALF = (
    r"half a character: `\ud800` to `\udfff` mean something in pairs only",
    "Write the character itself.",
)


@dataclass(frozen=True)
class YamlSource:
    """A YAML file that was read.

    Attributes:
        path: The file.
        text: Its content.
        data: What it says; an empty file says `{}`.
        keys: Where each key (or item of a list) begins.
        values: Where each value begins.
        written: The text of each number and truth value, as it is written.
        problems: What is wrong with it, in no order.
        unread: Where the data is not what the file says, for a problem of the file itself.
    """

    path: Path
    text: str
    data: dict[str, Any] = field(default_factory=dict)
    keys: dict[Location, Mark] = field(default_factory=dict)
    values: dict[Location, Mark] = field(default_factory=dict)
    written: dict[Location, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unread: set[Location] = field(default_factory=set)

    def find(self, location: Location, *, key: bool = False) -> Mark:
        """Return where a location is, or the nearest place above it that the file names."""
        places = self.keys if key else self.values
        while location and location not in places:
            location = location[:-1]
            places = self.keys
        return places.get(location, Mark(1, 1))

    def refusal(self, problems: Iterable[Problem]) -> PackageError:
        """Return one error that lists problems in the order of the file, each with its line and what to do."""
        once = {
            (one.line, one.column, one.problem): one for one in problems
        }  # an alias is met again and again
        found = [once[place] for place in sorted(once)]
        count = "a problem" if len(found) == 1 else f"{len(found)} problems"
        return self._error(f"{self.path} has {count}.", found)

    def invalid(self, mark: Mark, problem: str, advice: str = "", *, hint: str = "") -> PackageError:
        """Return the error of a file that nothing more can be said of."""
        found = Problem(mark.line, mark.column, "", problem, advice)
        return self._error(f"{self.path} is not valid.", [found], hint)

    def _error(self, message: str, found: list[Problem], hint: str = "") -> PackageError:
        shown = [
            describe(self.path, self.text, Mark(one.line, one.column), one.problem, one.advice)
            for one in found
        ]
        return PackageError(message, details="\n\n".join(shown), hint=hint, problems=found)


def read_yaml(path: Path, *, verbatim: Callable[[Location], bool] = lambda _: False) -> YamlSource:
    """Read a YAML file whose top level is a mapping. What is wrong with single values is noted in what is returned.

    Args:
        path: The file.
        verbatim: Says of a location whether a scalar there stays as written: `3.10` is a version, no number.

    Raises:
        PackageError: No such file, no YAML, no mapping.
    """
    source = YamlSource(path, read_text(path))
    try:
        loader = _Loader(source.text)
        node = loader.get_single_node()
        if node is None or (node.tag == _CORE + "null" and not node.value):
            return source
        if not isinstance(node, yaml.MappingNode):
            kind = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
            raise source.invalid(_mark(node.start_mark), f"{kind}, where `key: value` lines are expected")
        source.data.update(_Walk(source, loader, verbatim).visit(node, (), ()))
    except yaml.reader.ReaderError as exc:
        mark = _mark_at(source.text, exc.position)
        problem = f"the character {chr(exc.character)!r} is not allowed in YAML"
        raise source.invalid(mark, problem, "Remove it.") from exc
    except yaml.MarkedYAMLError as exc:
        raise source.invalid(*explain_syntax(source.text, exc)) from exc
    return source


def in_a_line(value: object) -> str:
    """Return a value as YAML in a line."""
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=10_000).removesuffix("...\n").strip()


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, for which a date or a lone `=` is text like any other, and nesting has an end."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH + 1:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(problem=_too_deep(), problem_mark=mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in {_CORE + "timestamp", _CORE + "value"}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Walk:
    """Takes the data out of nodes, notes where everything is, and what is no plain data."""

    def __init__(
        self, source: YamlSource, loader: yaml.SafeLoader, verbatim: Callable[[Location], bool]
    ) -> None:
        self._source = source
        self._loader = loader
        self._verbatim = verbatim
        self._visited = 0

    def visit(self, node: yaml.Node, location: Location, above: tuple[yaml.Node, ...]) -> Any:
        """Return a value, and note it and all below it."""
        mark = _mark(node.start_mark)
        self._source.values[location] = mark
        if self._leads_astray(node, location, above):
            self._source.unread.add(location)
            return None
        if node.tag not in _TAGS[type(node)]:
            tag = node.tag.replace(_CORE, "!!")
            self._source.unread.add(location)
            self._problem(mark, location, f"the tag `{tag}` is not supported", self._quote(mark))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, mark, location)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location, above)
        items = enumerate(node.value)
        return [self._item(item, (*location, index), (*above, node)) for index, item in items]

    def _leads_astray(self, node: yaml.Node, location: Location, above: tuple[yaml.Node, ...]) -> bool:
        """Return whether a value is not to be looked into, and note why."""
        mark = _mark(node.start_mark)
        self._visited += 1
        if self._visited > MAX_VALUES:
            raise self._source.invalid(mark, f"more than {MAX_VALUES} values")
        if any(node is parent for parent in above):
            self._problem(mark, location, "this value contains itself", "Write out what is meant.")
            return True
        if len(above) > MAX_DEPTH:
            self._problem(mark, location, _too_deep())
            return True
        return False

    def _item(self, node: yaml.Node, location: Location, above: tuple[yaml.Node, ...]) -> Any:
        self._source.keys[location] = _mark(node.start_mark)
        return self.visit(node, location, above)

    def _scalar(self, node: yaml.ScalarNode, mark: Mark, location: Location) -> Any:
        tag = node.tag if node.tag in _TAGS[yaml.ScalarNode] else _CORE + "str"
        if tag == _CORE + "str" or (self._verbatim(location) and tag != _CORE + "null"):
            return self._text(node.value, mark, location)
        self._source.written[location] = node.value
        shown = node.value or '""'
        problem = f"`{shown}` is no `{tag.replace(_CORE, '!!')}`"
        if tag in _NUMBERS and len(node.value) > MAX_DIGITS:
            problem = f"a number of more than {MAX_DIGITS} digits"
        else:
            try:
                return self._loader.construct_object(yaml.ScalarNode(tag, node.value, node.start_mark))
            except (ValueError, KeyError, IndexError):  # of `!!int many`, `!!bool maybe`, `!!int ""`
                pass
        self._source.unread.add(location)
        self._problem(mark, location, problem, "If it is text, put it in quotes, without a tag.")
        return None

    def _text(self, text: str, mark: Mark, location: Location) -> str | None:
        whole = _joined(text)
        if whole is None:
            self._source.unread.add(location)
            self._problem(mark, location, *_HALF)
        return whole

    def _mapping(
        self, node: yaml.MappingNode, location: Location, above: tuple[yaml.Node, ...]
    ) -> dict[str, Any]:
        data: dict[str, Any] = {}
        seen: dict[str, Mark] = {}
        merges = [value for key, value in node.value if key.tag == _CORE + "merge"]
        for merged in merges:  # first: a key of the mapping's own wins, so its place does too
            data.update(self._merge(merged, location, (*above, node)))
        for key, value in node.value:
            mark = _mark(key.start_mark)
            if key.tag == _CORE + "merge":
                continue
            if not isinstance(key, yaml.ScalarNode):
                self._problem(mark, location, "a key must be text", self._quote(mark))
                continue
            name = _joined(key.value)  # `on:` is a key like any other, although YAML 1.1 reads it as true
            if name is None:
                self._problem(mark, location, *_HALF)
                continue
            if name in seen:
                problem = f"the key `{name}` is already on line {seen[name].line}"
                self._problem(mark, (*location, name), problem, "Keep one of the two.")
                continue
            seen[name] = self._source.keys[(*location, name)] = mark
            data[name] = self.visit(value, (*location, name), (*above, node))
        return data

    def _merge(self, value: yaml.Node, location: Location, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        data: dict[str, Any] = {}
        several = value.value if isinstance(value, yaml.SequenceNode) else [value]
        for merged in reversed(several):  # the first one wins
            if not isinstance(merged, yaml.MappingNode):
                self._problem(
                    _mark(merged.start_mark), location, "`<<` takes a mapping", "Write `<<: *name`."
                )
            elif not self._leads_astray(merged, location, above):
                data.update(self._mapping(merged, location, above))
        return data

    def _problem(self, mark: Mark, location: Location, problem: str, advice: str = "") -> None:
        found = Problem(mark.line, mark.column, dotted(location), problem, advice)
        self._source.problems.append(found)

    def _quote(self, mark: Mark) -> str:
        return f"If it is text, put it in quotes: {in_quotes(value_at(self._source.text, mark))}."


def dotted(location: Location) -> str:
    """Return a location as it is written: `a.b.0`."""
    return ".".join(str(part) for part in location)


def _joined(text: str) -> str | None:
    """Return a text in which a character that was written as two halves, as JSON does, is one; None for half a one."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return None


def _too_deep() -> str:
    return f"nested deeper than {MAX_DEPTH} levels"


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _mark_at(text: str, offset: int) -> Mark:
    before = text[:offset]
    return Mark(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)
