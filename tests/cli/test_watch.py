"""A watcher on a target that is honest and quick: real files, a real control socket, and what it tells."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest

from tests.control_server import TRACEBACK, Version
from tests.fake_target import FakeMachine, FakeTarget, log_line
from tests.fakes import RecordedProgress
from tests.harness import Outcome, run_truss
from tests.helpers import build_tree, wait_until
from truss.client import HttpClient
from truss.console import Console
from truss.deps import Deps, SystemClock
from truss.errors import NotDeployedError
from truss.plan import plan_release
from truss.watch import Watch
from truss.watch_outside import Outside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.control_server import ControlServer
    from truss.release import Deployment
    from truss.watch_events import Told

MODEL = """\
WORDS = ["falcons"]


class Model:
    def load(self):
        self.words = WORDS

    def predict(self, inputs):
        return self.words
"""


class Watched:
    """A package, its deployment in development, and a watcher in a thread."""

    def __init__(self, folder: Path, target: FakeTarget) -> None:
        files = {"config.yaml": "model_name: falcon\n", "model/model.py": MODEL, "data/a.txt": "a"}
        self.package = build_tree(folder / "falcon", files)
        self.target = target
        self.told: list[Told] = []
        self.error: BaseException | None = None
        self._keys, self.keyboard = os.pipe()
        self.watch: Watch | None = None
        self._thread: threading.Thread | None = None

    def deploy(self) -> Deployment:
        """Push it to development."""
        release = self.target.build(plan_release(self.package), RecordedProgress())
        candidate = self.target.start(release, "development", port=None)
        self.target.promote(candidate)
        return candidate

    def start(self, *, seconds: float = 30.0, strategy: Literal["beside", "replace"] = "beside") -> None:
        """Deploy and watch."""
        deployment = self.deploy()
        outside = Outside(
            self.target,
            HttpClient(),
            SystemClock(),
            lambda: nullcontext(RecordedProgress()),
            self.told.append,
        )
        self.watch = Watch(self.package, deployment, outside, strategy=strategy, seconds=seconds)
        self._thread = threading.Thread(target=self._run, args=(self.watch,))
        self._thread.start()
        self.wait("attached")

    def _run(self, watch: Watch) -> None:
        try:
            watch.run(self._keys)
        except BaseException as exc:  # noqa: BLE001 the test looks at it
            self.error = exc

    def end(self) -> BaseException | None:
        """Press q, and return what the watcher raised."""
        if self._thread is not None:
            os.write(self.keyboard, b"q")
            self._thread.join(20)
            assert not self._thread.is_alive()
            self._thread = None
        return self.error

    def close(self) -> None:
        """Leave nothing behind."""
        try:
            self.end()
        finally:
            os.close(self._keys)
            os.close(self.keyboard)
            self.target.close()

    @property
    def control(self) -> ControlServer:
        """The control server of what is deployed."""
        return list(self.target.control.values())[-1]

    def write(self, path: str, content: str | bytes) -> None:
        """Save a file the way editors do: written beside it, then renamed."""
        draft = self.package / f"{path}~"
        draft.write_bytes(content.encode() if isinstance(content, str) else content)
        draft.replace(self.package / path)

    def wait(self, event: str, count: int = 1) -> Told:
        """Return the last of so many events of a kind."""

        def found() -> list[Told]:
            assert self.error is None, self.error
            return [told for told in self.told if told.event == event][count - 1 :]

        return wait_until(found, 20, what=f"{event} among {self.told}")[0]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Give a package that can be watched."""
    watched = Watched(tmp_path, FakeTarget("local", control=tmp_path / "control"))
    yield watched
    watched.close()


def test_swap_load_and_back(watched: Watched) -> None:
    """An edit of `predict` is swapped, one of what `load` uses is loaded; each is told with file and reason."""
    watched.start()

    watched.write("model/model.py", MODEL.replace("return self.words", "return 1"))
    told = watched.wait("swapped")
    assert (told.what, told.where, told.generation, told.reason) == (
        "code swapped, generation 2",
        "model/model.py",
        2,
        "",
    )
    assert watched.control.asked[-1]["modules"] == ["model/model.py"]
    assert watched.control.asked[-1]["keep"] == {"model/model.py": ["WORDS"]}

    watched.write("model/model.py", MODEL.replace("falcons", "owls"))
    told = watched.wait("loaded")
    assert (told.what, told.where, told.reason) == (
        "loaded again, generation 3",
        "model/model.py (load)",
        "`load` uses `WORDS`, which changed",
    )
    assert watched.control.asked[-1]["how"] == "load"
    assert watched.control.version.files["model/model.py"] == MODEL.replace("falcons", "owls").encode()


