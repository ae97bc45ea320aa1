"""`truss image` on a real engine, and what an image is like: labels, who runs in it, what it can write to."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes import RecordedProgress
from tests.file_server import serve_folder
from tests.harness import TRUSS, spawn_truss
from tests.helpers import build_tree, wait_until
from tests.integration.docker_models import COUNT, READY_SECONDS, build, is_ready, predict, start
from tests.integration.test_docker_builders import file_system
from tests.plans import make_plan
from tests.wheelhouse import make_wheel
from truss.errors import EngineError
from truss.ports import free_port
from truss.targets.docker import DockerTarget
from truss.targets.docker_prune import KEPT_RELEASES, KEPT_SECONDS, prune, stale_images
from truss.targets.docker_run import DockerRun
from truss_server.protocol import READY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engine import EngineCleaner

pytestmark = [
    pytest.mark.docker,
    # The first test builds the server's image, which is slow on a busy machine.
    pytest.mark.timeout(600),
    # docker-py leaves the sockets of calls that are broken off to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SHELLS = ["/bin/sh", "/bin/dash", "/bin/bash", "/bin/rbash", "/usr/bin/sh", "/usr/bin/dash", "/usr/bin/bash"]


def package_of(folder: Path, model: str) -> Path:
    """Return a package."""
    files: dict[str, str | bytes] = {
        "config.yaml": f"model_name: {model}\n",
        "data/w.txt": "w",
        "model/model.py": COUNT,
    }
    return build_tree(folder / "package", files)


def answers(url: str) -> bool:
    """Return whether a model is loaded."""
    try:
        return httpx.get(url + READY).is_success
    except httpx.TransportError:
        return False


@contextmanager
def container(engine: EngineCleaner, image: str, **host: Any) -> Iterator[tuple[str, str]]:
    """Run an image; give the container's id and the URL of its server once its model is loaded."""
    port = free_port()
    config = engine.client.create_host_config(port_bindings={8080: ("127.0.0.1", port)}, **host)
    id_ = engine.client.create_container(image, ports=[8080], host_config=config)["Id"]
    try:
        engine.client.start(id_)
        wait_until(lambda: answers(f"http://127.0.0.1:{port}"), READY_SECONDS, what="the model")
        yield id_, f"http://127.0.0.1:{port}"
    finally:
        engine.client.remove_container(id_, force=True, v=True)


def test_build_prints_the_name(engine: EngineCleaner, docker_model: str, tmp_path: Path) -> None:
    """The image has its own name and the one that was asked for; a second build builds nothing."""
    package = package_of(tmp_path, docker_model)
    name = f"{docker_model}-mine:2"

    first = spawn_truss("image", "build", str(package), "--tag", name)
    second = spawn_truss("image", "build", str(package), "--output", "json")

    assert (first.stdout, first.code) == (f"{name}\n", 0)
    events = [json.loads(line) for line in second.stdout.splitlines()]
    assert [event for event in events if event["event"] in {"image", "line"}] == []
    assert {name, events[-1]["image"]} == set(engine.tags(docker_model))
    assert "  release " in first.stderr


