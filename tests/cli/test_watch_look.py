"""Looking at a package that is being edited: quickly at what was saved, and not too early."""

from __future__ import annotations

import ctypes
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from watchfiles._rust_notify import RustNotify

from tests.helpers import build_tree, wait_until
from truss.deps import SystemClock
from truss.errors import PackageError
from truss.memory import Memory
from truss.plan import plan_edit, plan_release
from truss.saves import Saves
from truss.watch_look import Looker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

MODEL = "class Model:\n    def predict(self, inputs):\n        return 1\n"
NOBODY = 65534
FILES = {"config.yaml": "", "model/model.py": MODEL, "packages/own.py": "X = 1\n", "data/a.bin": "aaaa"}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Give a package."""
    return build_tree(tmp_path / "falcon", FILES)


@pytest.fixture
def common_package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a package of a user who may not read everything: root reads with the rights of nobody meanwhile."""
    if os.geteuid():
        yield build_tree(tmp_path_factory.mktemp("common") / "falcon", FILES)
        return
    rights = getattr(ctypes.CDLL(None), "setfsuid", None)
    if rights is None:
        pytest.skip("root can read everything on this system")
    with tempfile.TemporaryDirectory() as folder:
        package = build_tree(Path(folder) / "falcon", FILES)
        for path in (Path(folder), package, *package.rglob("*")):
            os.chown(path, NOBODY, -1)
        rights(NOBODY)
        try:
            yield package
        finally:
            rights(0)


def test_file_that_may_not_be_read(common_package: Path) -> None:
    """A file without permission to read is told by its name, and looked at again when that was given."""
    own = common_package / "packages/own.py"
    watching = Watching(common_package)
    try:
        own.chmod(0)
        with pytest.raises(PackageError, match=r"packages/own\.py cannot be read: Permission denied"):
            watching.look()
        watching.woken.clear()
        own.chmod(0o644)

        found = watching.look()
    finally:
        watching.looker.close()

    assert found == {str(one.path): one.sha256 for one in plan_release(common_package).files}


class CompletingClock(SystemClock):
    """A clock that lets somebody finish what they write while time passes."""

    def __init__(self, finish: Callable[[], object]) -> None:
        self._finish = finish

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        super().sleep(seconds)
        self._finish()


class Watching:
    """A package that is looked at.

    Attributes:
        woken: Set when something was saved.
    """

    def __init__(self, package: Path, finish: Callable[[], object] = str) -> None:
        self.woken = threading.Event()
        self.looker = Looker(package, CompletingClock(finish), self.woken.set)
        self.looker.look("falcon")
        self.woken.clear()

    def look(self) -> dict[str, str]:
        """Wait for a save and return the hashes of all files."""
        assert self.woken.wait(20), "nobody tells of the save"
        snapshot = self.looker.look("falcon")
        return {path: file.sha256 for path, file in snapshot.files.items()}


@pytest.mark.parametrize("half", ["", "class Model:\n    def predict(self, inp"])
@pytest.mark.parametrize("name", ["model/model.py", "packages/own.py"])
def test_half_written_file(package: Path, half: str, name: str) -> None:
    """A file that is being written where it lies is not taken for what is there of it at that moment."""
    whole = f"{FILES[name]}Y = 2\n"
    watching = Watching(package, lambda: (package / name).write_text(whole))
    try:
        (package / name).write_text(half)

        found = watching.look()
    finally:
        watching.looker.close()

    assert found == {str(one.path): one.sha256 for one in plan_release(package).files}
    assert (package / name).read_text() == whole


def test_file_that_stays_empty(package: Path) -> None:
    """A file that was made empty on purpose is an edit."""
    watching = Watching(package)
    try:
        (package / "packages/own.py").write_text("")

        found = watching.look()
    finally:
        watching.looker.close()

    assert found == {str(one.path): one.sha256 for one in plan_release(package).files}


def test_name_that_cannot_be_told(package: Path) -> None:
    """A name that is no text, at which the notifier gives up, does not end the watching."""
    watching = Watching(package)
    odd = package / "data" / os.fsdecode(b"\xff")
    try:
        odd.touch()
        assert watching.woken.wait(20)
        odd.unlink()
        watching.woken.clear()
        watching.looker.look("falcon")
        (package / "packages/own.py").write_text("X = 2\n")

        found = watching.look()
    finally:
        watching.looker.close()

    assert found == {str(one.path): one.sha256 for one in plan_release(package).files}


class Forgetful:
    """The notifier, which forgets what is saved between its taking of what was saved and its return."""

    late: Callable[[], object] | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        self._real = RustNotify(*args, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._real.close()

    def watch(self, *args: Any) -> object:
        """Return what was saved, and have something more be saved without telling of it."""
        told = self._real.watch(*args)
        if isinstance(told, set) and Forgetful.late:
            Forgetful.late()
            Forgetful.late = None
            self._real.watch(*args)
        return told


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Forgetful]]:
    """Give the notifier at its worst."""
    monkeypatch.setattr("watchfiles._rust_notify.RustNotify", Forgetful)
    yield Forgetful
    Forgetful.late = None


def test_save_that_is_not_told(package: Path, forgetful: type[Forgetful]) -> None:
    """A save that the system's notifier loses is seen shortly after."""
    own = package / "packages/own.py"
    watching = Watching(package)
    try:
        forgetful.late = lambda: own.write_text("LATE = 3\n")
        (package / "packages/own.py~").write_text("draft")

        def found() -> bool:
            snapshot = watching.looker.look("falcon") if watching.looker.changed() else None
            return snapshot is not None and snapshot.files["packages/own.py"].size == len("LATE = 3\n")

        wait_until(found, 20, what="the save")
    finally:
        watching.looker.close()


def edited(package: Path, path: str, text: str) -> bool:
    """Edit a file; return whether planning only it is possible, and equal to planning all."""
    memory = Memory()
    before = plan_release(package, memory)
    (package / path).parent.mkdir(exist_ok=True)
    (package / path).write_text(text)
    quick = plan_edit(before, {str(package / path)}, memory)
    assert quick in (None, plan_release(package))
    return quick is not None


@pytest.mark.parametrize(
    ("path", "text", "quick"),
    [
        ("model/model.py", f"# more\n{MODEL}", True),
        ("packages/own.py", "X = 2\n", True),
        ("data/a.bin", "b", True),
        ("packages/own.py", "import starlette\n", False),  # may imply a requirement
        ("config.yaml", "model_name: owl\n", False),
        ("packages/new.py", "", False),
    ],
)
def test_plan_of_an_edit(package: Path, path: str, text: str, quick: bool) -> None:
    """Of a package in which a known file was written only that is read, and the plan is the same."""
    assert edited(package, path, text) == quick


def test_plan_of_more_than_an_edit(package: Path) -> None:
    """A file that is gone, or has become a link, needs a whole look."""
    memory = Memory()
    before = plan_release(package, memory)
    (package / "packages/own.py").unlink()
    assert plan_edit(before, {str(package / "packages/own.py")}, memory) is None
    (package / "packages/own.py").symlink_to("../data/a.bin")

    assert plan_edit(before, {str(package / "packages/own.py")}, memory) is None


def test_links_are_not_direct(package: Path) -> None:
    """Where a link leads to a folder, a save in it is one of two files."""
    saves = Saves(package, lambda: None)
    try:
        plan = plan_release(package)
        saves.watch(plan.config, plan.files)
        assert saves.direct
        (package / "packages/more").symlink_to("../data")
        plan = plan_release(package)
        saves.watch(plan.config, plan.files)

        assert not saves.direct
    finally:
        saves.close()
