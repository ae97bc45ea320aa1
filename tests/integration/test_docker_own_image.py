"""A server that is all in an image of the user's own: its command, its folder, its user, behind the same edge."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes import RecordedProgress
from tests.helpers import build_tree
from tests.integration.docker_models import predict, start
from tests.plans import make_plan
from truss.errors import BuildError, UsageError
from truss.targets.docker import DockerTarget
from truss.targets.local import LocalTarget

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine import EngineCleaner
    from truss.release import Release

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

USER = 4321

SERVER = """
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"path": self.path})

    def do_POST(self):
        Path.home().joinpath("mine").write_text("written")
        facts = {"user": os.getuid(), "group": os.getgid(), "folder": os.getcwd(), "arguments": sys.argv[1:]}
        self.answer({**facts, "variable": os.environ["FROM_IMAGE"]})

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

DOCKERFILE = f"""\
FROM python:3.11-slim
LABEL truss.model=MODEL
RUN mkdir /srv/own && useradd --uid {USER} --user-group --create-home own
COPY server.py /srv/own/
ENV FROM_IMAGE=yes
WORKDIR /srv/own
ENTRYPOINT ["python3", "server.py"]
CMD ["--word", "two words"]
"""


@pytest.fixture
def image(engine: EngineCleaner, docker_model: str, tmp_path: Path) -> str:
    """Give an image with a server in it."""
    files = {"Dockerfile": DOCKERFILE.replace("MODEL", docker_model), "server.py": SERVER}
    folder = build_tree(tmp_path / "image", dict(files))
    name = f"{docker_model}-own:1"
    for event in engine.client.build(path=str(folder), tag=name, rm=True, decode=True):
        assert "error" not in event, event
    return name


def build_own(
    target: DockerTarget | LocalTarget, folder: Path, model: str, image: str, **server: Any
) -> Release:
    """Build a package that has nothing but a configuration."""
    package = build_tree(folder / "package", {"config.yaml": f"model_name: {model}\n"})
    settings = {"readiness_endpoint": "/ready", "predict_endpoint": "/call", "no_build": True, **server}
    plan = make_plan(package, model, base_image={"image": image}, docker_server=settings)
    return target.build(plan, RecordedProgress())


def test_an_image_as_it_is(target: DockerTarget, docker_model: str, image: str, tmp_path: Path) -> None:
    """Its own command serves, in its folder, with its variables, as the user that was named; all its routes answer."""
    deployment = start(target, build_own(target, tmp_path, docker_model, image, run_as_user_id=USER))

    assert json.loads(predict(deployment, {})) == {
        "user": USER,
        "group": USER,
        "folder": "/srv/own",
        "arguments": ["--word", "two words"],
        "variable": "yes",
    }
    assert httpx.get(f"{deployment.url}/any/route").json() == {"path": "/any/route"}


def test_a_command_of_the_package(
    target: DockerTarget, docker_model: str, image: str, tmp_path: Path
) -> None:
    """It goes before that of the image, and starts in the folder of the release; the user is nobody's."""
    command = "python3 /srv/own/server.py mine"
    deployment = start(target, build_own(target, tmp_path, docker_model, image, start_command=command))

    facts = json.loads(predict(deployment, {}))
    assert (facts["user"], facts["folder"], facts["arguments"]) == (10001, "/app", ["mine"])


def test_a_user_that_the_image_has_not(
    target: DockerTarget, docker_model: str, image: str, tmp_path: Path
) -> None:
    """The build says so."""
    with pytest.raises(BuildError) as caught:
        build_own(target, tmp_path, docker_model, image, run_as_user_id=777)

    assert caught.value.details == f"{image} has no user with the id 777"


def test_an_image_without_a_command(
    engine: EngineCleaner, docker_model: str, image: str, tmp_path: Path
) -> None:
    """Nothing could be started; what to write is said."""
    bare = build_tree(tmp_path / "bare", {"Dockerfile": f"FROM {image}\nENTRYPOINT []\nCMD []\n"})
    name = f"{docker_model}-bare:1"
    for event in engine.client.build(path=str(bare), tag=name, rm=True, decode=True):
        assert "error" not in event, event

    with pytest.raises(BuildError) as caught:
        build_own(DockerTarget(engine.client, os.environ), tmp_path, docker_model, name)

    assert caught.value.message == f"The base image {name} has no command of its own."
    assert "start_command" in caught.value.hint


def test_there_is_no_image_on_local(docker_model: str, tmp_path: Path) -> None:
    """A package without a command of its own is refused there."""
    with pytest.raises(UsageError) as caught:
        build_own(LocalTarget(tmp_path / "state"), tmp_path, docker_model, "any:1")

    assert "docker_server has no start_command" in caught.value.message
    assert "--target docker" in caught.value.hint
