"""The server's sources as they go into releases."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import truss_server
from truss.server_source import server_digest, server_files


def test_server_files() -> None:
    """Every source file of the installed server is there, byte for byte, and no bytecode."""
    root = Path(truss_server.__file__).parent
    expected = {
        PurePosixPath(path.relative_to(root).as_posix()): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    files = server_files()

    assert files == expected
    assert PurePosixPath("edge/__main__.py") in files
    assert list(files) == sorted(files)


def test_server_digest() -> None:
    """The digest is the same each time it is asked for."""
    assert server_digest() == server_digest()
    assert len(server_digest()) == 64
