"""Servers for the tests of the server, and an interpreter that has nothing installed."""

from __future__ import annotations

import os
import venv
from typing import TYPE_CHECKING

import pytest

from tests.server.harness import Servers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Start servers that live as long as the test."""
    started = Servers(tmp_path_factory.mktemp("servers"))
    yield started
    started.end()


@pytest.fixture(scope="module")
def module_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Start servers that live as long as the module's tests."""
    started = Servers(tmp_path_factory.mktemp("servers"))
    yield started
    started.end()


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an interpreter in whose environment nothing is installed."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    return str(folder / "bin" / "python")
