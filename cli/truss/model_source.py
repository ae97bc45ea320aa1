"""The model's source, read without importing it: is the class there, and what does the code import?"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import sys
import warnings
from functools import partial
from typing import TYPE_CHECKING

from truss.config_values import CONFIG
from truss.errors import PackageError
from truss.excerpt import Mark, describe
from truss.ignore import IGNORE_FILE
from truss.model_class import check_class, plain_functions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path, PurePosixPath

    from truss.config import TrussConfig
    from truss.memory import Memory
    from truss.model_class import Function
    from truss.release import PackageFile

ANY = "*"
"""Stands for the names that a star import brings."""

MAX_SOURCE = 1 << 22
"""Bytes; a longer file is generated data rather than code that says what it needs."""


def check_model(package: Path, config: TrussConfig, files: Iterable[PackageFile]) -> None:
    """Refuse a package whose model cannot be there. A server of the author's own needs no class.

    Raises:
        PackageError: The model's file is missing, is no Python, or binds no class of the configured name,
            or that class cannot be served.
    """
    if config.docker_server is not None:
        return
    path = config.model_file
    source = next((file.source for file in files if file.path == path), None)
    if source is None:
        raise _missing(package, path)
    text = _decode(source, path)
    try:
        tree = _parse(text)
    except SyntaxError as exc:
        if config.asked_python is not None and is_newer_than_this(config.asked_python):
            return  # its syntax may be younger than this interpreter: the model's own decides
        raise _no_python(path, text, exc) from exc
    except (RecursionError, MemoryError, ValueError) as exc:
        raise PackageError(f"{path} is no valid Python: {exc}.") from exc
    bound = {name for statement in _statements(tree.body) for name in _names(statement)}
    if not bound & {config.model_class_name, ANY}:
        raise _no_class(path, text, tree, config)
    node = _only_class(tree, config.model_class_name)
    if node is not None:
        check_class(path, text, node)


def model_methods(config: TrussConfig, files: Iterable[PackageFile]) -> dict[str, Function]:
    """Return the methods that the class of a model that was checked is seen to have, by name."""
    if config.docker_server is not None:
        return {}
    _, node = read_class(config, files)
    return plain_functions(node) if node else {}


def read_class(
    config: TrussConfig, files: Iterable[PackageFile]
) -> tuple[ast.Module | None, ast.ClassDef | None]:
    """Return the file of a model that was checked, None where it is of a later Python, and the class as far as seen."""
    path = config.model_file
    source = next((file.source for file in files if file.path == path), None)
    if source is None:
        return None, None
    try:
        tree = _parse(_decode(source, path))
    except SyntaxError:
        return None, None
    return tree, _only_class(tree, config.model_class_name)


def _only_class(tree: ast.Module, name: str) -> ast.ClassDef | None:
    """Return the class of a name if it is what the module binds to the name, and nothing is added to it later."""
    found = [one for one in _statements(tree.body) if {name, ANY} & set(_names(one))]
    changed = any(
        isinstance(one, ast.Attribute)
        and isinstance(one.ctx, ast.Store)
        and isinstance(one.value, ast.Name)
        and one.value.id == name
        for one in ast.walk(tree)
    )
    if len(found) != 1 or changed:
        return None
    return found[0] if isinstance(found[0], ast.ClassDef) else None


def imported_modules(files: Iterable[PackageFile], memory: Memory) -> frozenset[str]:
    """Return the top-level modules that Python files import; broken ones import nothing."""
    found: set[str] = set()
    for file in files:
        if file.size <= MAX_SOURCE:
            found |= memory.imports(file.sha256, partial(_imported_by, file.source))
    return frozenset(found)


def _imported_by(source: Path) -> frozenset[str]:
    try:
        tree = _parse(importlib.util.decode_source(source.read_bytes()))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return frozenset(found)


def _parse(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes and the like: said by the model's own interpreter
        return ast.parse(text)


def _decode(source: Path, path: PurePosixPath) -> str:
    try:
        return importlib.util.decode_source(source.read_bytes())
    except (SyntaxError, UnicodeDecodeError) as exc:
        raise PackageError(f"{path} is no text: {exc}.", hint="Save the file as UTF-8.") from exc


def is_newer_than_this(python_version: str) -> bool:
    """Return whether a version such as `py314` may have syntax that this interpreter does not know."""
    return int(python_version.removeprefix("py3")) > sys.version_info.minor


def _missing(package: Path, path: PurePosixPath) -> PackageError:
    if (package / path).is_file():
        return PackageError(
            f"{path} is ignored, but holds the model.",
            hint=f"Take the pattern that names it out of {IGNORE_FILE}, or add `!/{path}`.",
        )
    others = sorted(other.name for other in (package / path.parent).glob("*.py") if other.stem != "__init__")
    close = difflib.get_close_matches(path.name, others, n=1) or others
    if len(close) == 1:
        hint = (
            f"Did you mean {close[0]}? Rename it, or write `model_class_filename: {close[0]}` into {CONFIG}."
        )
    else:
        hint = f"Write the model's class into {path}."
    return PackageError(f"There is no {path} in the package.", hint=hint)


def _no_python(path: PurePosixPath, text: str, exc: SyntaxError) -> PackageError:
    mark = Mark(max(1, exc.lineno or 1), max(1, exc.offset or 1))
    return PackageError(f"{path} is no valid Python.", details=describe(path, text, mark, exc.msg))


def _no_class(path: PurePosixPath, text: str, tree: ast.Module, config: TrussConfig) -> PackageError:
    wanted = config.model_class_name
    message = f"{path} has no class `{wanted}`."
    classes = {node.name: node for node in _statements(tree.body) if isinstance(node, ast.ClassDef)}
    lowered = {name.lower(): name for name in classes}
    close = [lowered[name] for name in difflib.get_close_matches(wanted.lower(), lowered, n=1)] or list(
        classes
    )
    if len(close) != 1:
        return PackageError(message, hint=f"Write `class {wanted}:` with `load` and `predict` into it.")
    node = classes[close[0]]
    mark = Mark(node.lineno, node.col_offset + len("class ") + 1)
    return PackageError(
        message,
        details=describe(path, text, mark, f"did you mean `{node.name}`?"),
        hint=f"Rename it to `{wanted}`, or write `model_class_name: {node.name}` into {CONFIG}.",
    )


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run when the module is imported, those under `if` and `try` too."""
    for statement in body:
        yield statement
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        blocks = [statement, *getattr(statement, "handlers", []), *getattr(statement, "cases", [])]
        for block in blocks:
            for field in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(block, field, []))


def _names(statement: ast.stmt) -> Iterator[str]:
    """Yield the names a statement binds to what may be a class."""
    if isinstance(statement, ast.ClassDef):
        yield statement.name
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name for alias in statement.names)
    elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
