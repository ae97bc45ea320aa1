"""What a piece of code mentions, found without running it: the identifiers in it, and what it may change."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from truss.effects import dotted

if TYPE_CHECKING:
    from collections.abc import Iterable

FINDS_BY_NAME = frozenset(
    {"__import__", "import_module", "runpy", "pkgutil", "pickle", "dill", "cloudpickle", "joblib", "shelve"}
    | {"multiprocessing", "ProcessPoolExecutor", "ray", "loky"}
    | {"read_pickle", "spec_from_file_location", "torch.load without weights_only=True", "allow_pickle=True"}
)
"""What finds modules and classes by names that are nowhere in the code: imports by name, unpickling, processes."""

UNKNOWABLE = FINDS_BY_NAME | {
    *("builtins", "globals", "vars", "importlib", "_getframe", "currentframe"),
    *("get_objects", "get_referrers", "get_referents"),
    *("__dict__", "__subclasses__", "__getattribute__", "getmembers", "getattr_static"),
    *("__doc__", "getdoc", "getsource", "__globals__"),
}
"""Names behind which any definition of the package may be meant."""

LEAKING = frozenset({"__class__", "__self__", "__closure__", "locals", "tb_frame", "f_locals"})
"""Names of what leads to the first parameter of a function, which is not written there."""

BY_NAME = frozenset({"getattr", "hasattr", "attrgetter", "methodcaller"})
"""Functions that take the name of what they find."""

CHANGING = frozenset(
    {"add", "append", "appendleft", "extend", "insert", "pop", "register", "remove", "setdefault", "update"}
)
"""Methods that change what they are called on."""

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:[.:][A-Za-z_]\w*)+")


@dataclass(frozen=True)
class Facts:
    """What a piece of code mentions.

    Attributes:
        names: Every identifier in it, those of attributes, keywords and imports too.
        bound_globally: Names it declares `global`.
        changes: Names of what it changes in place: `X[...] = ...`, `X.append(...)`, `global X`.
        sets: Names of what it sets attributes of; `type()` for those of a class it asks for.
        asks: Names of what it asks for attributes whose names are not written there; empty for anything else.
        unknowable: What in it may mean any definition.
        attributes: Those of the names that it mentions as attributes only.
        own: Names that it mentions as attributes of its first parameter, or of `super()`.
        handed: What its first parameter is handed to, dotted; empty text where it is used in another way.
        leaks: How its first parameter becomes a value that others may have.
    """

    names: frozenset[str] = frozenset()
    bound_globally: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    asks: frozenset[str] = frozenset()
    unknowable: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    handed: frozenset[str] = frozenset()
    leaks: frozenset[str] = frozenset()


def find_facts(*nodes: ast.AST, used: bool = False, called: Iterable[ast.AST] = ()) -> Facts:
    """Return what nodes mention.

    Args:
        nodes: Code.
        used: Whether every method that is called here is taken to change what it is called on.
        called: Those of the nodes that are called though that is not written there: decorators.
    """
    collector = _Collector(used=used)
    for top in nodes:
        first = _first_parameter(top)
        for node in ast.walk(top):
            collector.visit(node)
            collector.follow(node, first)
    for one in called:
        collector.changed(one)
    return collector.facts()


class _Collector:
    """Collects facts of one node after another."""

    def __init__(self, *, used: bool) -> None:
        self._used = used
        self._plain: set[str] = set()
        self._owned: set[int] = set()
        self._given: dict[int, str] = {}
        self._found: dict[str, set[str]] = {name: set() for name in Facts.__dataclass_fields__}

    def facts(self) -> Facts:
        """Return what was collected."""
        found = {name: frozenset(values) for name, values in self._found.items()}
        found["names"] -= {""}
        found["attributes"] = found["names"] - self._plain
        found["leaks"] |= found["names"] & LEAKING
        found["unknowable"] |= found["names"] & UNKNOWABLE
        return Facts(**found)

    def changed(self, node: ast.AST) -> None:
        """Take in that what a node is got from is changed."""
        self._found["changes"].update(_base(node))

    def visit(self, node: ast.AST) -> None:
        """Take in one node, without what is below it."""
        self._found["names"].update(_identifiers(node))
        if not isinstance(node, ast.Attribute):
            self._plain.update(_identifiers(node))
        if isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation:
            words = {word for part in ast.walk(node.annotation) for word in _quoted(part)}
            self._found["names"] |= words
            self._plain |= words
        if isinstance(node, ast.Name) and node.id in {"eval", "exec"}:  # not `model.eval()`
            self._found["unknowable"].add(node.id)
        elif isinstance(node, ast.Name) and node.id in {"getattr", "hasattr"} and id(node) not in self._owned:
            self._found["asks"].add("")  # `reduce(getattr, words, self)`
        elif isinstance(node, ast.Attribute):
            self._attribute(node)
        elif isinstance(node, ast.Global):
            self._found["bound_globally"].update(node.names)
            self._found["changes"].update(node.names)
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            self.changed(node.value)
        elif isinstance(node, ast.AugAssign):
            self.changed(node.target)
        elif isinstance(node, ast.Call):
            self._call(node)

    def follow(self, node: ast.AST, first: str) -> None:
        """Take in what a node, which comes after those around it, does with the first parameter."""
        if isinstance(node, ast.Attribute):
            base = node.value
            if isinstance(base, ast.Name) and base.id == first:
                self._owned.add(id(base))
                self._found["own"].add(node.attr)
            elif isinstance(base, ast.Call) and not base.args and _base(base.func) == {"super"}:
                self._found["own"].add(node.attr)
        elif isinstance(node, ast.Name) and node.id == first and id(node) not in self._owned:
            self._found["leaks"].add(first)
            self._found["handed"].add(self._given.get(id(node), ""))

    def _attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Load):
            if node.attr == "modules" and _base(node.value) == {"sys"}:
                self._found["unknowable"].add("sys.modules")
            return
        self._sets(node.value)

    def _sets(self, value: ast.expr) -> None:
        """Take in that an attribute of a value is set or deleted."""
        of_type = isinstance(value, ast.Attribute) and value.attr == "__class__"
        of_type = of_type or (isinstance(value, ast.Name) and value.id == "cls")
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
            of_type = of_type or value.func.id == "type"
        self._found["sets"].update(["type()"] if of_type else _base(value))

    def _call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        called = node.func.id if isinstance(node.func, ast.Name) else called
        if isinstance(node.func, ast.Attribute) and (self._used or called in CHANGING):
            self.changed(node.func.value)
        if called in BY_NAME:
            self._asked(node, 1 if called in {"getattr", "hasattr"} else 0)
        elif called == "dir":
            self._found["asks"].update(_base(node.args[0]) if node.args else {""})
        self._owned.add(id(node.func))
        if called in {"setattr", "delattr"} and node.args:
            self._sets(node.args[0])
        self._given |= {id(one): dotted(node.func) for one in node.args}
        self._given |= {id(one.value): dotted(node.func) for one in node.keywords}
        self._unpickles(node, called)

    def _unpickles(self, node: ast.Call, called: str) -> None:
        given = {one.arg: one.value for one in node.keywords}
        tensors = called == "load" and ("map_location" in given or ast.unparse(node.func) == "torch.load")
        safe = getattr(given.get("weights_only"), "value", None) is True
        if (tensors or "weights_only" in given) and not safe:
            self._found["unknowable"].add("torch.load without weights_only=True")
        if "allow_pickle" in given and getattr(given["allow_pickle"], "value", None) is not False:
            self._found["unknowable"].add("allow_pickle=True")

    def _asked(self, node: ast.Call, place: int) -> None:
        asked = node.args[place : place + 1] if place else node.args
        for one in asked:
            if isinstance(one, ast.Constant) and isinstance(one.value, str):
                self._found["names"].update(one.value.split("."))
                self._plain.update(one.value.split("."))
            else:
                self._found["asks"].update(_base(node.args[0]) if place else {""})


def _first_parameter(node: ast.AST) -> str:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return ""
    parameters = [*node.args.posonlyargs, *node.args.args, *filter(None, [node.args.vararg])]
    return parameters[0].arg if parameters else ""


def _base(node: ast.AST) -> set[str]:
    """Return the name at the left of `a.b[c].d`; empty text where there is none."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else {""}


def _quoted(node: ast.AST) -> list[str]:
    """Return the words of a text: `list["Item"]` asks for `Item`."""
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return re.findall(r"[A-Za-z_]\w*", text)


def _identifiers(node: ast.AST) -> list[str]:
    """Return the identifiers that a node itself holds; a text that looks like `module.name` holds its words."""
    found: list[str] = []
    if isinstance(node, ast.Name):
        found = [node.id]
    elif isinstance(node, ast.Attribute):
        found = [node.attr]
    elif isinstance(node, ast.Global):
        found = node.names
    elif isinstance(node, ast.keyword):
        found = [node.arg or ""]
    elif isinstance(node, ast.alias):
        found = [*node.name.split("."), node.asname or ""]
    elif isinstance(node, ast.ImportFrom):
        found = (node.module or "").split(".")
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
        found = re.split("[.:]", node.value)
    return found
