"""`tests/conftest.py`: without a Docker engine, tests that need one say so once, and fail where they must run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run_docker_tests(**environ: str) -> tuple[int, list[str]]:
    """Run the tests of the Docker target where no engine answers; return pytest's exit code and summary."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/integration/test_docker_build.py",
        ],
        cwd=ROOT,
        env={**os.environ, "DOCKER_HOST": "unix:///nowhere/docker.sock", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, [line for line in done.stdout.splitlines() if "nowhere" in line or " in " in line]


def test_without_an_engine_there_is_one_line() -> None:
    """However many tests are skipped, the summary holds one line about it."""
    code, (line, totals) = run_docker_tests()

    assert code == 0
    assert line.endswith(": No Docker engine answers at unix:///nowhere/docker.sock.")
    assert "skipped" in totals
    assert "failed" not in totals


def test_where_docker_is_required_its_tests_fail() -> None:
    """What CI sets makes a Docker test that cannot run an error."""
    code, lines = run_docker_tests(TRUSS_REQUIRE_DOCKER="1")

    assert code == 1
    assert "TRUSS_REQUIRE_DOCKER is set: No Docker engine answers at unix:///nowhere/docker.sock." in lines[0]
    assert "skipped" not in lines[-1]
