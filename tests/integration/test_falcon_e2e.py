"""The real thing: a Falcon checkpoint scaffolded, pushed and called as a user does it, on both targets."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engine import EngineCleaner
from tests.fakes import RecordedProgress
from tests.file_server import serve_folder
from tests.harness import TRUSS
from truss.environment import Wanted, model_python

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

REQUIREMENTS = ("torch==2.13.0", "transformers==5.23.0")
REQUEST = '{"prompt": "Tell me about falcons", "do_sample": true, "seed": 7}'
IN_PROCESS = Path(__file__).with_name("falcon_in_process.py")
COMMAND_SECONDS = 1800
"""Installing torch into an image on a busy machine takes minutes."""


@pytest.fixture(scope="session")
def python_with_torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an interpreter that has torch and transformers."""
    return model_python(
        Wanted(REQUIREMENTS, None), tmp_path_factory.mktemp("torch"), RecordedProgress(), os.environ
    )


def run_truss(*arguments: str, cwd: Path, environ: Mapping[str, str] | None = None) -> str:
    """Run the installed command; return its stdout."""
    done = subprocess.run(
        [TRUSS, *arguments],
        cwd=cwd,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_as_it_comes(*arguments: str, cwd: Path) -> tuple[bytes, list[float]]:
    """Run the installed command with a pipe for stdout; return what it wrote, and when each piece came."""
    with subprocess.Popen([TRUSS, *arguments], cwd=cwd, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pieces, times = [], []
        while piece := os.read(process.stdout.fileno(), 65536):
            pieces.append(piece)
            times.append(time.monotonic())
    assert process.returncode == 0
    return b"".join(pieces), times


def scaffold(name: str, folder: Path, python: Path) -> tuple[Path, str]:
    """Make the package with a tiny checkpoint in its data folder; return it, and what it generates in process."""
    run_truss("init", "falcon", "--template", "falcon", "--name", name, cwd=folder)
    package = folder / "falcon"
    in_process = subprocess.run(
        [python, IN_PROCESS, package / "data" / "tiny", REQUEST],
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_SECONDS,
    )
    answer = json.loads(in_process.stdout)
    config = (package / "config.yaml").read_text()
    for old, new in {
        r"- torch.*": f"- {REQUIREMENTS[0]}",
        r"- transformers.*": f"- {REQUIREMENTS[1]}",
        r"checkpoint: .*": "checkpoint: tiny",
        r"max_new_tokens: .*": f"max_new_tokens: {answer['new_tokens']}",
    }.items():
        config, replaced = re.subn(old, new, config)
        assert replaced == 1, old
    (package / "config.yaml").write_text(config)
    return package, answer["text"]


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the name of the model; on Docker, one whose images are removed after the test."""
    if "docker" in request.node.callspec.params["target"]:
        yield request.getfixturevalue("docker_model")
    else:
        yield "falcon"


def network_for_builds(target: str, stack: ExitStack) -> dict[str, str]:
    """Return settings of pip for a push: a build in a container cannot see a folder of wheels, but a server of it."""
    links = os.environ.get("PIP_FIND_LINKS", "")
    if target != "docker" or not Path(links).is_dir():
        return {}
    engine = EngineCleaner()
    stack.callback(engine.client.close)
    host = engine.host_address()
    return {"PIP_FIND_LINKS": stack.enter_context(serve_folder(Path(links), host)), "PIP_TRUSTED_HOST": host}


@pytest.mark.parametrize("target", ["local", pytest.param("docker", marks=pytest.mark.docker)])
def test_falcon_streams_what_it_generates_in_process(
    target: str, model: str, python_with_torch: Path, tmp_path: Path
) -> None:
    """Text arrives in pieces as it is produced, and is the text of the same seed in process."""
    package, expected = scaffold(model, tmp_path, python_with_torch)
    with ExitStack() as stack:
        environ = network_for_builds(target, stack)
        pushed = json.loads(
            run_truss("push", "--target", target, "--output", "json", cwd=package, environ=environ)
        )
        stack.callback(run_truss, "stop", cwd=package)

        text, times = read_as_it_comes("predict", "-d", REQUEST, cwd=package)

    assert (pushed["model"], pushed["target"], pushed["release"]) == (model, target, 1)
    assert text.decode() == expected
    assert len(times) >= 5
    assert times[-1] - times[0] > 0.1
