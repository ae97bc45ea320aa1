"""Packages for tests of the target `docker`, and waiting for what becomes of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes import RecordedProgress
from tests.helpers import build_tree, wait_until
from tests.plans import make_plan
from truss_server.protocol import READY

if TYPE_CHECKING:
    from pathlib import Path

    from truss.release import Deployment, Release
    from truss.targets.docker import DockerTarget

READY_SECONDS = 30.0

COUNT = """
class Model:
    def predict(self, request):
        for number in range(request["count"]):
            yield f"{number} "
"""

SLOW = """
import time

class Model:
    def predict(self, request):
        yield "begun "
        time.sleep(request["seconds"])
        yield "ended"
"""


def build(
    target: DockerTarget,
    folder: Path,
    model: str,
    source: str,
    requirements: tuple[str, ...] = (),
    **config: Any,
) -> Release:
    """Build a release of a package with the given `model.py`."""
    package = build_tree(
        folder / "package", {"config.yaml": f"model_name: {model}\n", "model/model.py": source}
    )
    return target.build(make_plan(package, model, requirements, **config), RecordedProgress())


def start(
    target: DockerTarget, release: Release, environment: str = "production", port: int | None = None
) -> Deployment:
    """Start a candidate and wait until its model is loaded."""
    candidate = target.start(release, environment, port=port)
    wait_until(lambda: is_ready(target, candidate), READY_SECONDS, what="the model to be loaded")
    return candidate


def is_ready(target: DockerTarget, deployment: Deployment) -> bool:
    """Return whether a model is loaded; fail the test where its server ended."""
    code = target.exit_code(deployment)
    if code is not None:
        pytest.fail(f"the server ended with {code}:\n" + "\n".join(target.logs(deployment, follow=False)))
    try:
        return httpx.get(deployment.url + READY).is_success
    except httpx.TransportError:
        return False


def predict(deployment: Deployment, request: dict[str, Any]) -> str:
    """Return the whole answer of a model."""
    return (
        httpx.post(f"{deployment.url}/predict", json=request, timeout=READY_SECONDS).raise_for_status().text
    )


def messages(target: DockerTarget, deployment: Deployment, source: str = "model") -> list[str]:
    """Return what a deployment logged so far."""
    records = [json.loads(line) for line in target.logs(deployment, follow=False)]
    return [record["message"] for record in records if record["source"] == source]