def test_broken_edit(watched: Watched) -> None:
    """An edit that does not load is told with its traceback, once; taken back, all is as it was."""
    watched.start()

    watched.write("model/model.py", f"{MODEL}# BROKEN\n")
    told = watched.wait("failed")
    assert (told.what, told.where, told.generation, told.details) == (
        "RuntimeError: no",
        "model/model.py",
        1,
        TRACEBACK,
    )
    (watched.package / "model/model.py").touch()
    watched.write("model/model.py", MODEL)

    assert watched.wait("unchanged").what == "as it runs, generation 1"
    assert [told.event for told in watched.told].count("failed") == 1


def test_syntax_error(watched: Watched) -> None:
    """Code that is no Python is told with its line, and nobody is asked."""
    watched.start()

    watched.write("model/model.py", "class Model:\n    def predict(self:\n")

    told = watched.wait("failed")
    assert told.what == "model/model.py is no valid Python."
    assert "model/model.py:2:" in told.details
    assert [fields["do"] for fields in watched.control.asked] == ["watch"]


def test_broken_settings(watched: Watched) -> None:
    """A config.yaml that makes no sense changes nothing, and is told with its line."""
    watched.start()

    watched.write("config.yaml", "model_name: [\n")
    assert "config.yaml" in watched.wait("failed").what + watched.wait("failed").details
    watched.write("config.yaml", "model_name: owl\n")

    assert watched.wait("failed", 2).what == "The model is called owl now; falcon is watched."


def test_files_that_are_no_code(watched: Watched) -> None:
    """Data, deletions, new folders, and names in any script arrive."""
    watched.start()

    build_tree(watched.package, {"packages/tief/grün.bin": b"\0\1"})
    watched.wait("loaded")
    (watched.package / "data/a.txt").unlink()
    watched.wait("loaded", 2)
    (watched.package / "packages/tief").rename(watched.package / "packages/flach")
    watched.wait("loaded", 3)

    expected = Version.of(plan_release(watched.package)).files
    assert watched.control.version.files == expected
    assert sorted(expected) == ["config.yaml", "model/model.py", "packages/flach/grün.bin"]


def test_folder_that_is_made_anew(watched: Watched) -> None:
    """A folder that goes and comes back is watched again."""
    watched.start()
    (watched.package / "data").rename(watched.package / "elsewhere")
    watched.wait("loaded")
    (watched.package / "elsewhere").rename(watched.package / "data")
    watched.wait("loaded", 2)

    watched.write("data/a.txt", "b")

    watched.wait("loaded", 3)
    assert watched.control.version.files["data/a.txt"] == b"b"


def test_link_inside_of_the_package(watched: Watched) -> None:
    """What a link names is watched where it is."""
    build_tree(watched.package, {"common/words.txt": "one"})
    (watched.package / "data/words.txt").symlink_to("../common/words.txt")
    watched.start()

    (watched.package / "common/words.txt").write_text("two")

    watched.wait("loaded")
    assert watched.control.version.files["data/words.txt"] == b"two"


def test_checkout_of_many_files(watched: Watched) -> None:
    """Many files that change together are one edit."""
    watched.start()
    before = len(watched.control.asked)

    build_tree(watched.package, {f"packages/lib/build/m{number}.py": "x = 1\n" for number in range(500)})

    wait_until(lambda: len(watched.control.version.files) == 503, 20, what="all files")
    assert len(watched.control.asked) - before <= 3


def test_ignored_files(watched: Watched) -> None:
    """What no release holds wakes nobody; `.trussignore` counts from its save on."""
    watched.write(".trussignore", "*.tmp\n")
    watched.start()
    build_tree(watched.package, {"model/a.tmp": "", "model/__pycache__/x.pyc": "", "notes.md": ""})
    watched.write(".trussignore", "*.tmp\n*.md\n")
    build_tree(watched.package, {"data/more.md": ""})
    watched.write("data/b.txt", "b")

    watched.wait("loaded")
    assert "data/more.md" not in watched.control.version.files
    assert len([told for told in watched.told if told.event != "attached"]) == 1


