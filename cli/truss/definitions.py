"""A Python file as definitions: what each one says, which names it mentions, what it does to others. No imports run."""

from __future__ import annotations

import ast
import hashlib
import re
import sys
import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from truss.effects import Scope, dotted
from truss.facts import Facts, find_facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Function = (ast.FunctionDef, ast.AsyncFunctionDef)

_SHARED = (
    *(ast.Constant, ast.Name, ast.Attribute, ast.Tuple, ast.JoinedStr, ast.FormattedValue, ast.expr_context),
    *(ast.UnaryOp, ast.unaryop, ast.BinOp, ast.operator),
)
"""What an expression is made of whose value is the same object, or one that cannot change, each time."""

_REGISTERS = re.compile(r"register|set_|setdefault|add_|component")


@dataclass(frozen=True)
class Definition:
    """A statement at the top of a file, or a method of a class there.

    Attributes:
        kind: `function`, `class`, `assignment`, `import`, or `statement` for all else.
        binds: Names it binds.
        code: Hash of what it says; comments, places and docstrings do not count. Of a class: without its methods.
            Docstrings of what has a decorator, and of a class with bases, do: others may read them.
        whole_code: Hash of what it says with its methods and all docstrings.
        facts: What it mentions; of a class without its methods.
        early: What of that it does while the file is imported: decorators, defaults, bases, calls.
        bases: Identifiers in the bases of a class.
        methods: Of a class.
        makes: Names that the body of a class binds to what is made anew with the class.
        harmless: Of a statement: it only imports, and binds constants. Of an import: from Python's own library.
        noted: Who may take note of it, dotted: its decorators, bases and metaclass; of an assignment: what it
            calls whose name sounds as if it did.
        effect: The line in which it does what should not be done twice, or 0.
    """

    kind: str
    binds: tuple[str, ...]
    code: str
    facts: Facts
    early: Facts = field(default_factory=Facts)
    whole_code: str = ""
    bases: frozenset[str] = frozenset()
    methods: tuple[Definition, ...] = ()
    makes: frozenset[str] = frozenset()
    harmless: bool = False
    noted: tuple[str, ...] = ()
    effect: int = 0

    @property
    def parts(self) -> tuple[Definition, ...]:
        """The definition and its methods."""
        return (self, *self.methods)


@dataclass(frozen=True)
class Import:
    """An import statement: `from MODULE import NAMES`, with as many dots before it as `level` says."""

    level: int
    module: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A Python file that was read.

    Attributes:
        definitions: In the order of the file.
        imports: Wherever they are.
        imports_by_name: Whether it imports what is not written there.
    """

    definitions: tuple[Definition, ...]
    imports: tuple[Import, ...]
    imports_by_name: bool


def read_source(source: bytes) -> Source:
    """Return what a Python file says.

    Raises:
        SyntaxError: It is no Python of this version.
        ValueError: It is no text, or holds null bytes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes and the like: said by the model's own interpreter
        tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    imports = tuple(found for node in nodes for found in _imports(node))
    by_name = any(isinstance(node, ast.Name) and node.id == "__import__" for node in nodes) or any(
        one.module.partition(".")[0] in {"importlib", "pkgutil", "runpy"} for one in imports
    )
    body = [node for node in _without_docstring(tree.body) if not _never_runs(node)]
    scope = Scope.of(tree)
    found = (
        replace(one, effect=scope.effect(node), whole_code=one.whole_code or one.code)
        for node in body
        for one in _definitions(node)
    )
    return Source(tuple(found), imports, by_name)


