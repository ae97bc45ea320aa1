"""What of a model its OpenAPI document depends on, seen without importing it."""

from __future__ import annotations

import ast
import builtins
from typing import TYPE_CHECKING, get_args

from truss.model_class import Function, is_all_there, may_bind
from truss.model_source import read_class
from truss_server.protocol import ENDPOINTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from truss.config import TrussConfig
    from truss.release import PackageFile

TYPED = ("predict", "preprocess", "postprocess", *ENDPOINTS)
"""Methods whose types are shown."""

PLAIN = frozenset({"collections", "fastapi", "starlette", "types", "typing", "typing_extensions"})
"""Modules that have no types of inputs or outputs, or only such that the document does not tell of."""


def shape_of(config: TrussConfig, files: Iterable[PackageFile]) -> str | None:
    """Return what the document can tell of a model's methods: files of one shape make one document.

    Returns:
        Text to compare; None where a method may have a type of its own, or come from elsewhere, so that only an
        import tells.
    """
    files = tuple(files)
    tree, node = read_class(config, files)
    if tree is None or node is None or not is_all_there(node) or may_bind(node, TYPED):
        return None
    functions = [one for one in node.body if isinstance(one, Function) and one.name in TYPED]
    imported = dict(name for statement in ast.walk(tree) for name in _imported(statement))
    own = {file.path.parts[0].removesuffix(".py") for file in files}
    installed = {name for name, module in imported.items() if module.partition(".")[0] not in own}
    installed |= _builtins(tree)
    if "*" in imported:  # it may take the place of any other name
        return None
    plain = {name for name, module in imported.items() if module.partition(".")[0] in PLAIN} | _builtins(tree)
    annotations = [note for one in functions for note in _annotations(one)]
    decorators = [note for one in functions for note in one.decorator_list]
    if any(name not in plain for note in annotations for name in _names(note)):
        return None
    roots = {_root(note) for note in decorators}
    if not roots <= installed:  # code of the model's own: it may do anything
        return None
    meant = sorted((name, module) for name, module in imported.items() if name in plain | roots)
    heads = [(type(one).__name__, one.name, ast.dump(one.args), _yields(one)) for one in functions]
    notes = [ast.dump(one) for one in (*decorators, *(one.returns for one in functions if one.returns))]
    return repr((meant, heads, notes))


def _builtins(tree: ast.Module) -> set[str]:
    """Return the names of builtins that no class of a module takes."""
    return vars(builtins).keys() - {one.name for one in tree.body if isinstance(one, ast.ClassDef)}


def _imported(statement: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the names that an import binds, each with what it is of which installed module."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            top = alias.name.partition(".")[0]
            yield alias.asname or top, alias.name if alias.asname else top
    elif isinstance(statement, ast.ImportFrom) and not statement.level:
        for alias in statement.names:
            yield alias.asname or alias.name, f"{statement.module}.{alias.name}"


def _root(decorator: ast.expr) -> str:
    """Return the name that a decorator begins with, empty where it is no name."""
    node = decorator
    while isinstance(node, (ast.Call, ast.Attribute)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _yields(function: Function) -> bool:
    """Return whether a function is a generator."""
    inside = list(function.body)
    while inside:
        node = inside.pop()
        if isinstance(node, (ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(node, (*get_args(Function), ast.Lambda, ast.ClassDef)):
            inside += ast.iter_child_nodes(node)  # type: ignore[arg-type]
    return False


def _annotations(function: Function) -> Iterator[ast.expr]:
    given = function.args
    notes = [one.annotation for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    yield from (note for note in (*notes, function.returns) if note is not None)


def _names(note: ast.expr) -> Iterator[str]:
    """Yield the names that an annotation begins with, those in quotes too; `?` for what is no type to read."""
    for node in ast.walk(note):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                yield from _names(ast.parse(node.value, mode="eval").body)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                yield "?"
