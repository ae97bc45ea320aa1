"""The OpenAPI document of a release that is not served: what the label of an image says."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.server.releases import write_release

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.harness import Servers

MODEL = """
import os
import threading

import pydantic

print("imported")
os.write(1, b"and loudly")
threading.Thread(target=threading.Event().wait).start()


class Point(pydantic.BaseModel):
    x: int


class Model:
    def __init__(self, secrets):
        self._secret = secrets["not-there"]

    def predict(self, point: Point) -> list:
        yield self._secret

    async def embeddings(self, inputs) -> Point:
        return Point(x=1)
"""


def write_document(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the module as an image's build does."""
    command = [sys.executable, "-I", "-m", "truss_server.edge.document"]
    return subprocess.run(
        [*command, "--release", str(root), "--python", sys.executable],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_is_what_the_server_shows(servers: Servers, tmp_path: Path) -> None:
    """Byte for byte the same each time, and equal to `/openapi.json`, though the model could not even be made."""
    root = write_release(tmp_path / "release", MODEL)
    loadable = MODEL.replace('secrets["not-there"]', "1")

    first, second = write_document(root), write_document(root)

    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert "imported\n" in first.stderr
    assert json.loads(first.stdout) == servers.start(loadable).http.get("/openapi.json").json()
    assert json.loads(first.stdout)["paths"]["/predict"]["post"]["requestBody"]["content"][
        "application/json"
    ]["schema"]["required"] == ["x"]


def test_a_model_that_cannot_be_imported(tmp_path: Path) -> None:
    """The exit code says so, and the last line of the traceback what is missing; there is no document."""
    done = write_document(write_release(tmp_path / "release", "import nowhere_at_all\nclass Model: ...\n"))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'nowhere_at_all'"