def test_resync(watched: Watched) -> None:
    """A deployment that runs something else is brought to what is on disk, at the start and in the middle."""
    watched.start()
    watched.control.version = Version("other", {**watched.control.version.files, "packages/old.py": b""})

    watched.write("model/model.py", MODEL.replace("return self.words", "return 1"))

    told = watched.wait("loaded")
    assert told.reason == "what runs is not what this folder held"
    assert watched.control.version.files == Version.of(plan_release(watched.package)).files


def test_requirements(watched: Watched) -> None:
    """New requirements make an environment and a load in it; a conflict changes nothing."""
    watched.start()

    watched.write("config.yaml", "model_name: falcon\nrequirements: [conflict]\n")
    assert watched.wait("failed").what == "environment failed: The requirements could not be installed." or (
        watched.wait("failed").what == "The requirements could not be installed."
    )
    assert len(watched.control.asked) == 1
    watched.write("config.yaml", "model_name: falcon\nrequirements: [numpy]\n")

    told = watched.wait("environment")
    assert (told.what, told.reason) == ("new environment, generation 2", "the requirements changed")
    assert watched.control.asked[-1]["python"] == "/env/bin/python"


def test_rebuild(watched: Watched) -> None:
    """What only a build can change is pushed to the same port, and watched there."""
    watched.start()
    assert watched.watch
    url = watched.watch.deployment.url

    watched.write("config.yaml", "model_name: falcon\nruntime:\n  max_queue: 3\n")

    told = watched.wait("rebuilt")
    assert (told.what, told.reason) == ("rebuilt, release 2", "`runtime` in config.yaml changed")
    assert [(one.url, one.release) for one in watched.target.deployments()] == [(url, 2)]
    watched.write("model/model.py", MODEL.replace("return self.words", "return 1"))
    watched.wait("swapped")


def test_keys(watched: Watched) -> None:
    """`r` loads again, `R` rebuilds."""
    watched.start()
    wait_until(lambda: watched.watch and watched.watch._running)

    os.write(watched.keyboard, b"r")
    assert watched.wait("loaded").what == "loaded again, generation 2"
    assert watched.control.asked[-1]["do"] == "reload"
    os.write(watched.keyboard, b"R")

    assert watched.wait("rebuilt").reason == "asked for"


def test_save_while_loading(watched: Watched) -> None:
    """What is saved while an answer is awaited is not lost."""
    watched.start()
    watched.control.hold.clear()
    watched.write("model/model.py", MODEL.replace("falcons", "owls"))
    wait_until(lambda: len(watched.control.asked) == 2)
    watched.write("model/model.py", MODEL.replace("falcons", "kites"))
    watched.control.hold.set()

    watched.wait("loaded", 2)
    assert b"kites" in watched.control.version.files["model/model.py"]


@pytest.mark.parametrize("strategy", ["beside", "replace"])
def test_mended_save_while_loading(watched: Watched, strategy: Literal["beside", "replace"]) -> None:
    """A save gives up the load of an older one instead of waiting for it; one that changes nothing does not."""
    watched.start(strategy=strategy)
    watched.control.hold.clear()
    watched.write("model/model.py", MODEL.replace("falcons", "owls"))
    wait_until(lambda: len(watched.control.asked) == 2)
    (watched.package / "model/model.py").touch()

    watched.write("model/model.py", MODEL.replace("falcons", "kites"))
    wait_until(lambda: len(watched.control.asked) == 4)
    assert [one["do"] for one in watched.control.asked[2:]] == ["cancel", "apply"]
    watched.control.hold.set()

    assert watched.wait("loaded").what == "loaded again, generation 2"
    assert b"kites" in watched.control.version.files["model/model.py"]


def test_broken_save_while_loading(watched: Watched) -> None:
    """A save that is no Python is told at once, and what is being loaded goes on."""
    watched.start()
    watched.control.hold.clear()
    watched.write("model/model.py", MODEL.replace("falcons", "owls"))
    wait_until(lambda: len(watched.control.asked) == 2)

    watched.write("model/model.py", "class Model(:\n")

    assert watched.wait("failed").what == "model/model.py is no valid Python."
    watched.control.hold.set()
    watched.wait("loaded")


