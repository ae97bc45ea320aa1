"""Planning again reads only what changed, and nothing that changed is taken for what it was."""

from __future__ import annotations

import os
import time
from hashlib import sha256
from pathlib import Path

import pytest

from tests.helpers import build_tree
from truss.memory import Memory
from truss.plan import plan_release

LATER = 60_000_000_000
MODEL = "import json\n\nclass Model:\n    def predict(self, inputs):\n        return 1\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Give a package."""
    files = {"config.yaml": "", "model/model.py": MODEL, "data/a.bin": "aaaa", "data/b.bin": "bbbb"}
    return build_tree(tmp_path / "falcon", files)


@pytest.fixture
def memory() -> Memory:
    """Give a memory for which all files were written long ago."""
    return Memory(clock_ns=lambda: time.time_ns() + LATER)


def test_equal_plans(package: Path, memory: Memory) -> None:
    """A plan from memory is the plan."""
    plan_release(package, memory)

    assert plan_release(package, memory) == plan_release(package)


def bytes_read() -> int:
    """Return how much this process has read of files."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="this system does not count what is read")
def test_known_file_is_not_read(package: Path, memory: Memory) -> None:
    """A file that is what it was is not read again."""
    (package / "data/weights.bin").write_bytes(bytes(5_000_000))
    plan_release(package, memory)

    before = bytes_read()
    plan_release(package, memory)

    assert bytes_read() - before < 1_000_000


@pytest.mark.parametrize("keep_times", [True, False])
def test_changed_file_is_read(package: Path, memory: Memory, keep_times: bool) -> None:
    """A file of the same size is seen to have changed, though its time of change be set back."""
    path = package / "data/a.bin"
    before = path.stat()
    first = plan_release(package, memory)
    path.write_bytes(b"AAAA")
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert plan_release(package, memory).manifest.digest != first.manifest.digest


def test_replaced_file_is_read(package: Path, memory: Memory) -> None:
    """An editor that saves into a new file and renames it is noticed."""
    first = plan_release(package, memory)
    (package / "draft").write_bytes(b"AAAA")
    (package / "draft").replace(package / "data/a.bin")

    assert plan_release(package, memory).manifest.digest != first.manifest.digest


def test_file_that_was_just_written_is_not_trusted(package: Path) -> None:
    """Two writes within a tick of the file system's clock cannot be told apart, so what is new is read again."""
    memory = Memory()
    path = package / "data/a.bin"
    now = time.time_ns()
    memory.file("data/a.bin", str(path), path.stat(), link=False)
    path.write_bytes(b"AAAA")
    os.utime(path, ns=(now, now))

    assert memory.file("data/a.bin", str(path), path.stat(), link=False).sha256 == sha256(b"AAAA").hexdigest()


def test_ignore_rules_are_not_remembered_beyond_their_file(package: Path, memory: Memory) -> None:
    """A pattern that is added to `.trussignore` counts at once."""
    first = plan_release(package, memory)
    (package / ".trussignore").write_text("b.bin\n")

    second = plan_release(package, memory)

    assert len(second.files) == len(first.files) - 1


def test_droppings_of_editors_are_no_part(package: Path) -> None:
    """What editors put beside an open file is in no release, so that opening a file changes nothing."""
    before = plan_release(package)
    names = (".model.py.swp", "model.py~", "#model.py#", "4913", "model.py___jb_tmp___", ".goutputstream-X")
    build_tree(package / "model", dict.fromkeys(names, "x"))
    (package / "model/.#model.py").symlink_to("somebody@host.4711")

    assert plan_release(package) == before
