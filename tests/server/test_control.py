"""Edits come in by the control channel and are served at once; what was loaded stays, what runs ends as it began."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.helpers import wait_until
from tests.server.editing import MODEL, Session
from tests.server.releases import Gates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.server.harness import Edge, Servers

SOURCE = """
import gates
import helper

REGISTRY = {}

class Settings:
    pass

class Model:
    def load(self):
        print("loading")
        self.settings = Settings()
        self.count = 0
        REGISTRY["loaded"] = True

    def predict(self, x):
        if x == "stream":
            return self.stream()
        return ["VERSION", helper.name(), self.count, isinstance(self.settings, Settings), REGISTRY]

    def stream(self):
        yield "VERSION "
        gates.wait("go")
        from late import word
        yield "VERSION " + word
"""
KEEP = {MODEL: ["REGISTRY", "Settings"]}
FILES = {
    "packages/helper.py": "def name():\n    return 'helper'\n",
    "packages/late.py": "word = 'one'\n",
    "gates/.keep": "",
}


def source(version: str) -> str:
    """Return the model in a version."""
    return SOURCE.replace("VERSION", version)


@pytest.fixture
def edge(servers: Servers) -> Edge:
    """Serve version one, ready for edits."""
    return servers.start(source("one"), files=FILES, environment="development", control=True)


@pytest.fixture
def watch(edge: Edge) -> Iterator[Callable[[], Session]]:
    """Give what opens sessions with the server."""
    sessions: list[Session] = []

    def open_session() -> Session:
        sessions.append(Session(edge.control))
        return sessions[-1]

    yield open_session
    for session in sessions:
        session.close()


def loads(edge: Edge) -> int:
    """Return how often the model was loaded: once at least, of which the log tells a moment later."""
    edge.wait_log("loading")
    return sum(record["message"] == "loading" for record in edge.records)


def test_new_code_takes_over_what_was_loaded(edge: Edge, watch: Callable[[], Session]) -> None:
    """After a swap new requests run new code on the objects that `load` made, which does not run again."""
    session = watch()
    assert (session.hello["event"], session.hello["generation"]) == ("hello", 1)
    assert set(session.hello["files"]) >= {MODEL, "packages/helper.py"}

    answer = session.edit(edge, {MODEL: source("two")}, keep=KEEP)

    assert (answer["event"], answer["how"], answer["generation"]) == ("applied", "swap", 2)
    response = edge.post("/predict", 1)
    assert response.json() == ["two", "helper", 0, True, {"loaded": True}]
    assert response.headers["x-truss-generation"] == "2"
    assert loads(edge) == 1


def test_a_stream_ends_on_the_code_it_began_with(edge: Edge, watch: Callable[[], Session]) -> None:
    """A stream that runs during a swap stays with its generation, also in what it imports only afterwards."""
    session = watch()
    with edge.stream("stream") as old:
        pieces = old.iter_text()
        assert next(pieces) == "one "
        changed = {MODEL: source("two"), "packages/late.py": "word = 'two'\n"}
        session.edit(edge, changed, modules=list(changed), keep=KEEP)
        edge.gates.open("go")
        assert "".join(pieces) == "one one"
        assert old.headers["x-truss-generation"] == "1"

    with edge.stream("stream") as new:
        assert "".join(new.iter_text()) == "two two two"


def test_a_helper_is_swapped_with_what_imports_it(edge: Edge, watch: Callable[[], Session]) -> None:
    """A module of packages/ that changed is executed again, and the model that imports it."""
    changed = {"packages/helper.py": "def name():\n    return 'other'\n"}

    answer = watch().edit(edge, changed, modules=["packages/helper.py", MODEL], keep=KEEP)

    assert answer["how"] == "swap"
    assert edge.call(1) == ["one", "other", 0, True, {"loaded": True}]


def test_what_affects_loading_is_loaded_beside(edge: Edge, watch: Callable[[], Session]) -> None:
    """A second worker loads the new version; the old one ends its streams and then itself."""
    (before,) = edge.workers()
    with edge.stream("stream") as old:
        pieces = old.iter_text()
        assert next(pieces) == "one "
        answer = watch().edit(edge, {MODEL: source("two").replace("count = 0", "count = 7")}, "load")
        assert (answer["event"], answer["how"], answer["generation"]) == ("applied", "load", 2)
        assert edge.call(1)[:3] == ["two", "helper", 7]
        edge.gates.open("go")
        assert "".join(pieces) == "one one"

    wait_until(lambda: before not in edge.workers(), 10, what="the end of the old worker")
    assert len(edge.workers()) == 1


def test_where_memory_is_scarce_the_old_worker_leaves_first(edge: Edge, watch: Callable[[], Session]) -> None:
    """With `replace` two workers never live at once, and requests wait meanwhile instead of failing."""
    slow = source("two").replace('print("loading")', 'print("slowly"); gates.wait("loaded")')
    session = watch()
    with ThreadPoolExecutor() as pool:
        edit = pool.submit(session.edit, edge, {MODEL: slow}, "load", strategy="replace")
        edge.wait_log("slowly")
        assert len(edge.workers()) == 1
        call = pool.submit(edge.call, 1)
        Gates(edge.control / "versions/2/gates").open("loaded")
        assert edit.result()["generation"] == 2
        assert call.result()[0] == "two"


@pytest.mark.parametrize("strategy", ["beside", "replace"])
def test_a_replacement_that_is_given_up(servers: Servers, strategy: str) -> None:
    """The next version takes the place at once, and does not wait for the one before to come back; calls do."""
    stuck = 'gates.is_open("stuck") and gates.wait("never")'
    first = source("one").replace('print("loading")', stuck)
    edge = servers.start(first, files=FILES, environment="development", control=True)
    with closing(Session(edge.control)) as session, ThreadPoolExecutor() as pool:
        edge.gates.open("stuck")
        session.begin_edit(edge, {MODEL: HANGING["load"]}, "load", strategy="replace")
        edge.wait_log("for ever")
        call = pool.submit(edge.call, 1)
        session.say({"do": "cancel"})
        assert session.hear()["event"] == "cancelled"
        answer = session.edit(edge, {MODEL: source("three")}, "load", strategy=strategy)

        assert answer["event"] == "applied"
        assert call.result()[0] == "three"
        wait_until(lambda: len(edge.workers()) <= 2, 10, what="the end of other workers")


def test_a_replacement_that_is_given_up_for_nothing(edge: Edge, watch: Callable[[], Session]) -> None:
    """Where no other version takes the place, the one before comes back, and calls have waited for it."""
    session = watch()
    with ThreadPoolExecutor() as pool:
        session.begin_edit(edge, {MODEL: HANGING["load"]}, "load", strategy="replace")
        edge.wait_log("for ever")
        call = pool.submit(edge.call, 1)
        session.say({"do": "cancel"})

        assert session.hear()["event"] == "cancelled"
        assert call.result()[0] == "one"
    assert session.edit(edge, {MODEL: source("two")}, keep=KEEP)["how"] == "swap"


@pytest.mark.parametrize("how", ["swap", "load"])
@pytest.mark.parametrize("strategy", ["beside", "replace"])
@pytest.mark.parametrize(
    "case",
    [
        ("import not_there\n", "ModuleNotFoundError: No module named 'not_there'", 'model/model.py", line 1'),
        ("class Model\n", "SyntaxError", 'model/model.py", line 1'),
        ("class Model:\n    pass\n", "ModelDefinitionError", ""),
    ],
)
def test_a_broken_edit_changes_nothing(
    edge: Edge, watch: Callable[[], Session], how: str, strategy: str, case: tuple[str, str, str]
) -> None:
    """Its traceback comes back, what served serves, and the disk has what serves."""
    broken, error, place = case
    session = watch()
    session.edit(edge, {MODEL: source("two")}, keep=KEEP)

    answer = session.edit(edge, {MODEL: broken}, how, strategy=strategy)

    assert (answer["event"], answer["generation"]) == ("failed", 2)
    assert answer["error"].startswith(error)
    assert place in answer["traceback"]
    edge.wait_ready()
    assert edge.call(1)[0] == "two"
    assert (edge.control / "current" / MODEL).read_text() == source("two")
    assert session.edit(edge, {MODEL: source("three")}, keep=KEEP)["event"] == "applied"


def test_a_class_that_cannot_be_swapped_is_loaded(edge: Edge, watch: Callable[[], Session]) -> None:
    """An instance that has slots cannot be taken over: the edit loads again and says why."""
    session = watch()
    slots = source("two").replace("class Model:", "class Model:\n    __slots__ = ('settings', 'count')\n")
    assert session.edit(edge, {MODEL: slots}, "load")["how"] == "load"

    answer = session.edit(edge, {MODEL: slots.replace("two", "three")})

    assert (answer["event"], answer["how"]) == ("applied", "load")
    assert "__slots__" in answer["because"]
    assert edge.call(1)[0] == "three"


def test_an_edit_of_something_else_is_refused(edge: Edge, watch: Callable[[], Session]) -> None:
    """An edit names what it applies to; where that is not what runs, nothing is changed and the state is told."""
    answer = watch().edit(edge, {MODEL: source("two")}, base="0123")

    assert answer["event"] == "mismatch"
    assert MODEL in answer["files"]
    assert edge.call(1)[0] == "one"


@pytest.mark.parametrize("path", ["../outside.py", "/tmp/outside.py", "model/../../outside.py"])
def test_paths_stay_in_the_package(edge: Edge, watch: Callable[[], Session], path: str) -> None:
    """A path that leads out of the package is refused, and the rest of the edit with it."""
    session = watch()

    for edit in ({"files": {path: "", MODEL: source("two")}}, {"files": {}, "delete": [path]}):
        answer = session.edit(edge, **edit)
        assert (answer["event"], "leads out of the package" in answer["error"]) == ("failed", True)
    assert edge.call(1)[0] == "one"


def test_one_session_at_a_time(edge: Edge, watch: Callable[[], Session]) -> None:
    """A second watcher is told of the first; when that one is gone, however it went, its place is free."""
    first = watch()
    assert watch().hello["who"] == "a test"
    first.close()

    wait_until(lambda: watch().hello["event"] == "hello", 10, what="the place of the first")


def test_files_that_go_are_gone(edge: Edge, watch: Callable[[], Session]) -> None:
    """A deleted module cannot be imported any more."""
    model = source("two").replace(
        "from late import word", "word = __import__('importlib').util.find_spec('late')"
    )

    watch().edit(edge, {MODEL: model}, delete=["packages/late.py"], keep=KEEP)

    edge.gates.open("go")
    assert not (edge.control / "current/packages/late.py").exists()
    assert (edge.control / "current/packages/helper.py").exists()


def test_a_restart_comes_back_with_the_last_good_version(
    edge: Edge, watch: Callable[[], Session], servers: Servers
) -> None:
    """A worker that dies comes back with the newest code, and so does a server that is started again."""
    session = watch()
    session.edit(edge, {MODEL: source("two")}, keep=KEEP)
    session.edit(edge, {MODEL: "import broken"})
    (pid,) = edge.workers()

    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: edge.workers() not in ([], [pid]), 20, what="the next worker")
    edge.wait_ready()
    assert edge.call(1)[0] == "two"

    again = servers.start(source("one"), environment="development", options=["--control", str(edge.control)])
    response = again.post("/predict", 1)
    assert (response.json()[0], response.headers["x-truss-generation"]) == ("two", "2")


def test_what_nothing_needs_is_removed(edge: Edge, watch: Callable[[], Session]) -> None:
    """Versions go when their worker has, as edits come."""
    session = watch()
    for version in ("two", "three", "four"):
        session.edit(edge, {MODEL: source(version)}, keep=KEEP)
    session.edit(edge, {MODEL: source("five")}, "load")
    wait_until(lambda: len(edge.workers()) == 1, 10, what="the end of the old worker")

    for version in ("six", "seven", "eight"):
        session.edit(edge, {MODEL: source(version)}, keep=KEEP)

    def kept() -> list[str]:
        return sorted(path.name for path in (edge.control / "versions").iterdir())

    wait_until(lambda: kept() == ["5", "6", "7", "8"], 10, what="the end of older versions")


def test_the_channel_is_for_its_user_only(edge: Edge, servers: Servers) -> None:
    """Nobody else can open the socket, and a deployment that is not for development has none."""
    assert edge.control.stat().st_mode & 0o777 == 0o700
    assert (edge.control / "control.sock").stat().st_mode & 0o777 == 0o600
    assert not servers.start(source("one"), files=FILES).control.exists()


HANGING = {
    "swap": source("two") + 'gates.wait("never")\n',
    "load": source("two").replace('print("loading")', 'print("for ever"); gates.wait("never")'),
}


@pytest.mark.parametrize(("how", "strategy"), [("swap", "beside"), ("load", "beside"), ("load", "replace")])
def test_a_watcher_that_leaves_meanwhile(
    edge: Edge, watch: Callable[[], Session], how: str, strategy: str
) -> None:
    """When a watcher leaves during an edit its place is free at once; the edit is discarded, later ones are taken."""
    session = watch()
    session.begin_edit(edge, {MODEL: HANGING[how]}, how, keep=KEEP, strategy=strategy)
    wait_until((edge.control / "versions/2").exists, 10, what="the edit")
    session.close()

    def begin() -> list[Session]:
        return [found for found in [watch()] if found.hello["event"] == "hello"]

    (again,) = wait_until(begin, 5, what="the place")
    assert again.edit(edge, {MODEL: source("three")}, keep=KEEP)["event"] == "applied"
    assert edge.call(1)[0] == "three"
    wait_until(lambda: len(edge.workers()) == 1, 10, what="the end of other workers")
    assert (edge.control / "current" / MODEL).read_text() == source("three")
    assert not (edge.control / "versions/2").exists()


def test_a_death_is_told(edge: Edge, watch: Callable[[], Session]) -> None:
    """A watcher is told when the model's process dies, and when it is back."""
    session = watch()
    (pid,) = edge.workers()

    os.kill(pid, signal.SIGKILL)

    died = session.hear()
    assert (died["event"], died["status"], "SIGKILL" in died["error"]) == ("state", "restarting", True)
    assert session.hear() == {"event": "state", "status": "ready", "error": ""}


