"""The text of config.yaml: what is there instead of it is told, and nothing without end is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from truss.errors import PackageError
from truss.yaml_file import MAX_BYTES, read_text

PATH = Path("config.yaml")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, so that messages name `config.yaml` only."""
    monkeypatch.chdir(tmp_path)


def test_missing() -> None:
    """A missing file says so and what to do."""
    with pytest.raises(PackageError) as caught:
        read_text(PATH)

    assert caught.value.message == f"There is no config.yaml in {Path.cwd()}."
    assert "truss init" in caught.value.hint


def test_missing_folder() -> None:
    """A folder that is not there is named."""
    with pytest.raises(PackageError) as caught:
        read_text(Path("falcon/config.yaml"))

    assert caught.value.message == "There is no folder falcon."


def test_wrong_suffix() -> None:
    """`config.yml` is told apart from no file at all."""
    Path("config.yml").write_text("a: 1\n")

    with pytest.raises(PackageError) as caught:
        read_text(PATH)

    assert caught.value.message == "The file must be called config.yaml, not config.yml."
    assert caught.value.hint == "mv config.yml config.yaml"


def test_not_a_file() -> None:
    """A folder of that name cannot be read, and the reason is the system's."""
    PATH.mkdir()

    with pytest.raises(PackageError, match=r"config\.yaml cannot be read: Is a directory\."):
        read_text(PATH)


def test_not_utf8() -> None:
    """Another encoding is named with the line where it shows."""
    PATH.write_bytes(b"a: 1\nb: caf\xe9\n")

    with pytest.raises(PackageError, match=r"config\.yaml:2 is not UTF-8"):
        read_text(PATH)


def test_size() -> None:
    """A file that is no configuration is not read at all."""
    PATH.touch()
    os.truncate(PATH, MAX_BYTES + 1)

    with pytest.raises(PackageError, match="larger than 1 MiB"):
        read_text(PATH)


def test_no_regular_file() -> None:
    """A pipe that nobody writes to, and a device that has no end, are not read."""
    os.mkfifo(PATH)
    with pytest.raises(PackageError, match=r"config\.yaml is no regular file"):
        read_text(PATH)

    PATH.unlink()
    PATH.symlink_to("/dev/zero")
    with pytest.raises(PackageError, match=r"config\.yaml is no regular file"):
        read_text(PATH)


def test_the_file_instead_of_its_folder() -> None:
    """Who names config.yaml is told to name the folder."""
    PATH.touch()

    with pytest.raises(PackageError, match=r"config\.yaml is no folder of a package") as caught:
        read_text(PATH / "config.yaml")

    assert caught.value.hint == "Name the folder that holds config.yaml."


def test_a_file_of_unknown_size() -> None:
    """One that says it were empty is read no further than the limit."""
    PATH.symlink_to("/proc/self/maps")

    assert read_text(PATH)
