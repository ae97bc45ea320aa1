"""What large files hold is remembered between commands, and nothing that changed is taken for what it was."""

from __future__ import annotations

import os
import time
from hashlib import sha256
from pathlib import Path

import pytest

from truss.hashes import LARGE_BYTES, MOST_LINES, Hashes

HOUR_NS = 3600 * 10**9


def later() -> int:
    """Return a time at which all files were written long ago."""
    return time.time_ns() + HOUR_NS


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Give a file that is worth remembering."""
    path = tmp_path / "weights.bin"
    path.write_bytes(b"a" * LARGE_BYTES)
    return path


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Give the place of what is remembered."""
    return tmp_path / "hashes"


def bytes_read() -> int:
    """Return how much this process has read of files."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


def right(path: Path) -> tuple[int, str]:
    """Return the size of a file and its hash."""
    content = path.read_bytes()
    return len(content), sha256(content).hexdigest()


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="this system does not count what is read")
def test_another_command_does_not_read_it(large: Path, kept: Path) -> None:
    """What one command has read, the next one knows, also under another name."""
    expected = right(large)
    first = Hashes(kept, later).read(large)
    large = large.rename(large.with_name("renamed.bin"))
    Hashes(kept, later).read(large)  # the system counts a rename as a change

    before = bytes_read()
    second = Hashes(kept, later).read(large)

    assert first == second == expected
    assert bytes_read() - before < LARGE_BYTES / 8


@pytest.mark.parametrize("keep_times", [True, False])
def test_changed_file(large: Path, kept: Path, keep_times: bool) -> None:
    """Other content of the same size is seen, though its time of change be set back."""
    Hashes(kept, later).read(large)
    before = large.stat()
    with large.open("r+b") as file:
        file.write(b"b")
    if keep_times:
        os.utime(large, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert Hashes(kept, later).read(large) == right(large)


def test_file_that_was_just_written(large: Path, kept: Path) -> None:
    """A file whose next write might leave no trace is not remembered."""
    assert Hashes(kept).read(large) == right(large)

    assert not kept.exists()


@pytest.mark.parametrize("content", ["", "[1, 2", "nonsense\n[]\n[1]\n{}\n7\n", "\x00\xff"])
def test_damaged(large: Path, kept: Path, content: str) -> None:
    """Whatever stands in the file of hashes, they are right, and the next ones are kept."""
    kept.write_text(content, encoding="latin-1")

    assert [Hashes(kept, later).read(large) for _ in range(2)] == [right(large)] * 2


def test_nowhere_to_keep_them(large: Path, tmp_path: Path) -> None:
    """Without a place for it, nothing is remembered and nothing fails."""
    blocked = tmp_path / "file"
    blocked.touch()

    for environ in ({"TRUSS_HOME": str(blocked)}, {"TRUSS_HOME": str(tmp_path)}):
        (tmp_path / "hashes").mkdir(exist_ok=True)
        assert Hashes.of_user(environ).read(large) == right(large)


def test_many(large: Path, kept: Path) -> None:
    """The oldest are forgotten; those of today stay."""
    kept.write_text(
        "\xff\n" + "".join(f'[{n}, 2, 3, 4, 5, "x"]\n' for n in range(MOST_LINES - 1)), encoding="latin-1"
    )
    Hashes(kept, later).read(large)
    assert len(kept.read_text(encoding="latin-1").splitlines()) == MOST_LINES + 1

    assert Hashes(kept, later).read(large) == right(large)
    lines = kept.read_text().splitlines()
    assert len(lines) == MOST_LINES // 2
    assert right(large)[1] in lines[-1]
