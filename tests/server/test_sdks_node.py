"""The stock OpenAI and Anthropic SDKs for Node against the same model as those for Python."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.server.sdk_model import SDK_MODEL, occupied, retries

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

SOURCES = Path(__file__).resolve().parent / "node"
INSTALL_SECONDS = 100


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the SDKs."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("no Node.js on this machine")
    folder = tmp_path_factory.mktemp("node") / "project"
    shutil.copytree(SOURCES, folder)
    command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"]
    subprocess.run(command, cwd=folder, check=True, timeout=INSTALL_SECONDS)
    return folder


def run(project: Path, script: str, edge: Edge, *args: str) -> Any:
    """Run a script against a server and return what it printed."""
    done = subprocess.run(
        ["node", script, f"http://127.0.0.1:{edge.port}", *args],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_node_sdks(project: Path, module_servers: Servers) -> None:
    """Plain, streamed, failing and abandoned calls give what the SDKs promise."""
    edge = module_servers.start(SDK_MODEL)
    result: dict[str, Any] = run(project, "sdk.mjs", edge)

    assert "FAST BIRD" == result["plain"] == result["response"] == result["claude"]
    assert result["chunks"] == ["a ", "b ", None]
    assert result["error"].startswith("InternalServerError: 500 the model raised ValueError")
    assert result["seen"] == ["a "]
    assert "the model raised ValueError" in result["streamError"]
    assert result["claudeTexts"] == ["a ", "b "]
    assert result["claudeStop"] == "end_turn"
    assert "ValueError" in result["claudeError"]
    assert result["endless"] == "openai "
    edge.gates.wait("stopped openai FOREVER")
    assert result["aborted"].startswith("APIUserAbortError")
    edge.gates.wait("stopped claude FOREVER")


@pytest.mark.parametrize("which", ["openai", "claude"])
def test_node_sdks_retry_when_busy(project: Path, servers: Servers, which: str) -> None:
    """The SDK's own retry, by the Retry-After it is given, succeeds once the model is free."""
    edge = servers.start(SDK_MODEL, runtime={"predict_concurrency": 1, "max_queue": 0})
    with occupied(edge):
        answer = run(project, "busy.mjs", edge, which)

    assert answer == "FAST"
    assert retries(edge) > 0