def _imports(node: ast.AST) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(0, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield Import(node.level, node.module or "", tuple(alias.name for alias in node.names))


def _never_runs(node: ast.stmt) -> bool:
    """Return whether a statement is for type checkers, or for those who run the file by itself."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Pass):
        return True
    if not isinstance(node, ast.If) or node.orelse:
        return False
    return ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'"}


def _definitions(node: ast.stmt) -> Iterator[Definition]:
    if isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield _import(ast.ImportFrom(node.module, [alias], node.level), alias.asname or alias.name)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            yield _import(ast.Import([alias]), alias.asname or alias.name.partition(".")[0])
    elif isinstance(node, Function):
        yield _function(node)
    elif isinstance(node, ast.ClassDef):
        yield _class(node)
    else:
        yield _statement(node)


def _import(node: ast.Import | ast.ImportFrom, name: str) -> Definition:
    facts = find_facts(node)
    if isinstance(node, ast.Import) and node.names[0].asname is None:
        facts = replace(facts, unknowable=frozenset())  # where the module is used will say so
    if name == "*":
        return Definition("statement", (name,), _code(node), facts, harmless=True)
    module = (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
    standard = not getattr(node, "level", 0) and module.partition(".")[0] in sys.stdlib_module_names
    return Definition("import", (name,), _code(node), facts, harmless=standard)


def _statement(node: ast.stmt) -> Definition:
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        parts = [part for target in targets for part in _unpacked(target)]
        if all(isinstance(part, ast.Name) for part in parts):
            names = tuple(part.id for part in parts if isinstance(part, ast.Name))
            calls = any(isinstance(part, ast.Call) for part in ast.walk(node))
            facts = find_facts(node, called=[node.value] if isinstance(node.value, ast.Attribute) else [])
            early = find_facts(node, used=True) if calls else Facts()
            called = _dotted(part for part in ast.walk(node) if isinstance(part, ast.Call))
            noted = tuple(one for one in called if _REGISTERS.match(one.rpartition(".")[2]))
            return Definition("assignment", names, _code(node), facts, early, noted=noted)
    stored = {
        one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
    }
    inner = {one.name for one in ast.walk(node) if isinstance(one, (*Function, ast.ClassDef))}
    brought = {(one.asname or one.name) for one in ast.walk(node) if isinstance(one, ast.alias)}
    facts, early = find_facts(node), find_facts(node, used=True)
    binds = tuple(sorted(stored | inner | brought))
    return Definition("statement", binds, _code(node), facts, early, harmless=_is_harmless(node))


def _unpacked(target: ast.expr) -> Iterator[ast.expr]:
    if isinstance(target, (ast.Tuple, ast.List)):
        for one in target.elts:
            yield from _unpacked(one)
    elif isinstance(target, ast.Starred):
        yield from _unpacked(target.value)
    else:
        yield target


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Definition:
    defaults = [default for default in (*node.args.defaults, *node.args.kw_defaults) if default]
    early = find_facts(*node.decorator_list, *defaults, used=True, called=node.decorator_list)
    whole = _code(node, docs=True)
    code = whole if node.decorator_list else _code(node)
    noted = _dotted(node.decorator_list)
    return Definition("function", (node.name,), code, find_facts(node), early, whole, noted=noted)


def _dotted(nodes: Iterable[ast.AST]) -> tuple[str, ...]:
    """Return what stands for values or is called for them, dotted."""
    return tuple(dotted(node.func if isinstance(node, ast.Call) else node) for node in nodes)


def _class(node: ast.ClassDef) -> Definition:
    methods = [item for item in node.body if isinstance(item, Function)]
    heads = [*node.decorator_list, *node.bases, *node.keywords]
    said = node.body if heads else _without_docstring(node.body)
    body = [item for item in said if not isinstance(item, Function)]
    facts = find_facts(*heads, *body)
    if node.decorator_list:
        facts = replace(facts, leaks=facts.leaks | {"a decorator"})
    base_names = find_facts(*node.bases, *node.keywords).names
    return Definition(
        "class",
        (node.name,),
        _code(*heads, *body, name=node.name),
        facts,
        find_facts(*heads, *body, used=True, called=node.decorator_list),
        _code(node, docs=True),
        base_names,
        tuple(_function(item) for item in methods),
        frozenset(name for item in node.body for name in _made(item)),
        noted=_dotted([*node.decorator_list, *node.bases, *(item.value for item in node.keywords)]),
    )


def _made(node: ast.stmt) -> Iterator[str]:
    """Return the names that a statement in a class binds to an object of this version of the class."""
    if isinstance(node, Function):
        caches = {"cache", "lru_cache"} & find_facts(*node.decorator_list).names
        yield from [node.name] if caches else []
    elif isinstance(node, ast.ClassDef):
        yield node.name
    elif not isinstance(node, (ast.Assign, ast.AnnAssign)) or _is_made(node.value):
        for one in ast.walk(node):
            if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
                yield one.id


def _is_made(value: ast.expr | None) -> bool:
    return value is not None and not all(isinstance(part, _SHARED) for part in ast.walk(value))


def _is_harmless(node: ast.stmt) -> bool:
    """Return whether a statement only imports, and binds constants: done again, it does the same."""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.Pass)):
        return True
    if isinstance(node, ast.Assign):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, (ast.If, ast.Try)):
        handled = [item for handler in getattr(node, "handlers", []) for item in handler.body]
        inner = [*node.body, *handled, *node.orelse, *getattr(node, "finalbody", [])]
        return all(_is_harmless(item) for item in inner)
    return False


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        return body[1:]
    return body


def _code(*nodes: ast.AST, name: str = "", docs: bool = False) -> str:
    digest = hashlib.sha256(name.encode())
    for node in nodes:
        digest.update((ast.dump(node) if docs else _dump(node)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _dump(node: ast.AST) -> str:
    """Return what a node says, without docstrings."""
    bare = [one for one in ast.walk(node) if isinstance(one, (*Function, ast.ClassDef))]
    kept = [(one, one.body) for one in bare]
    for one in bare:
        one.body = _without_docstring(one.body)
    try:
        return ast.dump(node)
    finally:
        for one, body in kept:
            one.body = body
