"""How many requests a second a server answers: by wrk where it is installed, else by our own client."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.http_client import load, post

PATH = "/predict"
SCRIPT = Path(__file__).with_name("post.lua")


class Rate(NamedTuple):
    """What a run gave.

    Attributes:
        per_second: Answers.
        p99: Milliseconds within which 99 of 100 of them came.
        answers: How many there were.
    """

    per_second: float
    p99: float
    answers: int


def measure_rate(port: int, body: bytes, connections: int, seconds: int) -> Rate:
    """Ask as fast as a number of connections can, for some seconds."""
    if shutil.which("wrk"):
        return _by_wrk(port, body, connections, seconds)
    return _by_ourselves(port, body, connections, seconds)


def load_tool() -> str:
    """Return what makes the load."""
    return "wrk" if shutil.which("wrk") else "our own client"


def advise() -> None:
    """Say how to get wrk where it is missing."""
    if not shutil.which("wrk"):
        sys.stderr.write(
            "wrk is not installed; our own client takes its place, which needs more CPU for itself and so makes fast "
            "servers look alike. To get it: `apt-get install wrk` or `brew install wrk`.\n"
        )


def _by_wrk(port: int, body: bytes, connections: int, seconds: int) -> Rate:
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT)]
        output = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{PATH}"],
            env={**os.environ, "BENCH_BODY": file.name},
            capture_output=True,
            text=True,
            timeout=seconds + 30,
            check=True,
        ).stdout
    result = json.loads(output.rpartition("RESULT ")[2])
    if result["errors"]:
        raise SystemExit(f"{result['errors']} of {result['requests']} requests failed")
    return Rate(result["requests"] / result["seconds"], result["p99"], result["requests"])


def _by_ourselves(port: int, body: bytes, connections: int, seconds: float) -> Rate:
    request = post(PATH, body)
    spent, total, count = 0.0, 0, 5
    times: list[float] = []
    while spent < seconds:
        # In rounds of a quarter of a second, so that the answers that are kept stay few.
        answers, round_seconds = load(port, request, connections, count=count)
        if not all(answer.ok for answer in answers):
            raise SystemExit("requests failed")
        spent, total = spent + round_seconds, total + len(answers)
        times += [answer.seconds * 1000 for answer in answers]
        count = max(5, round(total / spent / connections / 4))
    return Rate(total / spent, sorted(times)[int(len(times) * 0.99)], total)
