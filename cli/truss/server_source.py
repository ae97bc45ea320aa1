"""The installed server's sources, as they are copied into every release."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable


def server_files() -> dict[PurePosixPath, bytes]:
    """Return the files of the server by their path below `truss_server`, without what Python made of them."""
    return dict(sorted(_walk(files("truss_server"), PurePosixPath())))


def server_digest() -> str:
    """Return a hash (hex) that changes when any file of the server does."""
    digest = hashlib.sha256()
    for path, content in server_files().items():
        digest.update(f"{path}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def _walk(folder: Traversable, above: PurePosixPath) -> Iterator[tuple[PurePosixPath, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _walk(entry, above / entry.name)
        elif entry.is_file():
            yield above / entry.name, entry.read_bytes()