def test_run_is_closed_in_and_ends_with_ctrl_c(
    engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """The model answers from a read-only container of nobody's, which is gone after Ctrl-C."""
    package = package_of(tmp_path, docker_model)
    port = free_port()
    with subprocess.Popen(
        [TRUSS, "image", "run", str(package), "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}"), 120, what="the model")
            (id_,) = engine.containers(docker_model)
            host = engine.client.inspect_container(id_)["HostConfig"]
            said = httpx.post(f"http://127.0.0.1:{port}/predict", json={"count": 3}).text
        finally:
            running.send_signal(signal.SIGINT)
            _, talk = running.communicate(timeout=60)

    assert said == "0 1 2 "
    assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
    assert running.returncode == 0
    assert talk.endswith("ended; running requests may finish\n")
    assert engine.containers(docker_model) == []


def test_a_model_that_cannot_be_loaded_ends_a_run(
    engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """What it says is shown, and the exit code is that of a failed start."""
    package = package_of(tmp_path, docker_model)
    (package / "model/model.py").write_text(
        "class Model:\n    def predict(self, r): ...\n\nraise OSError('no weights')\n"
    )

    outcome = spawn_truss("image", "run", str(package), "--port", str(free_port()))

    assert outcome.code != 0
    assert "OSError: no weights" in outcome.stdout
    assert "error: The server ended with exit code 3." in outcome.stderr
    assert engine.containers(docker_model) == []


def test_a_written_context_builds_by_docker_alone(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """The image has the same files as the one that truss builds, and the model answers."""
    package = package_of(tmp_path, docker_model)
    assert spawn_truss("image", "build-context", str(tmp_path / "out"), str(package)).code == 0
    name = f"{docker_model}-plain:1"
    for event in engine.client.build(
        path=str(tmp_path / "out"), tag=name, rm=True, forcerm=True, decode=True
    ):
        assert "error" not in event, event
    built = spawn_truss("image", "build", str(package))

    plain, ours = file_system(engine, name), file_system(engine, built.stdout.strip())
    assert {path for path in {**plain, **ours} if plain.get(path) != ours.get(path)} == set()
    with container(engine, name) as (_, url):
        assert httpx.post(f"{url}/predict", json={"count": 2}).text == "0 1 "


def test_an_image_needs_no_shell_and_writes_to_nothing(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """Without any shell, on a read-only file system with /tmp in memory and nothing else, the model answers."""
    release = build(target, tmp_path, docker_model, COUNT)
    bare = f"{docker_model}-bare:1"
    (tmp_path / "Dockerfile").write_text(
        f"FROM {release.reference}\nUSER root\nRUN {json.dumps(['rm', '-f', *SHELLS])}\nUSER 10001:10001\n"
    )
    for event in engine.client.build(path=str(tmp_path), tag=bare, rm=True, forcerm=True, decode=True):
        assert "error" not in event, event

    with container(
        engine, bare, read_only=True, tmpfs={"/tmp": ""}, cap_drop=["ALL"], security_opt=["no-new-privileges"]
    ) as (id_, url):
        assert httpx.post(f"{url}/predict", json={"count": 2}).text == "0 1 "
        config = engine.client.inspect_container(id_)["Config"]
        processes = engine.client.top(id_)["Processes"]
        check = engine.client.exec_create(id_, config["Healthcheck"]["Test"][1:])["Id"]
        engine.client.exec_start(check)
        healthy = engine.client.exec_inspect(check)["ExitCode"]
        engine.client.stop(id_, timeout=20)
        state = engine.client.inspect_container(id_)["State"]

    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert "truss_server.edge" in " ".join(processes[0])
    assert not any("/sh" in process[-1] for process in processes)
    assert healthy == 0
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)


def test_labels_say_what_an_image_holds(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """The requirements as they were resolved, without passwords; the OpenAPI document; who built it."""
    make_wheel(tmp_path / "index/simple/probe", "probe", source="NAME = 'probe'")
    with serve_folder(tmp_path / "index", engine.host_address()) as url:
        environ = {"PIP_INDEX_URL": f"{url}/simple", "PIP_TRUSTED_HOST": engine.host_address()}
        build(target, tmp_path / "first", docker_model, COUNT)
        mine = DockerTarget(engine.client, {**os.environ, **environ})
        release = build(mine, tmp_path, docker_model, COUNT, ("probe>=0.5",))
    labels = engine.image_labels(release.reference)
    candidate = start(target, release)

    assert is_ready(target, candidate)
    schema = httpx.get(f"{candidate.url}/openapi.json").json()

    assert labels["truss.requirements"] == "probe==1.0"
    assert labels["truss.digest"] == release.digest
    assert labels["truss.tool_version"]
    assert schema["openapi"].startswith("3.")
    assert "/predict" in schema["paths"]
    assert schema == json.loads(labels["truss.openapi"])


def test_a_build_tells_what_it_took(target: DockerTarget, docker_model: str, tmp_path: Path) -> None:
    """An edit of the code builds one image; the others were there."""
    build(target, tmp_path, docker_model, COUNT)
    (tmp_path / "package/model/model.py").write_text(COUNT + "# edited\n")
    progress = RecordedProgress()

    release = target.build(make_plan(tmp_path / "package", docker_model), progress)

    assert [(image.kind, image.cached) for image in progress.images] == [
        ("uv", True),
        ("server", True),
        ("release", False),
    ]
    last = progress.images[-1]
    assert last.tag == release.reference
    assert 0 < last.size < 100_000
    assert last.seconds > 0


def test_a_dry_run_builds_nothing(engine: EngineCleaner, docker_model: str, tmp_path: Path) -> None:
    """It says of each image whether it is there; the list is true."""
    package = package_of(tmp_path, docker_model)

    before = spawn_truss("push", str(package), "--dry-run").stdout
    assert engine.tags(docker_model) == []
    spawn_truss("image", "build", str(package))
    after = spawn_truss("push", str(package), "--dry-run").stdout

    (line,) = [line for line in before.splitlines() if line.startswith("# release ")]
    assert line.split()[2] == "build"
    assert [
        line.split()[2] for line in after.splitlines() if line.endswith(")") and line.startswith("# ")
    ] == ["cached"] * 4


def test_old_releases_go_and_what_runs_stays(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """The newest two stay, and the one that a container was made from; a name of the user's protects an image."""
    releases = [build(target, tmp_path, docker_model, f"{COUNT}# {edit}\n") for edit in range(5)]
    used = start(target, releases[0])
    engine.client.tag(releases[1].reference, f"{docker_model}-mine", "1")

    removed = prune(engine.client, docker_model)

    assert sorted(removed) == sorted([releases[2].reference])
    left = {releases[0].reference, releases[1].reference, f"{docker_model}-mine:1"}
    left |= {release.reference for release in releases[-KEPT_RELEASES:]}
    assert set(engine.tags(docker_model)) == left
    assert predict(used, {"count": 1}) == "0 "


def test_images_upon_a_release_are_the_users_own(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """They have its labels, and are neither counted as releases nor removed."""
    first, second = (build(target, tmp_path, docker_model, f"{COUNT}# {edit}\n") for edit in range(2))
    own = [f"{docker_model}-own:{number}" for number in range(KEPT_RELEASES)]
    for name in own:
        dockerfile = io.BytesIO(f"FROM {second.reference}\nLABEL own={name} truss.release=7\n".encode())
        for event in engine.client.build(fileobj=dockerfile, tag=name, rm=True, decode=True):
            assert "error" not in event

    assert prune(engine.client, docker_model) == []
    assert {first.reference, second.reference, *own} == set(engine.tags(docker_model))
    assert build(target, tmp_path, docker_model, f"{COUNT}# 2\n").number == 3


def test_a_run_gets_secrets_and_gpus(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """As a deployment does; nothing of the secrets is left on this machine afterwards."""
    state = tmp_path / "state"
    environ = {**os.environ, "TRUSS_HOME": str(state), "TRUSS_SECRET_WORD": "hush"}
    source = "class Model:\n    def predict(self, request):\n        return open('/secrets/WORD').read()\n"
    config: dict[str, Any] = {"secrets": {"WORD": None}, "resources": {"accelerator": "L4:4"}}
    release = build(target, tmp_path, docker_model, source, **config)
    port = free_port()

    with DockerRun(engine.client, environ, lambda: 0).running(release.reference, port):
        wait_until(lambda: answers(f"http://127.0.0.1:{port}"), READY_SECONDS, what="the model")
        assert httpx.post(f"http://127.0.0.1:{port}/predict", json={}).text == '"hush"'
    assert {path.name for path in state.rglob("*") if path.is_file()} == {"lock"}

    if "nvidia" in engine.client.info()["Runtimes"]:
        pytest.skip("the engine has GPUs")
    two = DockerRun(engine.client, environ, lambda: 2)
    with pytest.raises(EngineError) as caught, two.running(release.reference, port):
        pass
    assert "NVIDIA Container Toolkit" in caught.value.hint


def test_what_nothing_is_made_from_goes_after_a_week(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """Images below a release stay as long as it does, and for a week after that."""
    package = build_tree(tmp_path / "package", {"model/model.py": COUNT, "data/own": docker_model})
    release = target.build(make_plan(package, docker_model), RecordedProgress())
    data = engine.image_labels(release.reference)["truss.parent"]
    later = KEPT_SECONDS + 3600

    def tags() -> set[str]:
        return {tag for image in engine.client.images(name="truss-data") for tag in image["RepoTags"] or ()}

    now = time.time()
    assert data not in stale(engine, now + later)
    engine.client.remove_image(release.reference)
    assert data not in stale(engine, now)
    assert data in stale(engine, now + later)
    assert data in tags()
    engine.client.remove_image(data)


def stale(engine: EngineCleaner, now: float) -> list[str]:
    """Return what would be removed at a time: to remove it would hit what other people made on this engine."""
    return stale_images(engine.client, now - KEPT_SECONDS)


def test_running_needs_a_free_port(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """Which is said before anything is started."""
    release = build(target, tmp_path, docker_model, COUNT)
    used = start(target, release)

    with (
        pytest.raises(EngineError) as caught,
        DockerRun(engine.client, os.environ).running(release.reference, used.port),
    ):
        pass

    assert caught.value.message == f"Port {used.port} is taken."
