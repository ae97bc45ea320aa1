"""How long a save takes until new code answers, and what watching costs while nothing is saved."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.command_line import TRUSS, run
from benchmarks.figures import Figure, figure
from benchmarks.machine import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

EDITS = 100
LOADS = 20
LOAD_SECONDS = 1.0
IDLE_SECONDS = 20.0
WAIT_SECONDS = 60.0

PAUSE_SECONDS = 0.25
"""Between an answer and the next save, where something is done that nobody waits for: authors are no faster."""

POLL_SECONDS = 0.002
"""Between an answer and the next question; the model's processes need the same cores."""

MODULES, DATA = 500, 4_500
"""Files of a large package."""

LIMITS = {"local": 150.0, "docker": 300.0}
"""Milliseconds from a save to the first answer by new code, 95 of 100 times."""

MODEL = """\
import time

LOADED = "loaded NUMBER"


class Model:
    def load(self):
        print("the model is loading", flush=True)
        time.sleep(SECONDS)
        self.words = LOADED

    def predict(self, inputs):
        return ["predict NUMBER", self.words]
"""


def measure() -> Iterator[Figure]:
    """Yield the figures of watching, on both targets."""
    for target in LIMITS:
        yield from measure_target(target)


def measure_target(target: str) -> Iterator[Figure]:
    """Yield the figures of watching on a target: of a small package, then of a large one."""
    with _watching(target, {}) as watched:
        swaps = [watched.edit(f"predict {number}", "predict NUMBER") for number in range(EDITS)]
        yield from _of_swaps(f"save to answer, {target}", swaps, LIMITS[target])
        loads = watched.loads()
        yield figure(f"load() after {EDITS} edits of predict, {target}", [loads], limit=1, unit="x")
        seconds = [
            watched.edit(f"loaded {number}", "loaded NUMBER", PAUSE_SECONDS) for number in range(LOADS)
        ]
        beyond = [one - LOAD_SECONDS * 1000 for one in seconds]
        name = f"save to answer beyond load(), {target}, p95"
        yield figure(name, beyond, limit=200, unit="ms", share=0.95)
    files = {f"packages/many/m{number}.py": f"NUMBER = {number}\n" for number in range(MODULES)}
    files |= {f"data/d{number % 50}/{number}.bin": str(number) for number in range(DATA)}
    with _watching(target, files) as watched:
        name = f"{len(files):,} files"
        swaps = [
            watched.edit(f"predict {number}", "predict NUMBER", PAUSE_SECONDS) for number in range(EDITS)
        ]
        yield from _of_swaps(f"save to answer, {target}, {name}", swaps, LIMITS[target])
        time.sleep(1)
        yield figure(f"idle watcher, {target}, {name}", [watched.idle()], limit=1, unit="%")


def _of_swaps(name: str, milliseconds: list[float], limit: float) -> Iterator[Figure]:
    yield figure(f"{name}, p50", milliseconds, unit="ms")
    yield figure(f"{name}, p95", milliseconds, limit=limit, unit="ms", share=0.95)


class _Watched:
    """A package that is watched, and the deployment that follows it.

    Args:
        package: Its folder.
        process: The watcher.
        url: Of the deployment.
    """

    def __init__(self, package: Path, process: subprocess.Popen[bytes], url: str) -> None:
        self._package = package
        self._process = process
        self._address = urlsplit(url).netloc
        self._model = MODEL

    def edit(self, wanted: str, line: str, pause: float = 0) -> float:
        """Save the model with a line in another version; return the milliseconds until an answer has it."""
        time.sleep(pause)
        text = _filled(self._model.replace(line, wanted))
        with closing(HTTPConnection(self._address, timeout=WAIT_SECONDS)) as connection:
            _ask(connection)
            draft = self._package / "model" / "model.py~"
            draft.write_text(text, encoding="utf-8")
            began = time.perf_counter()
            draft.replace(self._package / "model" / "model.py")
            while wanted not in _ask(connection):
                if time.perf_counter() > began + WAIT_SECONDS:
                    raise SystemExit(f"the edit was not served after {WAIT_SECONDS:g} s")
                time.sleep(POLL_SECONDS)
            return (time.perf_counter() - began) * 1000

    def loads(self) -> int:
        """Return how often the model was loaded."""
        return run("logs", cwd=self._package).count("the model is loading")

    def idle(self) -> float:
        """Return the share of a core, in percent, that the watcher uses while nothing is saved."""
        before, began = cpu_seconds([self._process.pid]), time.perf_counter()
        time.sleep(IDLE_SECONDS)
        return (cpu_seconds([self._process.pid]) - before) / (time.perf_counter() - began) * 100


def _filled(model: str) -> str:
    return model.replace("NUMBER", "first").replace("SECONDS", f"{LOAD_SECONDS:g}")


@contextmanager
def _watching(target: str, files: dict[str, str]) -> Iterator[_Watched]:
    """Push a package and watch it; nothing runs any more afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / f"benchmark-watch-{target}"
        for name, text in {"config.yaml": "", "model/model.py": _filled(MODEL), **files}.items():
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            (package / name).write_text(text, encoding="utf-8")
        said = Path(folder) / "events"
        command = [TRUSS, "push", "--watch", "--target", target, "--output", "json"]
        try:
            with said.open("wb") as events:
                process = subprocess.Popen(
                    command, cwd=package, stdin=subprocess.DEVNULL, stdout=events, stderr=events
                )
            try:
                _await_attached(process, said)
                yield _Watched(package, process, _url(package))
            finally:
                process.terminate()
                process.wait(WAIT_SECONDS)
        finally:
            run("stop", cwd=package)


def _await_attached(process: subprocess.Popen[bytes], said: Path) -> None:
    while '"attached"' not in said.read_text(encoding="utf-8"):
        if process.poll() is not None:
            raise SystemExit(f"the watcher ended with {process.returncode}:\n{said.read_text()}")
        time.sleep(POLL_SECONDS)


def _url(package: Path) -> str:
    listed = json.loads(run("list", "--output", "json"))
    return next(str(one["url"]) for one in listed if one["model"] == package.name)


def _ask(connection: HTTPConnection) -> Any:
    connection.request("POST", "/predict", b"null", {"content-type": "application/json"})
    return json.loads(connection.getresponse().read())
