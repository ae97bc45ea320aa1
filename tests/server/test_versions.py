"""The folder of versions that edits have made: what a restart comes back with."""

from __future__ import annotations

import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.helpers import build_tree
from truss_server.edge.settings import read_settings
from truss_server.edge.versions import Versions, current_version
from truss_server.protocol import MANIFEST, Manifest

if TYPE_CHECKING:
    from pathlib import Path

RUNTIME = {
    "predict_concurrency": 1,
    "streaming_read_timeout": 1,
    "drain_timeout": 1,
    "request_timeout": 1,
    "max_queue": 1,
    "max_body_bytes": 1,
    "enable_tracing_data": False,
    "transport": {"ping_interval_seconds": 1, "ping_timeout_seconds": 1},
}


@pytest.fixture
def manifest() -> str:
    """Give the text of a manifest."""
    return Manifest("falcon", "digest", "1", {"runtime": RUNTIME}).to_json()


@pytest.fixture
def release(tmp_path: Path, manifest: str) -> Path:
    """Give the folder of a release."""
    return build_tree(tmp_path / "app", {MANIFEST: manifest, "model/model.py": "one"})


def stage(versions: Versions, tmp_path: Path, manifest: str, number: int = 2) -> Path:
    """Make a version without any edit."""
    with tarfile.open(tmp_path / "edit.tar", "w"):
        pass
    with (tmp_path / "edit.tar").open("rb") as tar:
        return versions.stage(number, manifest, [], tar)


def test_restart_in_another_folder(tmp_path: Path, release: Path, manifest: str) -> None:
    """A control folder that is moved comes back with its version, and the interpreter of that."""
    versions = Versions(tmp_path / "control", release)
    versions.keep(stage(versions, tmp_path, manifest), "/new/python")

    moved = (tmp_path / "control").rename(tmp_path / "elsewhere")
    command = ["--release", str(release), "--python", "/old/python", "--control", str(moved)]
    version = read_settings(command).version

    assert (version.root, version.generation, version.python) == (moved / "versions/2", 2, "/new/python")


def test_release_that_was_loaded_again(tmp_path: Path, release: Path) -> None:
    """A release without edits that was loaded again is what a restart begins with, not a version."""
    versions = Versions(tmp_path / "control", release)

    versions.keep(release, "/python")

    assert current_version(tmp_path / "control") is None


def test_version_that_is_kept_while_the_next_is_made_ready(
    tmp_path: Path, release: Path, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made ready for the next edit is not taken for a version that was kept meanwhile."""
    versions = Versions(tmp_path / "control", release)
    second = stage(versions, tmp_path, manifest)
    (second / "model/model.py").unlink()
    (second / "model/model.py").write_text("two")
    link = os.link

    def keep_first(*names: str) -> None:
        monkeypatch.setattr("os.link", link)
        versions.keep(second, "/python")
        link(*names)

    monkeypatch.setattr("os.link", keep_first)
    versions.tidy({1, 2}, 2)

    assert (stage(versions, tmp_path, manifest, 3) / "model/model.py").read_text() == "two"
