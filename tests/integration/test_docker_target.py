"""Deployments on a real engine: containers that start, are promoted, drain, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.helpers import wait_until
from tests.integration.docker_models import COUNT, SLOW, build, is_ready, messages, predict, start
from truss.errors import EngineError, NotDeployedError
from truss.targets.docker import DockerTarget
from truss_server.protocol import EXIT_LOAD_FAILED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engine import EngineCleaner
    from truss.release import Deployment, Release

pytestmark = [
    pytest.mark.docker,
    # The first test builds the server's image, which is slow on a busy machine.
    pytest.mark.timeout(600),
    # docker-py leaves the sockets of calls that are broken off to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SLOW_SECONDS = 4

BROKEN = """
class Model:
    def load(self):
        raise RuntimeError("no weights")

    def predict(self, request): ...
"""


FORGETS = """
import subprocess
from pathlib import Path

class Model:
    def predict(self, request):
        if request.get("count"):
            stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat")]
            return sum(stat.rpartition(")")[2].split()[0] == "Z" for stat in stats)
        subprocess.run(["sh", "-c", "sleep 0.1 &"])
        return "forgotten"
"""


@pytest.fixture
def release(target: DockerTarget, docker_model: str, tmp_path: Path) -> Release:
    """Give a release of a model that counts."""
    return build(target, tmp_path, docker_model, COUNT)


@pytest.fixture
def port() -> int:
    """Give a port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listed(target: DockerTarget, model: str) -> list[Deployment]:
    """Return the deployments of one model."""
    return [deployment for deployment in target.deployments() if deployment.model == model]


def begin_slow_request(deployment: Deployment, answers: list[str]) -> threading.Thread:
    """Send a request that takes a while; return when the model works on it."""
    begun = threading.Event()

    def ask() -> None:
        request = {"seconds": SLOW_SECONDS}
        # The server may be ended in the middle: what came is the answer then.
        with (
            suppress(httpx.TransportError),
            httpx.stream("POST", f"{deployment.url}/predict", json=request, timeout=30) as response,
        ):
            for text in response.iter_text():
                answers.append(text)
                begun.set()

    thread = threading.Thread(target=ask)
    thread.start()
    assert begun.wait(timeout=20)
    return thread


def test_the_life_of_a_deployment(target: DockerTarget, engine: EngineCleaner, release: Release) -> None:
    """A candidate answers and is not listed, a promoted one is, a stopped one is gone."""
    candidate = start(target, release)

    assert predict(candidate, {"count": 3}) == "0 1 2 "
    assert listed(target, release.model) == []
    assert target.exit_code(candidate) is None

    target.promote(candidate)
    (deployment,) = listed(target, release.model)

    assert deployment == candidate
    assert (deployment.environment, deployment.release, deployment.target) == ("production", 1, "docker")
    assert abs(deployment.started - datetime.now(timezone.utc)) < timedelta(minutes=2)

    target.stop(deployment)

    assert listed(target, release.model) == []
    assert engine.containers(release.model) == []
    with pytest.raises(NotDeployedError):
        target.exit_code(deployment)


def test_a_container_is_closed_by_default(
    target: DockerTarget, engine: EngineCleaner, release: Release
) -> None:
    """It is published on loopback alone, has no capabilities, is nobody's root, and its log is bounded."""
    candidate = start(target, release)
    found = engine.client.inspect_container(candidate.id)
    host, network = found["HostConfig"], found["NetworkSettings"]

    assert {binding["HostIp"] for binding in network["Ports"]["8080/tcp"]} == {"127.0.0.1"}
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert not host["Privileged"]
    assert found["Config"]["User"] == "10001:10001"
    assert found["Config"]["StopTimeout"] == 35
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
    assert host["RestartPolicy"]["Name"] in {"", "no"}

    target.promote(candidate)

    policy = engine.client.inspect_container(candidate.id)["HostConfig"]["RestartPolicy"]
    assert policy["Name"] == "unless-stopped"