def test_files_in_place_of_folders(edge: Edge, watch: Callable[[], Session]) -> None:
    """A folder becomes a file and a file a folder; a folder without files is gone."""
    session = watch()
    session.edit(edge, {"data/x/y": "1", "data/z": "2", "packages/p/q.py": ""}, "load")

    edit = {"data/x": "3", "data/z/y": "4"}
    session.edit(edge, edit, "load", delete=["data/x/y", "data/z", "packages/p/q.py"])

    current = edge.control / "current"
    assert [(current / name).read_text() for name in edit] == ["3", "4"]
    assert not (current / "packages/p").exists()


def test_disk_does_not_double(edge: Edge, watch: Callable[[], Session]) -> None:
    """What an edit leaves alone takes no more room, however large it is, and is what it was."""
    session = watch()
    weights = os.urandom(1 << 20) * 100
    assert session.edit(edge, {"data/weights.bin": weights}, "load")["event"] == "applied"
    first = (edge.control / "versions/2/data/weights.bin").stat()

    session.edit(edge, {MODEL: source("two")}, keep=KEEP)

    current = edge.control / "current/data/weights.bin"
    assert (current.stat().st_ino, current.stat().st_size) == (first.st_ino, len(weights))
    assert current.read_bytes() == weights


def test_a_spare_worker_is_what_loads_next(edge: Edge, watch: Callable[[], Session]) -> None:
    """A process waits for the next version to load; one that is asked for by hand is started anew."""
    session = watch()
    (spare,) = wait_until(edge.spares, 10, what="a spare worker")

    assert session.edit(edge, {MODEL: source("two")}, how="load")["how"] == "load"
    assert edge.post("/predict", 1).json()[0] == "two"
    assert spare in edge.workers()

    (spare,) = wait_until(edge.spares, 10, what="another spare worker")
    session.say({"do": "reload"})
    assert session.hear()["event"] == "applied"
    assert spare not in edge.workers()


