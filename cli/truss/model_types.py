"""Whether a model's methods may have types of their own, seen without importing it: its OpenAPI document shows them."""

from __future__ import annotations

import ast
import builtins
from typing import TYPE_CHECKING

from truss.model_class import is_all_there, may_bind
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


def may_be_typed(config: TrussConfig, files: Iterable[PackageFile]) -> bool:
    """Return whether a method is annotated with a type that may have a schema, or might be without being seen."""
    if config.docker_server is not None:
        return False
    tree, node = read_class(config, files)
    if tree is None or node is None or not is_all_there(node) or may_bind(node, TYPED):
        return True
    plain = {name for statement in ast.walk(tree) for name in _plain_names(statement)}
    plain |= vars(builtins).keys() - {
        statement.name for statement in tree.body if isinstance(statement, ast.ClassDef)
    }
    functions = [one for one in node.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]
    annotations = [note for one in functions if one.name in TYPED for note in _annotations(one)]
    return any(name not in plain for note in annotations for name in _names(note))


def _plain_names(statement: ast.AST) -> Iterator[str]:
    """Yield the names that an import binds to what has no schema."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            if alias.name.partition(".")[0] in PLAIN:
                yield alias.asname or alias.name.partition(".")[0]
    elif isinstance(statement, ast.ImportFrom) and (statement.module or "").partition(".")[0] in PLAIN:
        yield from (alias.asname or alias.name for alias in statement.names if not statement.level)


def _annotations(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.expr]:
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
