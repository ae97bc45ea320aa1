"""A package that is watched by the installed command, and what its deployment answers."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from contextlib import closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.harness import TRUSS, spawn_truss
from tests.helpers import build_tree, wait_until

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 60.0

MODEL = """\
import time

from helper import shout

WORDS = ["falcons"]
LOADS = []


class Model:
    def load(self):
        print("loading", flush=True)
        LOADS.append(1)
        self.words = WORDS

    def predict(self, inputs):
        if inputs == "slow":
            return self.slow()
        return [shout("one"), self.words, len(LOADS)]

    def slow(self):
        for number in range(20):
            yield f"one {number}\\n"
            time.sleep(0.05)
"""

HELPER = "def shout(text):\n    return text + '!'\n"


class Watcher:
    """A process that watches."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.events: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [TRUSS, *args, "--output", "json"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._read_events),
            threading.Thread(target=self._read_errors),
        ]
        for thread in self._threads:
            thread.start()

    def _read_events(self) -> None:
        assert self.process.stdout
        with self.process.stdout as lines:
            self.events.extend(map(json.loads, lines))

    def _read_errors(self) -> None:
        assert self.process.stderr
        with self.process.stderr as lines:
            self.errors.extend(lines)

    def wait(self, event: str, count: int = 1) -> dict[str, Any]:
        """Return an event of a kind."""

        def found() -> list[dict[str, Any]]:
            assert self.process.poll() is None or self.events, self.errors
            return [one for one in self.events if one.get("event") == event][count - 1 :]

        return wait_until(found, SECONDS, what=f"{event}")[0]

    def end(self, number: int = signal.SIGINT) -> int:
        """End it and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        for thread in self._threads:
            thread.join(SECONDS)
        return code


class Project:
    """A package that is watched."""

    def __init__(self, folder: Path, model: str = "falcon") -> None:
        files = {
            "config.yaml": f"model_name: {model}\n",
            "model/model.py": MODEL,
            "packages/helper.py": HELPER,
        }
        self.folder = build_tree(folder, {**files, "data/a.txt": "a"})
        self._model = model
        self.watchers: list[Watcher] = []

    def watch(self, *args: str) -> Watcher:
        """Begin to watch."""
        self.watchers.append(Watcher(self.folder, *args))
        return self.watchers[-1]

    def write(self, path: str, text: str) -> None:
        """Save a file."""
        draft = self.folder / f"{path}~"
        draft.write_text(text)
        draft.replace(self.folder / path)

    @property
    def address(self) -> str:
        """Host and port of the deployment."""
        listed = json.loads(spawn_truss("list", "--output", "json").stdout)
        return next(str(urlsplit(one["url"]).netloc) for one in listed if one["model"] == self._model)


def call(address: str, inputs: object = None) -> tuple[Any, str]:
    """Return the answer of a model and its generation."""
    with closing(HTTPConnection(address, timeout=SECONDS)) as connection:
        connection.request("POST", "/predict", json.dumps(inputs), {"content-type": "application/json"})
        response = connection.getresponse()
        body = response.read()
        answer = body.decode() if inputs == "slow" else json.loads(body)
        return answer, response.headers["x-truss-generation"]
