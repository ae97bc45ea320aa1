"""The target `local`: real servers as background processes, whatever happens to them or to the tool."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from http import HTTPStatus
from http.client import HTTPConnection
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.cli.test_environment import Lines
from tests.harness import eventually
from tests.wheelhouse import make_wheel
from truss.errors import BuildError, EngineError, NotDeployedError, PackageError, UsageError
from truss.plan import plan_release
from truss.state import is_held, locked
from truss.targets import local, local_releases, local_server
from truss.targets.local import LocalTarget
from truss.targets.local_server import Server, signals_deferred
from truss_server.protocol import EXIT_LOAD_FAILED, READY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from truss.release import Deployment, Release
    from truss.targets import Target

MODEL = """\
import os, sys, time

class Model:
    def load(self):
        print("loading", flush=True)

    def predict(self, inputs):
        if inputs == "pid":
            return [os.getppid(), os.getpid()]
        if inputs == "where":
            return [sys.executable, os.getcwd(), sorted(os.listdir())]
        if isinstance(inputs, float):
            print("at work", flush=True)
            time.sleep(inputs)
        return [VERSION, os.environ.get("GREETING")]
"""

ROOT = Path(__file__).parents[3]

STUBBORN = """\
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "300"])
print(os.getpid(), child.pid, flush=True)
time.sleep(300)
"""
"""A server that will not end, and neither will what it has started."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Give a folder for state; whatever server was started in it is ended."""
    folder = tmp_path / "home"
    yield folder
    for place in LocalTarget(folder)._places():
        for server in place.servers():
            server.kill()


@pytest.fixture
def target(home: Path) -> LocalTarget:
    """Give a target."""
    return LocalTarget(home)


class Package:
    """A package that answers with its version."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "model").mkdir(parents=True)
        self.write()

    def write(self, version: int = 1, config: str = "", model: str = MODEL) -> None:
        """Write the package anew."""
        (self.folder / "config.yaml").write_text(config)
        (self.folder / "model/model.py").write_text(model.replace("VERSION", str(version)))

    def build(self, target: Target) -> Release:
        """Build it."""
        return target.build(plan_release(self.folder), Lines())


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """Give a package."""
    return Package(tmp_path / "falcon")


def call(deployment: Deployment, inputs: object = None) -> Any:
    """Call a deployment's model."""
    with closing(HTTPConnection(urlsplit(deployment.url).netloc, timeout=30)) as connection:
        connection.request("POST", "/predict", json.dumps(inputs), {"content-type": "application/json"})
        return json.load(connection.getresponse())


def is_ready(deployment: Deployment) -> bool:
    """Return whether a deployment's model is loaded."""
    with closing(HTTPConnection(urlsplit(deployment.url).netloc, timeout=30)) as connection:
        try:
            connection.request("GET", READY)
            return connection.getresponse().status == HTTPStatus.OK
        except OSError:
            return False


def push(
    target: Target, package: Package, environment: str = "production", port: int | None = None
) -> Deployment:
    """Build, start, wait and promote, as `truss push` does."""
    candidate = target.start(package.build(target), environment, port=port)
    eventually(lambda: is_ready(candidate), seconds=30)
    target.promote(candidate)
    return candidate


def deploy(
    target: Target, package: Package, environment: str = "production", port: int | None = None
) -> Deployment:
    """Build, start and promote, for tests in which nobody calls the model."""
    candidate = target.start(package.build(target), environment, port=port)
    target.promote(candidate)
    return candidate


def said_in_log(target: Target, deployment: Deployment, text: str) -> str:
    """Wait for a line in a deployment's log and return it."""
    return next(line for line in target.logs(deployment, follow=True) if text in line)