def test_a_spare_worker_after_a_broken_load(edge: Edge, watch: Callable[[], Session]) -> None:
    """Also what mends a broken edit is loaded by a process that waits."""
    session = watch()
    (spare,) = wait_until(edge.spares, 10, what="a spare worker")

    assert session.edit(edge, {MODEL: "1 / 0\n"}, how="load")["event"] == "failed"

    assert wait_until(edge.spares, 10, what="another spare worker") != [spare]


def test_a_spare_worker_that_ends_is_not_missed(edge: Edge, watch: Callable[[], Session]) -> None:
    """A version is loaded also where the process that waited for it was killed."""
    session = watch()
    (spare,) = wait_until(edge.spares, 10, what="a spare worker")
    os.kill(spare, signal.SIGKILL)
    wait_until(lambda: spare not in edge.spares(), 10, what="its end")

    assert session.edit(edge, {MODEL: source("two")}, how="load")["event"] == "applied"
    assert edge.post("/predict", 1).json()[0] == "two"


def test_a_spare_worker_that_hangs_is_not_waited_for(edge: Edge, watch: Callable[[], Session]) -> None:
    """A version is loaded by another process where the one that waited for it does not begin to."""
    session = watch()
    (spare,) = wait_until(edge.spares, 10, what="a spare worker")
    os.kill(spare, signal.SIGSTOP)

    assert session.edit(edge, {MODEL: source("two")}, how="load")["event"] == "applied"
    assert edge.call(1)[0] == "two"
    assert spare not in {*edge.workers(), *edge.spares()}


