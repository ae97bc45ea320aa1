"""Which packages of a folder an installation may need."""

from __future__ import annotations

import platform
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.helpers import build_tree
from tests.wheelhouse import make_wheel
from truss.find_links import needed


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Give a folder of packages that need each other, and some that nobody needs."""
    make_wheel(
        tmp_path, "app", requires=("base>=1.5", "plot ; extra == 'draw'", "app[draw] ; extra == 'all'")
    )
    for version in ("1.0", "1.5", "2.0b1"):
        make_wheel(tmp_path, "base", version)
    make_wheel(tmp_path, "plot", requires=("app",))
    make_wheel(tmp_path, "alone")
    (tmp_path / "no wheel.whl").touch()
    (tmp_path / "broken-1.0-py3-none-any.whl").write_text("no archive")
    (tmp_path / "built_here-1.0.tar.gz").touch()
    make_wheel(tmp_path, "setuptools")
    for tag in ("win_amd64", f"manylinux_2_28_{platform.machine()}", "manylinux_2_28_other"):
        make_wheel(tmp_path, "fast").rename(tmp_path / f"fast-1.0-cp311-cp311-{tag}.whl")
    return tmp_path


def make_source(folder: Path, name: str, files: dict[str, str], ending: str) -> None:
    """Write a source distribution."""
    with tempfile.TemporaryDirectory() as above:
        build_tree(Path(above), {f"{name}-1.0/{path}": text for path, text in files.items()})
        kind = {".zip": "zip", ".tar.gz": "gztar"}[ending]
        shutil.make_archive(str(folder / f"{name}-1.0"), kind, above)


@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
@pytest.mark.parametrize(
    ("project", "builders"),
    [
        (
            '[build-system]\nrequires = ["hatchling>=1", "plugin ; python_version > \'3\'"]\n',
            "hatchling plugin",
        ),
        ("[tool.x]\n", "setuptools"),
        ("[build-system]\nrequires = 3\n", "setuptools"),
        ("build-system = 3\n", "setuptools"),
        (None, "setuptools"),
    ],
)
def test_what_a_source_distribution_needs(
    tmp_path: Path, project: str | None, builders: str, ending: str
) -> None:
    """What builds it, as it says itself, and what it requires, with what these require."""
    for name in ("hatchling", "plugin", "setuptools", "base", "nobody"):
        make_wheel(tmp_path, name)
    make_wheel(tmp_path, "hatchling", requires=("pathy",))
    make_wheel(tmp_path, "pathy")
    metadata = "Metadata-Version: 2.2\nName: ours\nVersion: 1.0\nRequires-Dist: base\n"
    more = {} if project is None else {"pyproject.toml": project}
    make_source(tmp_path, "ours", {"PKG-INFO": metadata, "ours.egg-info/PKG-INFO": "", **more}, ending)

    found = {path.name.partition("-")[0] for path in needed(["ours"], (), [tmp_path])}

    expected = {"ours", "base", *builders.split()} | ({"pathy"} if "hatchling" in builders else set())
    assert found == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["app"], "app-1.0 base-1.5 base-2.0b1"),
        (["App[draw]==1.0 --hash=sha256:aa"], "app-1.0 base-1.5 base-2.0b1 plot-1.0"),
        (["app[all]"], "app-1.0 base-1.5 base-2.0b1 plot-1.0"),
        (["base<1.5 ; python_version > '3'"], "base-1.0"),
        (["base==9"], ""),
        (["broken", "--pre", "https://x.test/y.whl", "./z.whl"], "broken-1.0"),
        (["built-here"], "built_here-1.0.tar.gz"),
        (["fast"], f"fast-1.0-cp311-cp311-manylinux_2_28_{platform.machine()}.whl"),
    ],
)
def test_needed(house: Path, lines: list[str], expected: str) -> None:
    """What requirements allow, and what that requires, with the extras that were asked for."""
    found = needed(lines, (), [house, house / "nowhere"])

    assert " ".join(path.name.replace("-py3-none-any.whl", "") for path in found) == expected
