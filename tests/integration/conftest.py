"""What tests of the target `docker` share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from truss.targets.docker import DockerTarget

if TYPE_CHECKING:
    from tests.engine import EngineCleaner


@pytest.fixture
def target(engine: EngineCleaner) -> DockerTarget:
    """Give the target on the engine of the tests."""
    return DockerTarget(engine.client, os.environ)