def test_keys_while_loading(watched: Watched) -> None:
    """Keys count while a model is being loaded: `r` begins anew, `q` ends."""
    watched.start()
    watched.control.hold.clear()
    watched.write("model/model.py", MODEL.replace("falcons", "owls"))
    wait_until(lambda: len(watched.control.asked) == 2)

    os.write(watched.keyboard, b"r")
    wait_until(lambda: len(watched.control.asked) == 4)

    assert [one["do"] for one in watched.control.asked[2:]] == ["cancel", "apply"]
    assert watched.end() is None
    watched.control.hold.set()


def test_terminal_that_is_gone(watched: Watched) -> None:
    """A terminal that was closed, where SIGHUP is ignored, neither ends the watcher nor keeps it busy."""
    watched.start()
    os.close(watched.keyboard)
    watched.keyboard = os.open(os.devnull, os.O_WRONLY)

    watched.write("model/model.py", MODEL.replace("return self.words", "return 1"))
    watched.wait("swapped")
    before, begin = time.process_time(), time.monotonic()
    wait_until(lambda: time.monotonic() > begin + 1, 5)

    assert time.process_time() - before < 0.5
    for one in watched.target.deployments():
        watched.target.stop(one)  # which breaks the session off
    assert wait_until(lambda: watched.error)


def test_load_that_takes_too_long(watched: Watched) -> None:
    """A load without an end is given up, and the watcher goes on."""
    watched.start(seconds=0.5)
    watched.control.hold.clear()
    watched.write("model/model.py", MODEL.replace("falcons", "owls"))

    told = watched.wait("failed")

    assert told.what == "It was not loaded after 0.5 s."
    watched.control.hold.set()


def test_log(watched: Watched) -> None:
    """What the model prints from now on is told; what it said before is not."""
    watched.target.script.__dict__["log"] = (log_line("before"),)
    watched.start()

    assert not [told for told in watched.told if told.event == "log"]


def test_state(watched: Watched) -> None:
    """A model that dies and comes back is told."""
    watched.start()

    watched.control.say({"event": "state", "status": "restarting", "error": "killed by signal 9"})

    assert watched.wait("state").what == "the model is restarting: killed by signal 9"


def test_connection_that_breaks(watched: Watched) -> None:
    """A session that ends is begun again, and edits go on."""
    watched.start()
    watched.control.drop()
    wait_until(lambda: "it is back, generation 1" in [told.what for told in watched.told])

    watched.write("model/model.py", MODEL.replace("return self.words", "return 1"))

    watched.wait("swapped")


def test_deployment_that_is_stopped(watched: Watched) -> None:
    """A deployment that is stopped by hand ends the watcher with what to do."""
    watched.start()

    for one in watched.target.deployments():
        watched.target.stop(one)

    error = wait_until(lambda: watched.error)
    assert str(error) == "falcon is not deployed in development any more."


def test_restart(watched: Watched) -> None:
    """A deployment that is restarted, and is stopped for a moment, is waited for, and its log goes on."""
    watched.target.script.__dict__["log"] = (log_line("before"),)
    watched.start()
    (deployment,) = watched.target.deployments()
    watched.target.crash(deployment, 0)
    watched.control.drop()
    wait_until(lambda: any("Waiting for it" in told.what for told in watched.told))

    watched.target.revive(deployment, log_line("loading"))

    wait_until(lambda: "it is back, generation 1" in [told.what for told in watched.told])
    assert watched.wait("log").what == "loading"
    watched.write("model/model.py", MODEL.replace("return self.words", "return 1"))
    watched.wait("swapped")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (0, "falcon in development was stopped."),
        (137, "falcon in development was ended by SIGKILL (by hand, or out of memory)."),
        (4, "falcon in development has ended with exit code 4."),
        (-1, "falcon in development has ended."),
    ],
)
def test_deployment_that_ended(watched: Watched, code: int, message: str) -> None:
    """A deployment that does not come back ends the watcher, which says how it ended."""
    watched.start()
    (deployment,) = watched.target.deployments()

    watched.target.crash(deployment, code)
    watched.control.drop()

    error = wait_until(lambda: watched.error)
    assert (str(error), isinstance(error, NotDeployedError)) == (message, True)


class Noticing(Console):
    """A console that notices the beginning of the watching."""

    began = threading.Event()

    def print_data(self, text: str) -> None:
        """Write, and take notice."""
        super().print_data(text)
        if "watching " in text:
            self.began.set()