def test_the_image_knows_whether_it_is_healthy(
    target: DockerTarget, engine: EngineCleaner, release: Release
) -> None:
    """The health check of the image holds where the model is loaded, and needs no tool that a base may lack."""
    candidate = start(target, release)
    command = engine.client.inspect_container(candidate.id)["Config"]["Healthcheck"]["Test"][1:]

    check = engine.client.exec_create(candidate.id, command)["Id"]
    engine.client.exec_start(check)

    assert engine.client.exec_inspect(check)["ExitCode"] == 0


def test_logs_are_the_servers_lines(target: DockerTarget, release: Release) -> None:
    """JSON, one a line, from the start; following ends when the server does."""
    candidate = start(target, release)
    target.promote(candidate)
    followed: list[str] = []
    thread = threading.Thread(target=lambda: followed.extend(target.logs(candidate, follow=True)))
    thread.start()
    wait_until(lambda: followed, what="the first line")

    at_once = list(target.logs(candidate, follow=False))
    target.stop(candidate)
    thread.join(timeout=20)

    assert not thread.is_alive()
    assert followed[: len(at_once)] == at_once
    assert {"asctime", "levelname", "message", "source"} <= set(json.loads(followed[0]))


def test_a_model_that_cannot_be_loaded(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """The exit code says so, the log says why, and discarding leaves no trace."""
    candidate = target.start(build(target, tmp_path, docker_model, BROKEN), "production", port=None)

    code = wait_until(lambda: target.exit_code(candidate), 30, what="the server to end")
    log = "\n".join(target.logs(candidate, follow=True))
    target.discard(candidate)
    target.discard(candidate)

    assert code == EXIT_LOAD_FAILED
    assert "no weights" in log
    assert engine.containers(docker_model) == []


def test_orphans_are_buried(target: DockerTarget, docker_model: str, tmp_path: Path) -> None:
    """What a model starts and forgets does not stay in the container's table of processes when it has ended."""
    deployment = start(target, build(target, tmp_path, docker_model, FORGETS))

    assert predict(deployment, {}) == '"forgotten"'
    wait_until(lambda: predict(deployment, {"count": True}) == "1", 10, what="the death of what it started")
    wait_until(lambda: predict(deployment, {"count": True}) == "0", 30, what="the end of the dead process")


def test_a_stop_lets_running_requests_finish(target: DockerTarget, docker_model: str, tmp_path: Path) -> None:
    """The stream that runs when a deployment is stopped arrives whole."""
    deployment = start(target, build(target, tmp_path, docker_model, SLOW))
    target.promote(deployment)
    answers: list[str] = []
    thread = begin_slow_request(deployment, answers)

    target.stop(deployment)
    thread.join(timeout=20)

    assert "".join(answers) == "begun ended"


def test_promoting_takes_the_place_of_the_one_before(
    target: DockerTarget, engine: EngineCleaner, release: Release
) -> None:
    """One deployment an environment; another environment is not touched."""
    first = start(target, release)
    target.promote(first)
    other = start(target, release, "staging")
    target.promote(other)

    second = start(target, release)
    target.promote(second)

    assert listed(target, release.model) == [second, other]
    assert sorted(engine.containers(release.model)) == sorted([second.id, other.id])


def test_names_of_models_and_environments_do_not_mix(
    target: DockerTarget, engine: EngineCleaner, tmp_path: Path
) -> None:
    """A model `x-a` in `b` and a model `x` in `a-b` have the same words in the name of their container."""
    name = engine.unused_model_name()
    try:
        one = target.start(build(target, tmp_path / "1", f"{name}-a", COUNT), "b", port=None)
        two = target.start(build(target, tmp_path / "2", name, COUNT), "a-b", port=None)
        target.promote(one)
        target.promote(two)

        assert [d.id for d in listed(target, name)] == [two.id]
        assert [d.id for d in listed(target, f"{name}-a")] == [one.id]
    finally:
        engine.remove_model(name)
        engine.remove_model(f"{name}-a")


def test_a_port_that_somebody_holds(
    target: DockerTarget, engine: EngineCleaner, release: Release, port: int
) -> None:
    """The error names the port, and nothing is left of the attempt."""
    with socket.create_server(("127.0.0.1", port)), pytest.raises(EngineError) as caught:
        target.start(release, "production", port=port)

    assert caught.value.message == f"Port {port} is taken."
    assert engine.containers(release.model) == []


def test_a_port_that_the_deployment_itself_holds(
    target: DockerTarget, engine: EngineCleaner, release: Release, port: int
) -> None:
    """The one before makes room for the candidate, and comes back when that is discarded."""
    first = start(target, release, port=port)
    target.promote(first)

    candidate = start(target, release, port=port)

    assert target.exit_code(first) == 0
    assert predict(candidate, {"count": 1}) == "0 "

    target.discard(candidate)
    wait_until(lambda: target.exit_code(first) is None)

    assert engine.containers(release.model) == [first.id]
    assert wait_until(lambda: _answer(first), 30) == "0 "


def _answer(deployment: Deployment) -> str:
    """Return an answer, empty where none comes yet."""
    try:
        return predict(deployment, {"count": 1})
    except httpx.HTTPError:
        return ""


def test_a_promoted_candidate_is_not_discarded(target: DockerTarget, release: Release) -> None:
    """Cleaning up after an interrupted push does not take down what it has promoted."""
    deployment = start(target, release)
    target.promote(deployment)

    target.discard(deployment)

    assert listed(target, release.model) == [deployment]


def test_a_reader_of_the_log_may_leave(target: DockerTarget, release: Release) -> None:
    """Following can be given up at any line."""
    candidate = start(target, release)

    following = target.logs(candidate, follow=True)
    first = next(iter(following))
    following.close()  # type: ignore[attr-defined]

    assert first == next(iter(target.logs(candidate, follow=False)))


# An HTTP call that Ctrl-C ends leaves its socket to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_while_the_one_before_makes_room(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, port: int, tmp_path: Path
) -> None:
    """It is on its way to its end then, and runs again when the command has ended."""
    slow = build(target, tmp_path, docker_model, SLOW)
    first = start(target, slow, port=port)
    target.promote(first)
    thread = begin_slow_request(first, [])

    with pytest.raises(KeyboardInterrupt), interrupted_after(1.0):
        target.start(slow, "production", port=port)
    thread.join(timeout=20)

    assert engine.containers(docker_model) == [first.id]
    wait_until(lambda: is_ready(target, first), 30)


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Press Ctrl-C some time after the block was entered."""
    timer = threading.Timer(seconds, signal.raise_signal, [signal.SIGINT])
    timer.start()
    try:
        yield
    finally:
        timer.join()


# An HTTP call that Ctrl-C ends leaves its socket to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_while_the_one_before_drains(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """The new one is deployed by then: the one before ends at once, and nothing is half-done."""
    slow = build(target, tmp_path, docker_model, SLOW)
    first = start(target, slow)
    target.promote(first)
    second = start(target, slow)
    thread = begin_slow_request(first, [])

    with pytest.raises(KeyboardInterrupt), interrupted_after(1.0):
        target.promote(second)
    thread.join(timeout=20)

    assert listed(target, docker_model) == [second]
    assert engine.containers(docker_model) == [second.id]


def test_what_a_model_prints_is_in_the_log(target: DockerTarget, docker_model: str, tmp_path: Path) -> None:
    """While it is loaded, too."""
    source = "class Model:\n    def load(self):\n        print('reading weights')\n\n    def predict(self, r): ...\n"

    candidate = start(target, build(target, tmp_path, docker_model, source))

    assert "reading weights" in messages(target, candidate)


def test_a_candidate_of_a_killed_push_is_swept(
    target: DockerTarget, engine: EngineCleaner, release: Release
) -> None:
    """What a push that was killed left running is gone with the next one."""
    left = DockerTarget(engine.client, os.environ)
    orphan = start(left, release)
    left._pushes.pop(orphan.id).close()  # as the end of its process does

    candidate = start(target, release)
    running = engine.containers(release.model)
    target.discard(candidate)

    assert [candidate.id] == running
