"""How long builds of images take, what they add, and what sending a large `data/` costs."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker

from benchmarks.command_line import TRUSS, run
from benchmarks.figures import Figure, figure
from truss.hashes import SETTLED_NS

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = 5
DATA_GB = 5
SMALL = ("idna", "six", "toml", "colorama", "iniconfig", "zipp")
"""Requirements of one small wheel each: one for each run, and one that warms uv's cache up."""


class Package:
    """A package whose image is built again and again.

    Attributes:
        folder: Where it is.
        model: Its name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = folder.name
        run("init", str(folder), "--template", "basic")

    def edit(self, mark: int) -> None:
        """Edit the code by one line."""
        with (self.folder / "model/model.py").open("a", encoding="utf-8") as file:
            file.write(f"\n# edit {mark}\n")

    def require(self, *requirements: str) -> None:
        """Have these requirements."""
        config = f"model_name: {self.model}\nrequirements: {json.dumps(requirements)}\n"
        (self.folder / "config.yaml").write_text(config, encoding="utf-8")

    def build(self) -> tuple[list[dict[str, Any]], float]:
        """Build the image; return the events, and the seconds of the whole command."""
        before = os.times().elapsed
        lines = run("image", "build", "--output", "json", cwd=self.folder).splitlines()
        return [json.loads(line) for line in lines], os.times().elapsed - before

    def cost(self) -> tuple[float, float]:
        """Build the image; return the most memory that the command had and what it wrote to disk, in MB."""
        with subprocess.Popen(
            [TRUSS, "image", "build"],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"truss image build failed with {process.returncode}")
        return usage.ru_maxrss / 1024, usage.ru_oublock * 512 / 1e6


def measure() -> Iterator[Figure]:
    """Yield the figures of images."""
    with tempfile.TemporaryDirectory() as folder:
        first, second, large = (
            Package(Path(folder) / f"benchmark-{name}") for name in ("one", "two", "data")
        )
        try:
            first.build()  # the server is there after it
            yield from _builds(first)
            yield from _sharing(second)
            yield from _data(large)
        finally:
            for package in (first, second, large):
                _remove(package.model)


def _builds(package: Package) -> Iterator[Figure]:
    """Yield the times of builds again."""
    edits, unchanged = [], []
    for number in range(RUNS):
        package.edit(number)
        edits.append(package.build()[1])
        events, seconds = package.build()
        if any(event["event"] == "image" for event in events):
            raise SystemExit("a package that had not changed was built")
        unchanged.append(seconds)
    yield figure("image build after a code edit", edits, limit=1.5, unit="s")
    yield figure("image build, nothing changed", unchanged, limit=1.5, unit="s", note="no image is built")
    package.require("numpy")
    package.build()
    for one in SMALL:  # so that uv has seen them
        package.require(one)
        package.build()
    added = []
    for one in SMALL[:RUNS]:
        package.require("numpy", one)
        added.append(package.build()[1])
    note = "numpy was there; uv's cache had both, and copies and compiles them anew"
    yield figure("image build after one more small requirement", added, limit=6.0, unit="s", note=note)


def _sharing(package: Package) -> Iterator[Figure]:
    """Yield what a server adds to its base, and how many images another model needs that is like the first."""
    events, _ = package.build()
    images = [event for event in events if event["event"] == "image"]
    server = next(event["size"] for event in images if event["image"] == "server")
    yield figure("server on its base image", [server / 1e6], limit=60, unit="MB")
    built = [event["image"] for event in images if not event["cached"]]
    yield figure(
        "images built for another model", [len(built)], limit=1, unit="images", note=" and ".join(built)
    )


def _data(package: Package) -> Iterator[Figure]:
    """Yield what sending data takes of memory, and whether a copy of it is made first."""
    small, _ = package.cost()
    weights = package.folder / "data/weights.bin"
    with weights.open("wb") as file:
        file.truncate(DATA_GB * 10**9)
    most, written = package.cost()
    _wait_settled(weights)
    package.build()  # reads the data once more, and remembers what it holds
    unchanged = [package.build()[1] for _ in range(RUNS)]
    edits = []
    for number in range(RUNS):
        package.edit(number)
        edits.append(package.build()[1])
    weights.unlink()
    name, note = f"build that sends {DATA_GB} GB of data", f"{small:.0f} MB without data"
    yield figure(f"memory of a {name}", [most], limit=round(small) + 20, unit="MB", note=note)
    beside = f"with {DATA_GB} GB of data"
    yield figure(f"image build, nothing changed, {beside}", unchanged, limit=1.5, unit="s")
    yield figure(f"image build after a code edit, {beside}", edits, limit=1.5, unit="s")
    yield figure(
        f"written to disk by a {name}", [written], limit=1, unit="MB", note="by the command, not the engine"
    )


def _wait_settled(path: Path) -> None:
    """Wait until a file is so old that what it holds is remembered."""
    time.sleep(max(0.0, (path.stat().st_ctime_ns + SETTLED_NS - time.time_ns()) / 1e9 + 1))


def _remove(model: str) -> None:
    """Remove the images of a model, and the environments and data they were made from."""
    client = docker.from_env()
    for image in client.images.list(filters={"label": f"truss.model={model}"}):
        parent = image.labels["truss.parent"]
        client.images.remove(str(image.id), force=True)
        if parent.startswith(("truss-environment:", "truss-data:")):
            try:
                client.images.remove(parent)
            except docker.errors.APIError:
                continue