def test_a_load_that_is_not_wanted_any_more(edge: Edge, watch: Callable[[], Session]) -> None:
    """A load is given up when that is asked for; its version is gone, and the next edit does not wait for it."""
    session = watch()
    waits = source("two").replace('print("loading")', 'print("waiting"); gates.wait("never")')
    session.begin_edit(edge, {MODEL: waits}, how="load")
    edge.wait_log("waiting")

    session.say({"do": "cancel"})
    assert session.hear() == {"event": "cancelled", "generation": 1}
    wait_until(lambda: len(edge.workers()) == 1, 10, what="the end of the worker that loads")
    session.say({"do": "cancel"})  # of nothing

    assert session.edit(edge, {MODEL: source("three")}, keep=KEEP)["how"] == "swap"
    assert edge.post("/predict", 1).json()[0] == "three"


def test_a_swap_that_is_not_wanted_any_more(edge: Edge, watch: Callable[[], Session]) -> None:
    """A swap whose import does not end is given up when that is asked for, and the next edit is loaded."""
    session = watch()
    stuck = source("two") + 'print("stuck"); gates.wait("never", 1000)\n'
    session.begin_edit(edge, {MODEL: stuck}, keep=KEEP)
    edge.wait_log("stuck")

    session.say({"do": "cancel"})
    assert session.hear() == {"event": "cancelled", "generation": 1}
    assert edge.call(1)[0] == "one"

    assert session.edit(edge, {MODEL: source("three")}, keep=KEEP)["how"] == "load"
    assert edge.call(1)[0] == "three"
    wait_until(lambda: len(edge.workers()) == 1, 10, what="the end of the worker that imports")


