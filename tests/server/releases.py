"""Releases on disk for tests of the server, and gates at which a model and its test wait for each other."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING, Any

from tests.helpers import build_tree, wait_until
from truss.config import TrussConfig
from truss_server.protocol import MANIFEST, Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GATES = '''
"""Lets a model and its test wait for each other: a gate is a file that somebody makes."""

import asyncio
import os
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "gates"


def mark(name, text=""):
    path = FOLDER / name
    path.with_suffix(".new").write_text(str(text))
    os.replace(path.with_suffix(".new"), path)


def is_open(name):
    return (FOLDER / name).exists()


def wait(name, seconds=30):
    end = time.monotonic() + seconds
    while not is_open(name):
        if time.monotonic() > end:
            raise TimeoutError(f"nobody opened the gate {name}")
        time.sleep(0.002)


async def wait_async(name, seconds=30):
    end = time.monotonic() + seconds
    while not is_open(name):
        if time.monotonic() > end:
            raise TimeoutError(f"nobody opened the gate {name}")
        await asyncio.sleep(0.002)
'''


class Gates:
    """The test's side of the module `gates` that every release of `write_release` has in `packages/`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, name: str) -> None:
        """Let the model pass a gate."""
        (self._folder / name).touch()

    def wait(self, name: str, deadline: float = 20.0) -> str:
        """Wait for the model's mark and return its text."""
        path = self._folder / name
        wait_until(path.exists, deadline, what=f"the model's mark {name}")
        return path.read_text()

    def read(self, name: str) -> str:
        """Return the text of the model's mark; empty where there is none yet."""
        path = self._folder / name
        return path.read_text() if path.exists() else ""

    def has(self, name: str) -> bool:
        """Tell whether the model made a mark."""
        return (self._folder / name).exists()


def write_release(
    root: Path,
    model: str,
    *,
    runtime: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    files: Mapping[str, str | bytes] | None = None,
) -> Path:
    """Write a release as the tool does and return its folder.

    Args:
        root: Made.
        model: Source of `model/model.py`, as bytes it is written; indentation is removed.
        runtime: The section of that name in config.yaml.
        config: Other keys of config.yaml.
        files: More files by relative path.
    """
    written = {"model_name": "tested", "runtime": dict(runtime or {}), **(config or {})}
    manifest = Manifest("tested", "0" * 64, "0.0.0", TrussConfig.model_validate(written).filled())
    return build_tree(
        root.resolve(),
        {
            MANIFEST: manifest.to_json(),
            "model/__init__.py": "",
            "model/model.py": dedent(model),
            "packages/gates.py": GATES,
            "gates/": "",
            **(files or {}),
        },
    )