def run(watched: Watched, *args: str) -> Outcome:
    """Run a command that watches, and press Ctrl-C when it does."""
    Noticing.began.clear()

    def interrupt() -> None:
        if Noticing.began.wait(30):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    target = FakeMachine(watched.target).target
    deps = Deps(target=target, cwd=watched.package, console=Noticing.of_process)
    try:
        outcome = run_truss(*args, deps=deps)
    finally:
        thread.join(30)
    normal = re.sub(r"\d\d:\d\d:\d\d", "TIME", re.sub(r":\d{4,5}\b", ":PORT", outcome.stdout))
    return Outcome(normal, re.sub(r":\d{4,5}\b", ":PORT", outcome.stderr), outcome.code)


def test_ctrl_c(watched: Watched) -> None:
    """Ctrl-C leaves the deployment running, says how to stop it, and is a success."""
    watched.deploy()

    outcome = run(watched, "watch")

    assert outcome == Outcome(
        f"TIME  {'':24}  watching http://127.0.0.1:PORT, generation 1\n",
        "falcon goes on at http://127.0.0.1:PORT; "
        "`truss stop --model falcon --environment development` stops it.\n",
        0,
    )
    assert len(watched.target.deployments()) == 1


def test_push_watch(watched: Watched) -> None:
    """`push --watch` goes to development, keeps the port, and goes on watching."""
    before = watched.deploy()

    outcome = run(watched, "push", "--watch", "--target", "local", "--output", "json")

    first, second = map(json.loads, outcome.stdout.splitlines())
    assert (first["environment"], first["url"], outcome.code) == ("development", "http://127.0.0.1:PORT", 0)
    assert second["event"] == "attached"
    assert [one.url for one in watched.target.deployments()] == [before.url]


def test_push_watch_elsewhere(watched: Watched) -> None:
    """Only development is watched."""
    deps = Deps(target=FakeMachine(watched.target).target, cwd=watched.package)

    assert run_truss("push", "--watch", "--environment", "production", deps=deps) == Outcome(
        "",
        "error: Only development can be watched, and --environment is production.\n\n"
        "hint: Leave --environment out, or push without --watch.\n",
        2,
    )


@pytest.mark.parametrize(
    ("options", "error", "hint"),
    [
        (
            ("--strategy", "replace"),
            "--strategy says how a save is loaded, and nothing is watched.",
            "Add --watch, or leave --strategy out.",
        ),
        (
            ("--dry-run", "--watch"),
            "--dry-run pushes nothing that could be watched.",
            "Leave one of the two out.",
        ),
    ],
)
def test_options_that_make_no_sense_together(
    watched: Watched, options: tuple[str, ...], error: str, hint: str
) -> None:
    """An option that would have no effect is refused."""
    deps = Deps(target=FakeMachine(watched.target).target, cwd=watched.package)

    assert run_truss("push", *options, deps=deps) == Outcome("", f"error: {error}\n\nhint: {hint}\n", 2)


def test_nothing_to_watch(watched: Watched) -> None:
    """Without a deployment in development, it is said how to make one from where the user is."""
    deps = Deps(target=FakeMachine(watched.target).target, cwd=watched.package)
    above = replace(deps, cwd=watched.package.parent)
    folder = watched.package.name

    here, there = run_truss("watch", deps=deps), run_truss("watch", folder, deps=above)

    assert (here.code, there.code) == (7, 7)
    assert here.stderr.startswith("error: falcon is not deployed in development.\n")
    assert here.stderr.endswith("hint: `truss push --watch` deploys it.\n")
    assert there.stderr.endswith(f"hint: `truss push {folder} --watch` deploys it.\n")


def test_watch_outside_of_a_package(watched: Watched) -> None:
    """Where no package is, no option is named that `truss watch` does not have."""
    deps = Deps(target=FakeMachine(watched.target).target, cwd=watched.package.parent)

    outcome = run_truss("watch", deps=deps)

    assert outcome.code == 3
    assert outcome.stderr.endswith(
        "hint: Change to the folder of a package, or make one with `truss init DIR`.\n"
    )


def test_second_watcher(watched: Watched) -> None:
    """The second watcher of a deployment is told who the first one is."""
    watched.start()
    watched.control._watcher = "pid 1 of anna on host"
    deps = Deps(target=FakeMachine(watched.target).target, cwd=watched.package)

    outcome = run_truss("watch", deps=deps)

    assert outcome.stderr.startswith("error: It is being watched already, by pid 1 of anna on host since ")
    assert outcome.code == 6
