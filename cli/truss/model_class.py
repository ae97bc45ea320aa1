"""The model's class, read without importing it: what the server would refuse is found before anything is built."""

from __future__ import annotations

import ast
import difflib
from typing import TYPE_CHECKING

from truss.errors import PackageError
from truss.excerpt import Mark, describe
from truss_server.protocol import ENDPOINTS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import PurePosixPath

CALLED = ("predict", "websocket", *ENDPOINTS)
"""Methods of which a model has one at least."""

OFFERED = ("config", "data_dir", "secrets", "environment")
"""What `__init__` may ask for."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def check_class(path: PurePosixPath, text: str, node: ast.ClassDef) -> None:
    """Refuse a class that cannot be served. Whatever might be made while the program runs is given the benefit.

    Args:
        path: Of the model's file.
        text: Its source.
        node: The class.

    Raises:
        PackageError: It has no method to call, or `load` or `__init__` ask for what they do not get.
    """
    functions = plain_functions(node)
    if is_all_there(node) and not functions.keys() & set(CALLED) and not _binds_otherwise(node):
        raise _no_method(path, text, node, functions)
    if "load" in functions and (names := _required(functions["load"])):
        raise PackageError(
            f"`load` gets no arguments, but asks for {', '.join(names)}.",
            details=describe(path, text, _mark(functions["load"]), "takes `self` only"),
            hint=f"Let `__init__` keep what it is given ({', '.join(OFFERED)}), and take it from `self`.",
        )
    if "__init__" in functions:
        names = [name for name in _required(functions["__init__"]) if name not in OFFERED]
        if names:
            raise PackageError(
                f"`__init__` asks for {', '.join(names)}, which it does not get.",
                details=describe(path, text, _mark(functions["__init__"]), "asked for here"),
                hint=f"It can have {', '.join(OFFERED)}, by these names or as **kwargs.",
            )


def plain_functions(node: ast.ClassDef) -> dict[str, Function]:
    """Return the functions of a class that nothing decorates, by name."""
    return {
        item.name: item
        for item in node.body
        if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)) and not item.decorator_list
    }


def is_all_there(node: ast.ClassDef) -> bool:
    """Return whether a class has what its body says, and nothing from bases, decorators or metaclasses."""
    bases = {base.id if isinstance(base, ast.Name) else "" for base in node.bases}
    return bases <= {"object"} and not node.keywords and not node.decorator_list


def takes_no_inputs(function: Function) -> bool:
    """Return whether a method has no parameter but `self`."""
    given = function.args
    return len(given.posonlyargs + given.args) == 1 and not (given.vararg or given.kwonlyargs or given.kwarg)


def _binds_otherwise(node: ast.ClassDef) -> bool:
    """Return whether a body has more than plain functions, fields and texts, and may thus bind anything."""
    plain = plain_functions(node)
    for item in node.body:
        if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)) and item.name not in plain:
            return True
    return may_bind(node, CALLED)


def may_bind(node: ast.ClassDef, names: Collection[str]) -> bool:
    """Return whether a body may bind one of some names by something else than a function of that name."""
    for item in node.body:
        if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if item.name in {"__getattr__", "__getattribute__"}:
                return True
        elif isinstance(item, (ast.Assign, ast.AnnAssign)):
            targets = item.targets if isinstance(item, ast.Assign) else [item.target]
            if any(not isinstance(target, ast.Name) or target.id in names for target in targets):
                return True
        elif not isinstance(item, (ast.Expr, ast.Pass, ast.ClassDef)):
            return True
    return False


def _no_method(path: PurePosixPath, text: str, node: ast.ClassDef, functions: Iterable[str]) -> PackageError:
    message = f"`{node.name}` has no method to call: none of {', '.join(CALLED)}."
    for name in functions:
        close = difflib.get_close_matches(name.lower(), CALLED, n=1, cutoff=0.75)
        if close:
            item = plain_functions(node)[name]
            note = f"did you mean `{close[0]}`?"
            return PackageError(
                message, details=describe(path, text, _mark(item), note), hint=f"Rename it to `{close[0]}`."
            )
    mark = Mark(node.lineno, node.col_offset + 1)
    hint = "Write `def predict(self, request):` into it; what it returns or yields is the answer."
    return PackageError(message, details=describe(path, text, mark, "this class"), hint=hint)


def _required(function: Function) -> list[str]:
    """Return the parameters without a default, `self` excepted."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    names = [one.arg for one in positional[: len(positional) - len(given.defaults)]][1:]
    return names + [
        one.arg for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default is None
    ]


def _mark(function: Function) -> Mark:
    return Mark(function.lineno, function.col_offset + 1)
