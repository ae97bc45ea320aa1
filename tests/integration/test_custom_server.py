"""The example with a server of its own, through the tool, on both targets; and secrets in a container."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.harness import Outcome, spawn_truss
from tests.helpers import build_tree, wait_until
from tests.watching import Watcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine import EngineCleaner

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom-server"


ASKS = """
import os
from pathlib import Path

class Model:
    def __init__(self, secrets):
        self.secrets = secrets

    def predict(self, name):
        if name == "files":
            found = [[path.name, os.access(path, os.W_OK)] for path in Path("/secrets").iterdir()]
            return [os.getuid(), found, os.access("/secrets", os.W_OK)]
        return self.secrets[name]
"""


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Path]:
    """Give a copy of the example; what runs of it is stopped."""
    folder = tmp_path / "custom-server"
    shutil.copytree(EXAMPLE, folder)
    yield folder
    spawn_truss("stop", "--model", "custom-server", "--target", "local")


def push(folder: Path, target: str, *more: str) -> dict[str, Any]:
    """Push and return what it says."""
    pushed = spawn_truss("push", "--target", target, "--output", "json", "--timeout", "60", *more, cwd=folder)
    assert pushed.code == 0, pushed.stderr
    return dict(json.loads(pushed.stdout))


def exercise(folder: Path, url: str) -> None:
    """Call the example in all its ways."""
    assert spawn_truss("predict", "-d", '{"prompt": "a b c"}', cwd=folder) == Outcome(stdout="a b c ")
    assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "echo"
    assert httpx.get(f"{url}/environments/production/sync/v1/models").status_code == 200
    assert httpx.get(f"{url}/nothing").json() == {"error": "there is no /nothing"}
    wait_until(
        lambda: "POST /generate" in spawn_truss("logs", cwd=folder).stdout, what="the request in the log"
    )
    assert "listening on" in spawn_truss("logs", cwd=folder).stdout
    listed = json.loads(spawn_truss("list", "--output", "json").stdout)
    assert [one["running"] for one in listed if one["url"] == url] == [True]


def test_the_example_on_local(example: Path) -> None:
    """Push, predict, routes, logs, list, another push beside the first, stop."""
    url = push(example, "local")["url"]
    exercise(example, url)
    server = example / "model" / "server.py"
    server.write_text(server.read_text().replace('"echo"', '"newer"'))
    again = push(example, "local")

    assert again["release"] == 2
    assert httpx.get(f"{again['url']}/v1/models").json()["data"][0]["id"] == "newer"
    assert spawn_truss("stop", cwd=example).code == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_a_push_of_a_broken_server(example: Path) -> None:
    """A server that ends at once ends the push with what it printed, and what ran before runs on."""
    url = push(example, "local")["url"]
    (example / "model" / "server.py").write_text("raise SystemExit('no weights')\n")
    pushed = spawn_truss("push", "--target", "local", "--timeout", "60", cwd=example)

    assert pushed.code == 5
    assert "no weights" in pushed.stderr
    assert "What ran before runs on." in pushed.stderr
    assert httpx.get(f"{url}/v1/models").status_code == 200


def test_a_port_in_the_command(example: Path) -> None:
    """A command with a port of its own that is taken ends the push with what to do about it."""
    config = example / "config.yaml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = config.read_text().replace("$PORT", f"{port}\n  server_port: {port}")
        config.write_text(text)
        pushed = spawn_truss("push", "--target", "local", "--timeout", "60", cwd=example)

    assert pushed.code == 5
    assert f"its command says {port}, which is taken on this machine: write $PORT there" in pushed.stderr


def test_a_server_that_is_never_ready(example: Path) -> None:
    """A push that waits in vain names the endpoint it has waited for, and what that answers."""
    config = example / "config.yaml"
    config.write_text(config.read_text().replace("/ready", "/never"))
    pushed = spawn_truss("push", "--target", "local", "--timeout", "3", cwd=example)

    assert pushed.code == 5
    assert "`readiness_endpoint`, /never, answers 404; 2xx is waited for" in pushed.stderr


def test_watching_the_example(example: Path) -> None:
    """Each save starts the server again, and says so; a broken one leaves the one before serving."""
    url = push(example, "local", "--environment", "development")["url"]
    server = example / "model" / "server.py"
    source = server.read_text()
    watcher = Watcher(example, "watch", "--target", "local")
    try:
        watcher.wait("attached")
        server.write_text(source.replace('"echo"', '"newer"'))
        loaded = watcher.wait("loaded")
        assert "a server of your own is started again with each edit" in loaded["reason"]
        assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "newer"
        server.write_text("raise SystemExit('no weights')\n")
        assert "exit code 1" in watcher.wait("failed")["what"]
        assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "newer"
    finally:
        watcher.end()


@pytest.fixture
def container(engine: EngineCleaner, docker_model: str, example: Path) -> Iterator[Path]:
    """Give the example under a name of its own, for the engine."""
    config = example / "config.yaml"
    config.write_text(config.read_text().replace("model_name: custom-server", f"model_name: {docker_model}"))
    yield example
    spawn_truss("stop", "--model", docker_model)


@pytest.mark.docker
@pytest.mark.timeout(600)
def test_the_example_on_docker(container: Path, docker_model: str) -> None:
    """The same image-built: push, predict, routes, a secret, logs, stop."""
    spawn_secret("api_key", "0123456789")
    url = push(container, "docker")["url"]

    assert spawn_truss("predict", "-d", '{"prompt": "a b c"}', cwd=container) == Outcome(stdout="a b c ")
    assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "echo"
    assert httpx.get(f"{url}/secret").json() == {"characters": 10}
    assert "listening on 8000" in spawn_truss("logs", cwd=container).stdout
    assert spawn_truss("stop", cwd=container).code == 0


def spawn_secret(name: str, value: str) -> None:
    """Set a secret."""
    assert spawn_truss("secrets", "set", name, "--value", value).code == 0


@pytest.mark.docker
@pytest.mark.timeout(600)
def test_secrets_of_a_container(tmp_path: Path, engine: EngineCleaner, docker_model: str) -> None:
    """Secrets are read-only files of the container's user, in no image, variable or label, and gone with it."""
    config = f"model_name: {docker_model}\nsecrets: {{token: null, fallback: default, variable: null}}\n"
    folder = build_tree(tmp_path / "asks", {"config.yaml": config, "model/model.py": ASKS})
    spawn_secret("token", "value-of-token")
    spawn_secret("foreign", "value-of-foreign")
    pushed = spawn_truss(
        "push",
        *("--target", "docker", "--timeout", "60"),
        cwd=folder,
        environ={"TRUSS_SECRET_variable": "value-of-variable"},
    )
    assert pushed.code == 0, pushed.stderr

    def ask(name: str) -> Any:
        return json.loads(spawn_truss("predict", "-d", json.dumps(name), cwd=folder).stdout)

    assert [ask(name) for name in ("token", "fallback", "variable")] == [
        "value-of-token",
        "default",
        "value-of-variable",
    ]
    uid, files, writable = ask("files")
    assert (uid, sorted(files), writable) == (10001, [["token", False], ["variable", False]], False)
    (container,) = engine.containers(docker_model)
    found = engine.client.inspect_container(container)
    assert "value-of" not in json.dumps(found)
    assert "value-of" not in engine.histories()
    (mount,) = [one for one in found["Mounts"] if one["Type"] == "bind"]
    outer = Path(mount["Source"]).parent.parent
    assert stat.S_IMODE(outer.stat().st_mode) == 0o700
    assert outer.is_relative_to(os.environ["TRUSS_HOME"])
    assert spawn_truss("push", "--target", "docker", "--timeout", "60", cwd=folder).code == 0
    assert len(list(outer.iterdir())) == 1
    assert spawn_truss("stop", cwd=folder).code == 0
    assert list(outer.iterdir()) == []


@pytest.mark.docker
@pytest.mark.timeout(600)
def test_secrets_of_a_push_that_was_killed(tmp_path: Path, engine: EngineCleaner, docker_model: str) -> None:
    """What a killed push has left of secrets is removed by the next push."""
    config = f"model_name: {docker_model}\nsecrets: {{token: null}}\n"
    folder = build_tree(tmp_path / "asks", {"config.yaml": config, "model/model.py": ASKS})
    spawn_secret("token", "value")
    left = Path(os.environ["TRUSS_HOME"], "docker", docker_model, "production.secrets", "left", "secrets")
    left.mkdir(parents=True)
    push(folder, "docker")

    assert not left.exists()
    spawn_truss("stop", cwd=folder)