def test_builtins_are_everybodys(edge: Edge, watch: Callable[[], Session]) -> None:
    """What own code or a library adds to the builtins, `gettext.install` for one, all code has."""
    code = """
import builtins
import gettext

class Model:
    def load(self):
        gettext.install("falcon")
        builtins.word = "one"

    def predict(self, x):
        return [_(word), NUMBER]
"""
    session = watch()
    session.edit(edge, {MODEL: code.replace("NUMBER", "1")}, how="load")
    assert edge.post("/predict", 1).json() == ["one", 1]

    assert session.edit(edge, {MODEL: code.replace("NUMBER", "2")})["how"] == "swap"
    assert edge.post("/predict", 1).json() == ["one", 2]


def test_imports_go_on_during_a_slow_swap(edge: Edge, watch: Callable[[], Session]) -> None:
    """A coroutine that imports what its generation has imported before does not wait for the import of the next one."""
    code = """
import gates
import helper
import parts.word
#SLOW
class Model:
    async def predict(self, x):
        import helper
        import parts.word
        from parts.word import word
        from parts import word as module
        return ["VERSION", helper.name(), word, module.word, parts.word.word]
"""
    files = {"packages/parts/__init__.py": "", "packages/parts/word.py": "word = 'w'\n"}
    session = watch()
    session.edit(edge, {MODEL: code, **files})
    expected = ["VERSION", "helper", "w", "w", "w"]
    assert edge.post("/predict", 1).json() == expected

    session.begin_edit(edge, {MODEL: code.replace("#SLOW", "print('importing'); gates.wait('slow')")})
    edge.wait_log("importing")
    assert edge.post("/predict", 1).json() == expected
    edge.gates.open("slow")

    answer = session.hear()
    assert (answer["event"], answer.get("how")) == ("applied", "swap"), answer
    assert edge.post("/predict", 1).json() == expected


def test_versions_that_nobody_uses_are_removed(edge: Edge, watch: Callable[[], Session]) -> None:
    """However many edits come, the files of a few versions are kept: those whose code can still run."""
    session = watch()
    shared = "packages/shared.py"
    text = source("x").replace("import helper\n", "import helper\nimport shared\n")
    session.edit(edge, {shared: "FILE = __file__\n", MODEL: text}, modules=[MODEL], keep=KEEP)
    for number in range(40):
        edited = text.replace("return [", "open(shared.FILE).close(); return [").replace("x", f"x{number}")
        answer = session.edit(edge, {MODEL: source(f"v{number}") if number % 2 else edited}, keep=KEEP)
        assert (answer["event"], answer["how"]) == ("applied", "swap"), answer
        assert edge.post("/predict", 1).status_code == 200

    versions = sorted(int(path.name) for path in (edge.control / "versions").iterdir())
    assert len(versions) < 20
    assert versions[-1] == 42
