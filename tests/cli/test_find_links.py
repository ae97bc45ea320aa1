"""Which packages of a folder an installation may need."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import pytest

from tests.wheelhouse import make_wheel
from truss.find_links import needed

if TYPE_CHECKING:
    from pathlib import Path


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


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["app"], "app-1.0 base-1.5 base-2.0b1"),
        (["App[draw]==1.0 --hash=sha256:aa"], "app-1.0 base-1.5 base-2.0b1 plot-1.0"),
        (["app[all]"], "app-1.0 base-1.5 base-2.0b1 plot-1.0"),
        (["base<1.5 ; python_version > '3'"], "base-1.0"),
        (["base==9"], ""),
        (["broken", "--pre", "https://x.test/y.whl", "./z.whl"], "broken-1.0"),
        (["built-here"], "built_here-1.0.tar.gz setuptools-1.0"),
        (["fast"], f"fast-1.0-cp311-cp311-manylinux_2_28_{platform.machine()}.whl"),
    ],
)
def test_needed(house: Path, lines: list[str], expected: str) -> None:
    """What requirements allow, and what that requires, with the extras that were asked for."""
    found = needed(lines, (), [house, house / "nowhere"])

    assert " ".join(path.name.replace("-py3-none-any.whl", "") for path in found) == expected