def is_running(pid: int) -> bool:
    """Return whether a process lives; one that only waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_from_package_to_answer(target: LocalTarget, package: Package) -> None:
    """A package is built, started, listed once it is promoted, answers, and ends without a trace."""
    release = package.build(target)
    assert (release.model, release.number) == ("falcon", 1)
    before = datetime.now(timezone.utc)

    candidate = target.start(release, "production", port=None)

    assert target.deployments() == []
    assert target.exit_code(candidate) is None
    eventually(lambda: is_ready(candidate), seconds=30)
    target.promote(candidate)
    (listed,) = target.deployments()
    assert listed == candidate
    assert (listed.model, listed.environment, listed.release, listed.target) == (
        "falcon",
        "production",
        1,
        "local",
    )
    assert listed.url.startswith("http://127.0.0.1:")
    assert before <= listed.started <= datetime.now(timezone.utc)
    assert listed.running
    assert call(listed) == [1, None]
    pids = call(listed, "pid")

    target.stop(listed)

    assert target.deployments() == []
    assert target.exit_code(listed) == 0
    assert [pid for pid in pids if is_running(pid)] == []
    target.stop(listed)  # once more is once too much, but harmless


def test_keys_of_images_are_named(target: LocalTarget, package: Package) -> None:
    """What only an image can have is said to be ignored."""
    package.write(config="system_packages: [ffmpeg]\nbuild_commands: [exit 3]\nbase_image: {image: a}\n")
    progress = Lines()
    target.build(plan_release(package.folder), progress)

    (note,) = [line for line in progress.details if "system_packages" in line]
    assert "base_image, system_packages, build_commands" in note


def test_what_the_model_sees(home: Path, package: Package) -> None:
    """The model runs in its release's folder, which has data and packages on every target, with its variables."""
    package.write(config="environment_variables: {GREETING: 1.10}\ndata_dir: weights\n")
    (package.folder / "weights").mkdir()
    target = LocalTarget(home, environ={**os.environ, "GREETING": "of the user"})

    deployment = push(target, package)

    python, folder, names = call(deployment, "where")
    assert python == sys.executable
    assert folder == package.build(target).reference
    assert sorted({*names} - {"__pycache__"}) == [
        "config.yaml",
        "model",
        "packages",
        "release.json",
        "weights",
    ]
    assert call(deployment) == [1, "1.10"]


def test_requirements(home: Path, package: Package, tmp_path: Path) -> None:
    """A model with requirements runs in an environment that holds them and nothing of ours."""
    make_wheel(tmp_path / "wheels", "tiny", source="answer = 42\n")
    package.write(
        config="requirements: [tiny]\n",
        model="import importlib.metadata as m, tiny\nclass Model:\n    def predict(self, inputs):\n"
        "        return [tiny.answer, sorted(d.name for d in m.distributions())]\n",
    )
    environ = {**os.environ, "PIP_FIND_LINKS": str(tmp_path / "wheels"), "PIP_NO_INDEX": "1"}

    deployment = push(LocalTarget(home, environ=environ), package)

    assert call(deployment) == [42, ["tiny"]]


def test_next_release(target: LocalTarget, package: Package) -> None:
    """The next release takes the place of the one before it, which finishes what it has begun."""
    first = push(target, package)
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(call(first, 1.0)))
    caller.start()
    said_in_log(target, first, "at work")
    package.write(version=2)

    second = push(target, package)

    caller.join(10)
    assert answers == [[1, None]]
    assert call(second) == [2, None]
    assert [(one.release, one.id) for one in target.deployments()] == [(2, second.id)]
    assert target.exit_code(first) == 0
    with pytest.raises(NotDeployedError):
        list(target.logs(first, follow=False))


def test_environments_side_by_side(target: LocalTarget, package: Package) -> None:
    """Environments do not touch each other; the newest deployment is listed first."""
    production = deploy(target, package)
    package.write(version=2)
    deploy(target, package, "development")

    assert [one.environment for one in target.deployments()] == ["development", "production"]
    assert all(one.running for one in target.deployments())
    target.stop(production)
    assert [one.environment for one in target.deployments()] == ["development"]


