"""The world a test runs in: no setting of the user's reaches it, and it leaves none behind."""

from __future__ import annotations

import functools
import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.engine import EngineCleaner
from truss.errors import EngineError
from truss.targets.docker_engine import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRUBBED_PREFIXES = ("TRUSS_", "CLICOLOR")
SCRUBBED = ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "PYTHONPATH", "XDG_STATE_HOME")
FIXED = {"COLUMNS": "80", "LINES": "40", "TERM": "xterm-256color"}
REQUIRE_DOCKER = "TRUSS_REQUIRE_DOCKER"
"""Environment variable: with `1`, a Docker test that cannot run fails instead of being skipped."""


# How long an example takes is the machine's business; what must be fast is measured in benchmarks/.
settings.register_profile("truss", deadline=None)
settings.load_profile("truss")

# A shell without job control starts background jobs with Ctrl-C ignored, and what tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def hermetic_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run the test without the user's settings, and fail it when it leaves changes in `os.environ`."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name in SCRUBBED or name.startswith(SCRUBBED_PREFIXES):
                patch.delenv(name)
        for name, value in FIXED.items():
            patch.setenv(name, value)
        patch.setenv("TRUSS_HOME", str(tmp_path_factory.mktemp("truss-home")))
        before = _environment()

        yield

        assert before == _environment(), "the test changed os.environ"


def _environment() -> dict[str, str]:
    """Return the environment without what pytest writes into it."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@functools.cache
def _why_no_engine() -> str:
    """Return why no Docker engine can be used, empty where one answers."""
    try:
        connect(os.environ).close()
    except EngineError as exc:
        return exc.message
    return ""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together, where tests run in parallel, what shares servers (a file) or images (all Docker tests)."""
    for item in items:
        group = "docker" if item.get_closest_marker("docker") is not None else item.location[0]
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a Docker test where no engine answers; skipping from this one line, pytest folds them into one."""
    if item.get_closest_marker("docker") is None or not (reason := _why_no_engine()):
        return
    if os.environ.get(REQUIRE_DOCKER) == "1":
        pytest.fail(f"{REQUIRE_DOCKER} is set: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def engine() -> Iterator[EngineCleaner]:
    """Give the engine; what tests made on it and did not remove is removed with the session."""
    cleaner = EngineCleaner()
    yield cleaner
    cleaner.finish()


@pytest.fixture
def docker_model(engine: EngineCleaner) -> Iterator[str]:
    """Give the name of a model nobody has; its containers and images are removed after the test."""
    name = engine.unused_model_name()
    yield name
    engine.remove_model(name)
