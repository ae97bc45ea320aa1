"""Which files of a package no release needs: what `.trussignore` names, and what tools leave lying about."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

from pathspec import GitIgnoreSpec

from truss.errors import PackageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from truss.memory import Memory

IGNORE_FILE = ".trussignore"

ALWAYS_IGNORED = (
    ".git/",
    ".hg/",
    ".svn/",
    ".venv/",
    "__pycache__/",
    "*.py[co]",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    ".hypothesis/",
    ".ipynb_checkpoints/",
    ".idea/",
    ".vscode/",
    ".DS_Store",
    "Thumbs.db",
    # What editors put beside a file while it is open or being saved.
    ".*.sw[a-p]",
    "*~",
    ".#*",
    r"\#*#",
    "4913",
    "*___jb_tmp___",
    "*___jb_old___",
    ".goutputstream-*",
)
"""Written by tools, never by authors. A `.trussignore` can take one back: `!.idea/`."""

_LITTER = re.compile("|".join(fnmatch.translate(one.strip("\\/")) for one in ALWAYS_IGNORED))
"""Matches each name that one of these may match: asking all of them about each file takes long."""


def ignore_rules(root: Path, memory: Memory) -> Callable[[str], bool]:
    """Return what says of a path in a package, a folder's with a `/` at its end, whether it is ignored.

    Raises:
        PackageError: `.trussignore` cannot be read.
    """
    try:
        lines = (root / IGNORE_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    except (OSError, UnicodeDecodeError) as exc:
        raise PackageError(f"{IGNORE_FILE} cannot be read: {exc}.") from exc
    for number, line in enumerate(lines, start=1):
        _check_pattern(number, line)
    patterns = (*ALWAYS_IGNORED, *lines)
    every, own = GitIgnoreSpec.from_lines(patterns), GitIgnoreSpec.from_lines(lines)
    known = memory.ignored(patterns)

    def is_ignored(path: str) -> bool:
        if path not in known:
            may_be_litter = any(_LITTER.match(name) for name in path.split("/"))
            known[path] = (every if may_be_litter else own).match_file(path)
        return known[path]

    return is_ignored


def _check_pattern(number: int, line: str) -> None:
    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError as exc:
        raise PackageError(
            f"{IGNORE_FILE}:{number}: `{line}` is no pattern.", hint="Patterns are those of .gitignore."
        ) from exc