def test_discard(target: LocalTarget, package: Package) -> None:
    """A candidate that is discarded is gone at once, and what ran before runs on."""
    current = deploy(target, package)
    package.write(version=2)
    candidate = target.start(package.build(target), "production", port=None)
    eventually(lambda: is_ready(candidate), seconds=30)
    pids = call(candidate, "pid")

    target.discard(candidate)
    target.discard(candidate)

    assert [pid for pid in pids if is_running(pid)] == []
    assert target.deployments() == [current]
    assert target.exit_code(candidate) is not None
    assert deploy(target, package).release == 2


def test_discard_of_what_was_promoted(target: LocalTarget, package: Package) -> None:
    """Once it is promoted a deployment is no candidate, and discarding it does nothing."""
    deployment = deploy(target, package)

    target.discard(deployment)
    target.promote(deployment)

    assert target.deployments() == [deployment]


def test_stop_of_a_candidate(target: LocalTarget, package: Package) -> None:
    """Stopping something else than the deployment leaves the deployment listed."""
    current = deploy(target, package)
    candidate = target.start(package.build(target), "production", port=None)

    target.stop(candidate)

    assert target.deployments() == [current]
    target.discard(candidate)


def test_load_that_fails(target: LocalTarget, package: Package) -> None:
    """The exit code and the log of a model that cannot be loaded are there until it is discarded."""
    package.write(model=MODEL.replace('print("loading", flush=True)', "raise OSError('no weights')"))
    candidate = target.start(package.build(target), "production", port=None)

    lines = list(target.logs(candidate, follow=True))

    eventually(lambda: target.exit_code(candidate) == EXIT_LOAD_FAILED)
    assert any("no weights" in json.loads(line).get("exc_info", "") for line in lines)
    target.discard(candidate)


def test_server_that_was_killed(home: Path, target: LocalTarget, package: Package) -> None:
    """A server that was killed is listed as not running, tells its log, and can be stopped or replaced."""
    deployment = push(target, package)
    edge, worker = call(deployment, "pid")
    said_in_log(target, deployment, "loading")
    os.kill(edge, signal.SIGKILL)

    eventually(lambda: not target.deployments()[0].running)

    eventually(lambda: not is_running(worker))
    assert target.exit_code(deployment) == 128 + signal.SIGKILL
    assert LocalTarget(home).exit_code(deployment) == local.UNKNOWN
    assert any("loading" in line for line in target.logs(deployment, follow=True))
    replacement = deploy(target, package)
    assert target.deployments() == [replacement]


def test_seen_by_another_tool(home: Path, target: LocalTarget, package: Package) -> None:
    """Another run of the tool lists, reads and ends what this one has started."""
    deployment = push(target, package)
    other = LocalTarget(home)

    assert other.deployments() == [deployment]
    assert other.exit_code(deployment) is None
    assert said_in_log(other, deployment, "loading") in other.logs(deployment, follow=False)
    other.stop(deployment)
    assert target.deployments() == []
    eventually(lambda: target.exit_code(deployment) == 0)


def test_pid_that_is_somebody_elses(home: Path, target: LocalTarget, package: Package) -> None:
    """After a restart of the machine a recorded process id may be anybody's: nobody is signalled."""
    deployment = deploy(target, package)
    (server,) = (place.current() for place in target._places())
    assert server is not None
    server.kill()
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as innocent:
        record = json.loads((server.folder / "server.json").read_text())
        (server.folder / "server.json").write_text(json.dumps({**record, "pid": innocent.pid}))

        assert [one.running for one in LocalTarget(home).deployments()] == [False]
        LocalTarget(home).stop(deployment)

        assert innocent.poll() is None
        innocent.kill()
    assert target.deployments() == []


