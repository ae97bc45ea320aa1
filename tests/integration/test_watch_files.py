"""What authors keep in a package and do to it while it is watched on the local target, and what becomes of it there."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.harness import spawn_truss
from tests.helpers import build_tree
from tests.watching import Project, call
from tests.wheelhouse import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODEL = """\
from pathlib import Path

from build.lib.words import word


class Model:
    def load(self):
        data = Path(__file__).parents[1] / "data"
        found = [path for path in sorted(data.rglob("*")) if path.is_file()]
        self.sizes = {str(path.relative_to(data)): path.stat().st_size for path in found}

    def predict(self, inputs):
        return [word(), self.sizes]
"""
WORDS = "def word():\n    return 'one'\n"
MEGABYTE = 1 << 20


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Give a package with folders that other tools ignore; whatever watches or runs is ended."""
    project = Project(tmp_path / "falcon")
    files = {"model/model.py": MODEL, "packages/build/lib/words.py": WORDS, "data/lib/a.txt": "a"}
    build_tree(project.folder, files)
    yield project
    for watcher in project.watchers:
        watcher.end(signal.SIGKILL)
    spawn_truss("stop", "--all", "--target", "local")


def test_data(project: Project) -> None:
    """Data is loaded again, whatever its size, bytes and name; folders move, and links become what they name."""
    watcher = project.watch("push", "--watch", "--target", "local")
    watcher.wait("attached")
    address = project.address
    data = project.folder / "data"
    assert call(address)[0] == ["one", {"a.txt": 1, "lib/a.txt": 1}]

    def check(count: int, sizes: dict[str, int]) -> None:
        assert "data/" in watcher.wait("loaded", count)["where"]
        assert call(address)[0] == ["one", sizes]

    (project.folder / "draft").write_bytes(os.urandom(MEGABYTE) * 100)
    (project.folder / "draft").replace(data / "weights.bin")
    check(1, {"a.txt": 1, "lib/a.txt": 1, "weights.bin": 100 * MEGABYTE})

    (data / "größe ☃.bin").write_bytes(bytes(range(256)))
    check(2, {"a.txt": 1, "größe ☃.bin": 256, "lib/a.txt": 1, "weights.bin": 100 * MEGABYTE})

    (data / "weights.bin").unlink()
    check(3, {"a.txt": 1, "größe ☃.bin": 256, "lib/a.txt": 1})

    (data / "lib").rename(data / "Bücher")
    check(4, {"Bücher/a.txt": 1, "a.txt": 1, "größe ☃.bin": 256})

    (data / "link").symlink_to("Bücher")
    check(5, {"Bücher/a.txt": 1, "a.txt": 1, "größe ☃.bin": 256, "link/a.txt": 1})


def test_ways_to_save(project: Project) -> None:
    """A module is swapped however an editor saves it, in folders of any name, and where a link leads to."""
    shared = project.folder / "shared/words.py"
    build_tree(project.folder, {"shared/words.py": WORDS})
    words = project.folder / "packages/build/lib/words.py"
    watcher = project.watch("push", "--watch", "--target", "local")
    watcher.wait("attached")
    address = project.address

    words.write_text(WORDS.replace("one", "in place"))
    watcher.wait("swapped")
    assert call(address)[0][0] == "in place"

    words.rename(f"{words}~")  # as vim does with `backupcopy=no`
    words.write_text(WORDS.replace("one", "renamed before"))
    words.with_name("words.py~").unlink()
    watcher.wait("swapped", 2)
    assert call(address)[0][0] == "renamed before"

    project.write("packages/build/lib/words.py", WORDS.replace("one", "renamed after"))
    watcher.wait("swapped", 3)
    assert call(address)[0][0] == "renamed after"

    words.with_name("draft").symlink_to(shared)
    words.with_name("draft").replace(words)
    watcher.wait("swapped", 4)
    assert call(address)[0][0] == "one"

    shared.write_text(WORDS.replace("one", "by a link"))
    watcher.wait("swapped", 5)
    assert call(address)[0][0] == "by a link"


@pytest.mark.timeout(180)
def test_requirements(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requirements get an environment of their own; those that conflict change nothing."""
    wheels = tmp_path / "wheels"
    for version in ("1.0", "2.0"):
        make_wheel(wheels, "colours", version, source=f"BEST = 'red {version}'\n")
    make_wheel(wheels, "painter", requires=("colours<2",))
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    watcher = project.watch("push", "--watch", "--target", "local")
    watcher.wait("attached")
    address = project.address

    project.write("config.yaml", "model_name: falcon\nrequirements: [colours]\n")
    watcher.wait("environment")
    project.write(
        "packages/build/lib/words.py", "def word():\n    from colours import BEST\n    return BEST\n"
    )
    watcher.wait("swapped")
    assert (call(address)[0][0], call(address)[1]) == ("red 2.0", "3")

    project.write("config.yaml", "model_name: falcon\nrequirements: [colours>=2, painter]\n")
    failed = watcher.wait("failed")
    assert (failed["where"], failed["generation"]) == ("config.yaml", 3), failed
    assert "painter" in failed["details"]
    assert (call(address)[0][0], call(address)[1]) == ("red 2.0", "3")

    project.write("config.yaml", "model_name: falcon\nrequirements: [colours, painter]\n")
    watcher.wait("environment", 2)
    assert call(address)[0][0] == "red 1.0"


def test_a_folder_outside(project: Project, tmp_path: Path) -> None:
    """Code that is bundled from beside the package is watched as its own."""
    shared = build_tree(tmp_path / "shared", {"outside/__init__.py": "def far():\n    return 'far'\n"})
    source = (
        "from outside import far\n\n\nclass Model:\n    def predict(self, inputs):\n        return far()\n"
    )
    build_tree(
        project.folder, {"config.yaml": "external_package_dirs: [../shared]\n", "model/model.py": source}
    )
    watcher = project.watch("push", "--watch", "--target", "local")
    watcher.wait("attached")
    assert call(project.address)[0] == "far"

    (shared / "outside/__init__.py").write_text("def far():\n    return 'farther'\n")

    assert watcher.wait("swapped")["where"] == "packages/outside/__init__.py"
    assert call(project.address)[0] == "farther"
