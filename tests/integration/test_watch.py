"""`truss push --watch` on the local target, from the save to the answer: real processes all the way."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import spawn_truss
from tests.helpers import build_tree, wait_until
from tests.watching import HELPER, MODEL, SECONDS, Project, call

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Give a package; whatever watches or runs is ended."""
    project = Project(tmp_path / "falcon")
    yield project
    for watcher in project.watchers:
        watcher.end(signal.SIGKILL)
    spawn_truss("stop", "--all", "--target", "local")


def test_edits(project: Project) -> None:
    """`predict` is swapped under what `load` made, `load` is loaded again, a broken edit leaves what was there."""
    watcher = project.watch("push", "--watch", "--target", "local")
    watcher.wait("attached")
    address = project.address
    assert call(address) == (["one!", ["falcons"], 1], "1")

    project.write("model/model.py", MODEL.replace('shout("one")', 'shout("two")'))
    assert watcher.wait("swapped")["generation"] == 2
    assert call(address) == (["two!", ["falcons"], 1], "2")

    project.write("packages/helper.py", HELPER.replace("!", "?"))
    watcher.wait("swapped", 2)
    assert call(address) == (["two?", ["falcons"], 1], "3")

    project.write("model/model.py", MODEL.replace("falcons", "owls"))
    assert watcher.wait("loaded")["reason"] == "`load` uses `WORDS`, which changed"
    assert call(address)[0] == ["one?", ["owls"], 1]

    project.write("model/model.py", MODEL.replace("falcons", "owls") + "1 / 0\n")
    failed = watcher.wait("failed")
    assert (failed["where"], "division by zero" in failed["what"]) == ("model/model.py", True)
    assert "1 / 0" in failed["details"]
    assert call(address)[0] == ["one?", ["owls"], 1]

    project.write("packages/helper.py", "def shout(:\n")
    assert watcher.wait("failed", 2)["what"] == "packages/helper.py is no valid Python."
    assert call(address)[0] == ["one?", ["owls"], 1]


def test_stream_across_a_swap(project: Project) -> None:
    """A stream ends on the code it began with."""
    watcher = project.watch("push", "--watch", "--target", "local")
    watcher.wait("attached")
    address = project.address
    answers: list[tuple[Any, str]] = []
    thread = threading.Thread(target=lambda: answers.append(call(address, "slow")))
    thread.start()
    time.sleep(0.2)

    project.write("model/model.py", MODEL.replace('f"one {number}', 'f"two {number}'))
    watcher.wait("swapped")
    text, generation = call(address, "slow")
    thread.join(SECONDS)

    assert answers == [("".join(f"one {number}\n" for number in range(20)), "1")]
    assert (text, generation) == ("".join(f"two {number}\n" for number in range(20)), "2")


def test_ends(project: Project) -> None:
    """Ctrl-C leaves the deployment, a second watcher is told of the first, a killed one leaves no lock."""
    watcher = project.watch("push", "--watch", "--target", "local")
    watcher.wait("attached")
    second = spawn_truss("watch", cwd=project.folder)
    assert second.code == 6
    assert f"It is being watched already, by pid {watcher.process.pid} of" in second.stderr

    assert watcher.end() == 0
    assert watcher.errors[-1].endswith("`truss stop --model falcon --environment development` stops it.\n")
    third = project.watch("watch")
    third.wait("attached")
    third.end(signal.SIGKILL)
    fourth = project.watch("watch")
    fourth.wait("attached")

    assert call(project.address)[1] == "1"
    spawn_truss("stop", "--environment", "development", cwd=project.folder)
    assert fourth.process.wait(SECONDS) == 7


def test_edit_while_nobody_watches(project: Project) -> None:
    """What was edited meanwhile comes in when somebody watches again."""
    watcher = project.watch("push", "--watch", "--target", "local")
    watcher.wait("attached")
    watcher.end()
    project.write("model/model.py", MODEL.replace('shout("one")', 'shout("two")'))

    again = project.watch("watch", "--strategy", "replace")

    assert again.wait("loaded")["reason"] == "what runs is not what this folder held"
    assert call(project.address)[0] == ["two!", ["falcons"], 1]


def test_rebuild_and_failed_rebuild(project: Project) -> None:
    """A rebuild keeps the port; one that fails brings back the version that was there, edits included."""
    watcher = project.watch("push", "--watch", "--target", "local")
    watcher.wait("attached")
    address = project.address

    project.write("config.yaml", "model_name: falcon\nruntime:\n  max_queue: 3\n")
    assert watcher.wait("rebuilt")["what"] == "rebuilt, release 2"
    assert (project.address, call(address)[0][0]) == (address, "one!")
    project.write("model/model.py", MODEL.replace('shout("one")', 'shout("two")'))
    watcher.wait("swapped")
    (project.folder / "model/model.py").write_text(MODEL.replace("LOADS.append(1)", "1 / 0"))
    watcher.wait("failed")
    project.write("config.yaml", "model_name: falcon\nruntime:\n  max_queue: 4\n")
    watcher.wait("failed", 2)

    assert (project.address, call(address)[0][0]) == (address, "two!")


def test_checkout_of_many_files(project: Project) -> None:
    """A branch with many other files is one edit or a few, and what is deployed is what is checked out."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]

    def run(*args: str) -> None:
        subprocess.run([*git, *args], cwd=project.folder, check=True, capture_output=True)

    run("init")
    run("add", ".")
    run("commit", "-m", "one")
    run("checkout", "-b", "other")
    build_tree(project.folder, {f"packages/many/m{number}.py": "x = 1\n" for number in range(500)})
    project.write("model/model.py", MODEL.replace('shout("one")', 'shout("two")'))
    run("add", ".")
    run("commit", "-m", "two")
    run("checkout", "main")
    watcher = project.watch("push", "--watch", "--target", "local")
    watcher.wait("attached")
    address = project.address

    run("checkout", "other")
    wait_until(lambda: call(address)[0][0] == "two!", SECONDS)

    run("checkout", "main")
    wait_until(lambda: call(address)[0][0] == "one!", SECONDS)
    assert not [event for event in watcher.events if event.get("event") == "failed"]


def test_many_swaps_load_once(project: Project) -> None:
    """However many edits of `predict` come, `load` ran once; the time of each is told."""
    watcher = project.watch("push", "--watch", "--target", "local")
    watcher.wait("attached")
    address = project.address
    for number in range(1, 21):
        project.write("model/model.py", MODEL.replace('shout("one")', f'shout("{number}")'))
        watcher.wait("swapped", number)

    assert call(address)[0] == ["20!", ["falcons"], 1]


def test_idle_watcher_rests(project: Project) -> None:
    """A watcher of five thousand files uses no hundredth of a core while nothing is saved."""
    build_tree(project.folder, {f"data/d{n % 50}/{n}.bin": "x" for n in range(5000)})
    watcher = project.watch("push", "--watch", "--target", "local")
    watcher.wait("attached")

    def used() -> float:
        fields = Path(f"/proc/{watcher.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    time.sleep(1)
    before, begin = used(), time.monotonic()
    time.sleep(5)

    assert (used() - before) / (time.monotonic() - begin) < 0.01