def test_server_that_will_not_end(home: Path, package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not end in its time is killed with all it has started."""
    package.write(config="runtime: {drain_timeout: 0}\n")
    monkeypatch.setattr(local, "STOP_MARGIN", 0.1)
    monkeypatch.setattr(local_server, "INSIST", 0.1)
    target = LocalTarget(home, server_command=[sys.executable, "-c", STUBBORN])
    candidate = target.start(package.build(target), "production", port=None)
    target.promote(candidate)
    pids = [int(pid) for pid in next(target.logs(candidate, follow=True)).split()]
    assert [is_running(pid) for pid in pids] == [True, True]

    target.stop(candidate)

    assert target.exit_code(candidate) == 128 + signal.SIGKILL
    eventually(lambda: not any(map(is_running, pids)))


def test_server_that_cannot_be_started(home: Path, package: Package) -> None:
    """A server that the system does not start is an error, and nothing is left of it."""
    target = LocalTarget(home, server_command=["/no/such/python"])

    with pytest.raises(EngineError, match="The server cannot be started"):
        target.start(package.build(target), "production", port=None)

    assert [place.servers() for place in target._places()] == [[]]
    assert list(home.glob("local/falcon/environments/production/servers/*")) == []


def test_log(home: Path, package: Package) -> None:
    """The log is followed line by line while it is written, to the last line even if it is unfinished."""
    script = "import sys; print('one', flush=True); sys.stdin.read(); print('caf\\u00e9\\n\\nlast', end='')"
    target = LocalTarget(
        home,
        environ={**os.environ, "PYTHONIOENCODING": "utf-8"},
        server_command=[sys.executable, "-c", script],
    )
    candidate = target.start(package.build(target), "production", port=None)

    assert list(target.logs(candidate, follow=True)) == ["one", "café", "", "last"]
    assert list(target.logs(candidate, follow=False)) == ["one", "café", "", "last"]
    later = target.logs(candidate, follow=False)
    target.discard(candidate)
    with pytest.raises(NotDeployedError):
        next(later)
    with pytest.raises(NotDeployedError):
        target.logs(candidate, follow=False)


FLOOD = """\
class Model:
    def predict(self, inputs):
        for number in range(inputs):
            print(f"line {number} " + 1000 * "x")
        print("the end")
"""


def test_a_log_is_kept_to_a_size(home: Path, target: LocalTarget, package: Package) -> None:
    """A flood leaves at most two files of ten megabytes; who follows misses nothing, who reads later has the end."""
    package.write(model=FLOOD)
    deployment = push(target, package)
    log = target.logs(deployment, follow=True)

    with ThreadPoolExecutor() as pool:
        flood = pool.submit(call, deployment, 25_000)
        followed = list(takewhile(lambda line: "the end" not in line, log))
        assert flood.result() is None

    printed = [line for line in followed if "line " in line]
    assert len(printed) == 25_000
    kept = [line for line in target.logs(deployment, follow=False) if "line " in line]
    assert kept == printed[-len(kept) :]
    (folder,) = home.glob("local/*/environments/production/servers/*")
    assert sorted(path.name for path in folder.glob("log*")) == ["log", "log.1"]
    assert sum(path.stat().st_size for path in folder.glob("log*")) < 21_000_000


@contextmanager
def taken_port() -> Iterator[int]:
    """Listen on a port as some other program would."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_port_of_another_program(target: LocalTarget, package: Package) -> None:
    """A port that another program has is named, and nothing is started."""
    deploy(target, package, "development")

    with taken_port() as port, pytest.raises(EngineError) as caught:
        target.start(package.build(target), "production", port=port)

    assert caught.value.message == f"Port {port} is taken."
    assert deploy(target, package, port=port).url == f"http://127.0.0.1:{port}"


def test_port_of_another_deployment(target: LocalTarget, package: Package) -> None:
    """A port that another deployment has is named together with its holder, which is left alone."""
    holder = deploy(target, package, "development")
    port = int(holder.url.rpartition(":")[2])

    with pytest.raises(EngineError) as caught:
        target.start(package.build(target), "production", port=port)

    assert caught.value.message == f"Port {port} is taken by falcon (development, release 1)."
    assert target.deployments() == [holder]


def test_port_that_cannot_be_had(
    target: LocalTarget, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that the system refuses is an error with the system's reason."""
    monkeypatch.setattr(
        local_server, "HOST", "192.0.2.1"
    )  # nobody's; root could bind any port of the loopback

    with pytest.raises(EngineError, match="Port 8080 cannot be used: Cannot assign requested address"):
        target.start(package.build(target), "production", port=8080)


def test_same_port(target: LocalTarget, package: Package) -> None:
    """The next release may have the port of the one before it, which is stopped for it."""
    first = deploy(target, package)
    port = int(first.url.rpartition(":")[2])
    package.write(version=2)

    second = push(target, package, port=port)

    assert second.url == first.url
    assert call(second) == [2, None]
    assert target.deployments() == [second]


def test_same_port_discarded(target: LocalTarget, package: Package) -> None:
    """A candidate that is discarded gives the port back to the one it had displaced."""
    first = deploy(target, package)
    port = int(first.url.rpartition(":")[2])
    package.write(version=2)
    candidate = target.start(package.build(target), "production", port=port)
    assert [one.running for one in target.deployments()] == [False]

    target.discard(candidate)

    (restored,) = target.deployments()
    assert (restored.url, restored.release, restored.running) == (first.url, 1, True)
    eventually(lambda: is_ready(restored), seconds=30)
    assert call(restored) == [1, None]


def test_same_port_that_cannot_be_started(target: LocalTarget, package: Package) -> None:
    """A candidate that cannot be started at all gives the port back too."""
    first = deploy(target, package)
    port = int(first.url.rpartition(":")[2])
    package.write(version=2)
    release = package.build(target)
    (Path(release.reference) / "release.json").unlink()

    with pytest.raises(EngineError, match="Release 2 is damaged"):
        target.start(release, "production", port=port)

    (restored,) = target.deployments()
    assert (restored.url, restored.release, restored.running) == (first.url, 1, True)


def test_equal_digest_is_reused(target: LocalTarget, package: Package) -> None:
    """A package that has not changed is the release it was; one that has is the next."""
    first = package.build(target)
    package.write(version=2)
    second = package.build(target)
    package.write(version=1)

    again = package.build(target)

    assert [first.number, second.number, again.number] == [1, 2, 1]
    assert again == first
    assert first.reference != second.reference


def test_releases_are_pruned(home: Path, target: LocalTarget, package: Package) -> None:
    """Only the last releases and those in use are kept, and numbers are never used again."""
    deploy(target, package, "development")
    for version in range(2, 7):
        package.write(version=version)
        package.build(target)
    package.write(version=7)

    deploy(target, package)

    kept = sorted(int(path.name) for path in (home / "local/falcon/releases").iterdir())
    assert kept == [1, 5, 6, 7]
    package.write(version=2)
    assert package.build(target).number == 8


def test_release_that_was_removed(target: LocalTarget, package: Package) -> None:
    """A release whose folder is gone is an error that says to push again."""
    release = package.build(target)
    (Path(release.reference).parent / "record.json").unlink()

    with pytest.raises(EngineError) as caught:
        target.start(release, "production", port=None)

    assert caught.value.hint == "Push again."


def test_release_that_cannot_be_written(home: Path, target: LocalTarget, package: Package) -> None:
    """Where a release cannot be written the error says what the system says."""
    plan = plan_release(package.folder)
    (home / "local/falcon/releases").mkdir(parents=True)
    with (home / "local/falcon/releases/1").open("w"):  # in the way of the folder
        pass

    with pytest.raises(BuildError, match="The release cannot be written: Not a directory"):
        target.build(plan, Lines())

    assert [path.name for path in (home / "local/falcon/releases").iterdir()] == ["1"]


def test_pruning_waits_for_nobody(home: Path, target: LocalTarget, package: Package) -> None:
    """While another push is writing a release nothing is pruned: that push will do it."""
    for version in range(1, 6):
        package.write(version=version)
        release = package.build(target)
    candidate = target.start(release, "production", port=None)

    with locked(home / "local/falcon/releases.lock", timeout=0, busy="free"):
        target.promote(candidate)

    assert len(list((home / "local/falcon/releases").iterdir())) == 5


@pytest.mark.parametrize("change", ["edit", "remove"])
def test_file_that_changes_while_it_is_pushed(
    home: Path, target: LocalTarget, package: Package, change: str
) -> None:
    """A file that is not any more what was planned is an error, and no half-made release is left."""
    plan = plan_release(package.folder)
    if change == "edit":
        package.write(version=2)
    else:
        (package.folder / "model/model.py").unlink()

    with pytest.raises(PackageError, match=r"model/model\.py has changed while it was pushed"):
        target.build(plan, Lines())

    assert list((home / "local/falcon/releases").iterdir()) == []


def test_what_a_killed_push_left(home: Path, target: LocalTarget, package: Package) -> None:
    """What a push left that was killed while it was writing a release is removed by the next one."""
    half_made = home / "local/falcon/releases/.0badcafe"
    (half_made / "app").mkdir(parents=True)

    package.build(target)

    assert [path.name for path in (home / "local/falcon/releases").iterdir()] == ["1"]


def test_executable_files(target: LocalTarget, package: Package) -> None:
    """Files keep whether they may be run, and no other permission."""
    for name, mode in (("run.sh", 0o700), ("notes.txt", 0o666)):
        path = package.folder / "data" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        path.chmod(mode)

    app = Path(package.build(target).reference)

    assert (app / "data/run.sh").stat().st_mode & 0o777 == 0o755
    assert (app / "data/notes.txt").stat().st_mode & 0o777 == 0o644


def test_two_pushes_of_one_release(home: Path, package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another push is writing a release of the same model, this one says that it waits; but not for ever."""
    monkeypatch.setattr(local_releases, "WAIT", 0.2)
    said = Lines()
    (home / "local/falcon").mkdir(parents=True)

    with (
        locked(home / "local/falcon/releases.lock", timeout=0, busy="free"),
        pytest.raises(EngineError, match="Another push of falcon has been writing"),
    ):
        LocalTarget(home).build(plan_release(package.folder), said)

    assert said.details == ["another push of this model is writing its release; waiting for it"]


def test_two_pushes_to_one_environment(home: Path, package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one push to an environment is under way another one is told; to another environment it is free."""
    monkeypatch.setattr(local, "PATIENCE", 0.2)
    first, second = LocalTarget(home), LocalTarget(home)
    release = package.build(first)
    candidate = first.start(release, "production", port=None)

    with pytest.raises(EngineError, match="Another push of falcon to production is under way"):
        second.start(release, "production", port=None)

    other = second.start(release, "development", port=None)
    second.discard(other)
    first.discard(candidate)
    second.discard(second.start(release, "production", port=None))


@pytest.mark.parametrize("name", ["../x", "Production", "a/b", "", "a b"])
def test_names_stay_inside(target: LocalTarget, package: Package, name: str) -> None:
    """The name of an environment becomes a folder, and cannot lead anywhere else."""
    with pytest.raises(UsageError):
        target.start(package.build(target), name, port=None)


TOOL = """\
import os, signal, sys, time
from pathlib import Path
from tests.cli.targets.test_local import Lines, is_ready
from tests.harness import eventually
from truss.plan import plan_release
from truss.targets.local import LocalTarget

target = LocalTarget(Path(sys.argv[1]))
release = target.build(plan_release(Path(sys.argv[2])), Lines())
"""


@contextmanager
def tool(home: Path, package: Package, script: str) -> Iterator[subprocess.Popen[str]]:
    """Run a script with a target and a release in a process of its own, as a terminal would."""
    with subprocess.Popen(
        [sys.executable, "-c", TOOL + textwrap.dedent(script), str(home), str(package.folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process


def said(process: subprocess.Popen[str]) -> str:
    """Return the next line a process says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_deployment_outlives_the_tool(home: Path, package: Package) -> None:
    """Ctrl-C in the terminal of the tool, or its end, does not reach what it has deployed."""
    with tool(
        home,
        package,
        """
        candidate = target.start(release, "production", port=None)
        eventually(lambda: is_ready(candidate), seconds=30)
        target.promote(candidate)
        print("up", flush=True)
        time.sleep(60)
        """,
    ) as process:
        assert said(process) == "up"
        os.killpg(process.pid, signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]

    (deployment,) = LocalTarget(home).deployments()
    assert deployment.running
    assert call(deployment) == [1, None]
    edge, _ = call(deployment, "pid")
    assert os.getsid(edge) == edge
    assert Path(f"/proc/{edge}/fd/0").readlink() == Path(os.devnull)


def test_tool_that_ends_without_a_word(home: Path, package: Package) -> None:
    """A candidate that nobody has promoted or discarded ends with the tool."""
    with tool(
        home, package, "print(target.start(release, 'production', port=None).url, flush=True)\n"
    ) as process:
        out, err = process.communicate(timeout=30)

    assert out.startswith("http://127.0.0.1:")
    assert err == ""
    assert [place.servers() for place in LocalTarget(home)._places()] == [[]]
    assert list(home.glob("local/falcon/environments/production/servers/*")) == []


def test_tool_that_was_killed(home: Path, target: LocalTarget, package: Package) -> None:
    """The candidate of a tool that was killed is not listed, and ended by the next push."""
    with tool(
        home,
        package,
        "target.start(release, 'production', port=None)\nprint('up', flush=True)\ntime.sleep(60)\n",
    ) as process:
        assert said(process) == "up"
        process.kill()
        process.communicate(timeout=30)
    (orphan,) = target._places()[0].servers()
    assert orphan.alive
    assert target.deployments() == []

    deployment = deploy(target, package)

    assert not is_held(orphan.folder / "alive")
    assert target._places()[0].servers() == [target._places()[0].server(deployment.id)]


def test_folders_without_a_record(home: Path, target: LocalTarget, package: Package) -> None:
    """A push killed in the moment of starting leaves a folder that says nothing: removed, unless somebody has it."""
    servers = home / "local/falcon/environments/production/servers"
    for name in ("abandoned", "in_use"):
        (servers / name).mkdir(parents=True)

    with locked(servers / "in_use/alive", timeout=0, busy="free"):
        deployment = deploy(target, package)

    assert sorted(path.name for path in servers.iterdir()) == sorted(["in_use", deployment.id])


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_start_that_cannot_be_noted(
    home: Path, target: LocalTarget, package: Package, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    """A server of which no record can be written is ended again at once."""
    release = package.build(target)
    started: list[int] = []

    def write(self: Server) -> None:
        started.append(self.pid)
        raise failure

    monkeypatch.setattr(Server, "write", write)

    with pytest.raises((EngineError, KeyboardInterrupt)):
        target.start(release, "production", port=None)

    assert [is_running(pid) for pid in started] == [False]
    assert list(home.glob("local/falcon/environments/production/servers/*")) == []


def test_interrupt_while_draining(home: Path, target: LocalTarget, package: Package) -> None:
    """Ctrl-C while the deployment before is drained ends that one at once; the new one stays."""
    first = push(target, package)
    ended: list[object] = []

    def work() -> None:
        try:
            ended.append(call(first, 60.0))
        except OSError as exc:
            ended.append(exc)

    caller = threading.Thread(target=work)
    caller.start()
    said_in_log(target, first, "at work")
    package.write(version=2)
    with tool(
        home,
        package,
        """
        candidate = target.start(release, "production", port=None)
        eventually(lambda: is_ready(candidate), seconds=30)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        target.promote(candidate)
        """,
    ) as process:
        assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]

    caller.join(30)
    assert len(ended) == 1
    assert ended != [[1, None]]
    assert [(one.release, one.running) for one in target.deployments()] == [(2, True)]
    assert len(target._places()[0].servers()) == 1


def test_signals_wait() -> None:
    """A signal that comes while a server is being started is not lost, and not early; other threads do not mind."""
    reached = []

    def interrupted() -> None:
        with signals_deferred():
            with signals_deferred():
                signal.raise_signal(signal.SIGINT)
                reached.append(1)
            reached.append(2)
        reached.append(0)

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert reached == [1, 2]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def elsewhere() -> None:
        with signals_deferred():
            reached.append(3)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert reached == [1, 2, 3]
