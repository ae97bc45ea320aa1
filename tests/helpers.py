"""What tests share: files from a dict, and waiting for something to become true."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

T = TypeVar("T")

POLL_SECONDS = 0.02


def build_tree(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below a folder and return the folder.

    Args:
        root: Made when it is missing.
        files: Content by relative path; parents are made. A path that ends in `/` is an empty folder.
    """
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def wait_until(predicate: Callable[[], T], deadline: float = 10.0, *, what: str = "") -> T:
    """Return the first true value of a predicate; fail the test when there is none in time.

    Args:
        predicate: Called again and again; an exception of it is the test's.
        deadline: Seconds.
        what: Is waited for, for the message.
    """
    end = time.monotonic() + deadline
    while not (value := predicate()):
        if time.monotonic() > end:
            pytest.fail(f"waited {deadline:g} s in vain for {what or predicate}")
        time.sleep(POLL_SECONDS)
    return value
