"""The stock OpenAI and Anthropic SDKs for Node against the same model as those for Python."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.server.sdk_model import SDK_MODEL

if TYPE_CHECKING:
    from tests.server.harness import Servers

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


def test_node_sdks(project: Path, module_servers: Servers) -> None:
    """Plain, streamed, failing and abandoned calls give what the SDKs promise."""
    edge = module_servers.start(SDK_MODEL)
    done = subprocess.run(
        ["node", "sdk.mjs", f"http://127.0.0.1:{edge.port}"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)

    assert "FAST BIRD" == result["plain"] == result["response"] == result["claude"]
    assert result["chunks"] == ["a ", "b ", None]
    assert result["error"].startswith("InternalServerError: 500 the model raised ValueError")
    assert result["seen"] == ["a "]
    assert "the model raised ValueError" in result["streamError"]
    assert result["claudeTexts"] == ["a ", "b "]
    assert result["claudeStop"] == "end_turn"
    assert "ValueError" in result["claudeError"]
    assert result["endless"] == "on "
    edge.gates.wait("stopped")
