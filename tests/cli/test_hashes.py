"""What large files hold is remembered between commands, and nothing that changed is taken for what it was."""

from __future__ import annotations

import json
import os
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from truss.context import Context, Member
from truss.errors import PackageError
from truss.hashes import LARGE_BYTES, MOST_LINES, NAME, Hashes
from truss.release import PackageFile

if TYPE_CHECKING:
    from collections.abc import Mapping

HOUR_NS = 3600 * 10**9

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/io").exists(), reason="this system does not say what is read, nor from where"
)


def later() -> int:
    """Return a time at which all files were written long ago."""
    return time.time_ns() + HOUR_NS


@pytest.fixture
def home(tmp_path: Path) -> Mapping[str, str]:
    """Give an environment whose state is this test's."""
    (tmp_path / "state").mkdir()
    return {"TRUSS_HOME": str(tmp_path / "state")}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Give the place of what is remembered."""
    return tmp_path / "state" / NAME


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Give a file that is worth remembering."""
    return written(tmp_path / "weights.bin")


def written(path: Path) -> Path:
    """Write a large file."""
    path.write_bytes(b"a" * LARGE_BYTES)
    return path


def bytes_read() -> int:
    """Return how much this process has read of files."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


def is_read(path: Path, home: Mapping[str, str]) -> bool:
    """Return whether another command reads a file, whose hash is right in any case."""
    expected = right(path)
    before = bytes_read()
    assert Hashes(home, later).read(path) == expected
    return bytes_read() - before > LARGE_BYTES / 2


def right(path: Path) -> tuple[int, str]:
    """Return the size of a file and its hash."""
    content = path.read_bytes()
    return len(content), sha256(content).hexdigest()


def test_another_command_does_not_read_it(large: Path, home: Mapping[str, str]) -> None:
    """What one command has read, the next one knows."""
    assert is_read(large, home)

    assert not is_read(large, home)


@pytest.mark.parametrize("keep_times", [True, False])
def test_changed_file(large: Path, home: Mapping[str, str], keep_times: bool) -> None:
    """Other content of the same size is seen, though its time of change be set back."""
    is_read(large, home)
    before = large.stat()
    with large.open("r+b") as file:
        file.write(b"b")
    if keep_times:
        os.utime(large, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert is_read(large, home)


def test_file_that_was_just_written(large: Path, home: Mapping[str, str], kept: Path) -> None:
    """A file whose next write might leave no trace is not remembered."""
    assert Hashes(home).read(large) == right(large)

    assert not kept.exists()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="this system has no file system in memory")
def test_file_system_that_does_not_tell(home: Mapping[str, str]) -> None:
    """A file that is written through memory has times that say nothing of it, where they are no disk's."""
    path = written(Path(f"/dev/shm/truss-test-{os.getpid()}"))
    try:
        assert [is_read(path, home) for _ in range(2)] == [True, True]
    finally:
        path.unlink()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1, 2",
        b"nonsense\n[]\n[1]\n{}\n7\nnull\n",
        b"\x00\xff",
        b'[1e999, 1, 1, 1, 1, "x"]\n[Infinity, 1, "x"]\n',
        b"[" * 100_000,
    ],
    ids=["empty", "half", "other", "binary", "infinity", "deep"],
)
def test_damaged(large: Path, home: Mapping[str, str], kept: Path, content: bytes) -> None:
    """Whatever stands in the file of hashes, they are right, and the next ones are kept."""
    kept.write_bytes(content + b"\n")

    assert [is_read(large, home) for _ in range(2)] == [True, False]


@pytest.mark.parametrize("said", ["zzz", None, 12, "../../x"])
def test_hash_that_is_none(large: Path, home: Mapping[str, str], kept: Path, said: object) -> None:
    """What is no hash is not taken for one."""
    is_read(large, home)
    (line,) = kept.read_text().splitlines()
    kept.write_text(json.dumps([*json.loads(line)[:-1], said]) + "\n")

    assert is_read(large, home)


def test_wrong_hash_goes(large: Path, home: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not what it was known for is refused once, and then read."""
    monkeypatch.setenv("TRUSS_HOME", home["TRUSS_HOME"])
    is_read(large, home)
    member = Member(Path("data/x"), PackageFile(Path("x"), large, False, LARGE_BYTES, "0" * 64))  # type: ignore[arg-type]

    with pytest.raises(PackageError, match="changed while it was sent"):
        b"".join(Context((member,)).tar())

    assert is_read(large, home)


@pytest.mark.parametrize("kind", ["folder", "pipe", "nowhere", "homeless"])
def test_nowhere_to_keep_them(
    large: Path, home: Mapping[str, str], kept: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a place for it, nothing is remembered and nothing fails or hangs."""
    if kind == "folder":
        kept.mkdir()
    elif kind == "pipe":
        os.mkfifo(kept)
    elif kind == "nowhere":
        home = {"TRUSS_HOME": str(large)}
    else:
        home = {}
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))

    assert is_read(large, home)


def test_many(large: Path, home: Mapping[str, str], kept: Path) -> None:
    """When there are too many all are forgotten, and it begins anew."""
    kept.write_text(f'[1, 2, 3, 4, 5, "{"0" * 64}"]\n' * (MOST_LINES + 1))

    assert [is_read(large, home) for _ in range(2)] == [True, False]
    assert len(kept.read_text().splitlines()) == 1
