"""The README's quick start, typed as it is written into a shell on a real terminal."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

if TYPE_CHECKING:
    from tests.engine import EngineCleaner

README = Path(__file__).resolve().parents[2] / "README.md"
MARKER = "<!-- quick start"
PROMPT = "truss-test> "
PUSH_SECONDS = 300  # the image of the server is built by the first push on a machine
UNREACHABLE = "unix:///nonexistent/docker.sock"


def quick_start() -> list[str]:
    """Return the commands of the quick start."""
    text = README.read_text(encoding="utf-8")
    block = re.search(r"```sh\n(.*?)```", text[text.index(MARKER) :], re.DOTALL)
    assert block is not None
    return block[1].splitlines()


def open_shell(folder: Path, **environ: str) -> pexpect.spawn[str]:
    """Start an interactive shell whose `truss` is the one under test."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    shell = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile"],
        cwd=str(folder),
        env={**os.environ, "PATH": path, "PS1": PROMPT, **environ},
        encoding="utf-8",
        timeout=PUSH_SECONDS,
        dimensions=(40, 120),
        echo=False,
    )
    shell.expect_exact(PROMPT)
    return shell


def run_quick_start(shell: pexpect.spawn[str]) -> list[tuple[float, str]]:
    """Type the quick start; return what its last command printed, each read with its time."""
    *first, last = quick_start()
    for command in first:
        shell.sendline(command)
        shell.expect_exact(PROMPT)
        assert "error" not in str(shell.before), shell.before
    shell.sendline(last)
    reads: list[tuple[float, str]] = []
    while PROMPT not in "".join(text for _, text in reads):
        reads.append((time.monotonic(), shell.read_nonblocking(4096, timeout=30)))
    shell.sendline("echo code=$?")
    assert shell.expect([r"code=0\s", r"code=\d+"]) == 0
    return reads


def assert_streamed(reads: list[tuple[float, str]]) -> None:
    """Assert that text came in pieces spread over time."""
    pieces = [(at, text) for at, text in reads if text.replace(PROMPT, "").strip()]
    assert len(pieces) >= 5
    assert pieces[-1][0] - pieces[0][0] > 0.2


def test_quick_start_without_an_engine(tmp_path: Path) -> None:
    """Without a Docker engine the quick start runs on the local target, and chunks come one by one."""
    shell = open_shell(tmp_path, DOCKER_HOST=UNREACHABLE)
    try:
        reads = run_quick_start(shell)
        shell.sendline("truss list")
        shell.expect_exact("falcon-7b")
        shell.expect_exact("local")
    finally:
        shell.sendline("truss stop; exit")
        shell.expect(pexpect.EOF)

    assert_streamed(reads)


@pytest.mark.docker
@pytest.mark.timeout(PUSH_SECONDS + 60)
def test_quick_start_with_an_engine(engine: EngineCleaner, tmp_path: Path) -> None:
    """With a Docker engine the same commands make an image and a container."""
    shell = open_shell(tmp_path)
    try:
        reads = run_quick_start(shell)
        shell.sendline("truss list")
        shell.expect_exact("falcon-7b")
        shell.expect_exact("docker")
    finally:
        shell.sendline("truss stop; exit")
        shell.expect(pexpect.EOF)
        engine.remove_model("falcon-7b")

    assert_streamed(reads)
