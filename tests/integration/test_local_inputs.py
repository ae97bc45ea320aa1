"""What a package brings besides its code, pushed to the local target as its author does it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.file_server import serve_folder
from tests.harness import spawn_truss
from tests.helpers import build_tree
from tests.watching import call
from tests.wheelhouse import make_index, make_wheel
from truss.uv_settings import find_uv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = """
import importlib.metadata
import sys
from pathlib import Path

from beside import word

class Model:
    def __init__(self, **kwargs):
        self.data = kwargs["data_dir"]

    def predict(self, inputs):
        return {
            "installed": sorted(f"{d.name} {d.version}" for d in importlib.metadata.distributions()),
            "lock": Path(sys.prefix, "requirements.lock").read_text(),
            "word": word(),
            "data": Path(self.data, "deep/words.txt").read_text(),
        }
"""


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    """Give a package beside which there is code; what runs is stopped."""
    build_tree(
        tmp_path, {"shared/beside.py": "def word():\n    return 'beside'\n", "site/words.txt": "downloaded"}
    )
    package = build_tree(tmp_path / "falcon", {"model/model.py": SOURCE})
    make_wheel(package / "wheels", "ours", requires=("tiny",))
    yield package
    spawn_truss("stop", "--all", "--target", "local")


def push(package: Path, url: str, text: str, environ: dict[str, str]) -> dict[str, object]:
    """Push a package whose config.yaml says this, too, and return what its model answers."""
    external = f"external_data: [{{url: '{url}/words.txt', local_data_path: deep/words.txt}}]\n"
    build_tree(package, {"config.yaml": f"external_package_dirs: [../shared]\n{external}{text}\n"})
    pushed = spawn_truss("push", str(package), "--target", "local", "--output", "json", environ=environ)
    assert pushed.code == 0, pushed.stderr
    answer = call(urlsplit(json.loads(pushed.stdout)["url"]).netloc)[0]
    assert isinstance(answer, dict)
    return answer


def test_a_pip_file(package: Path, tmp_path: Path) -> None:
    """A wheel of the package and what it needs, constrained; data by URL; code from beside the package."""
    house = make_wheel(tmp_path / "house", "tiny", "1.5").parent
    make_wheel(house, "tiny", "2.0")
    build_tree(
        package, {"r/main.txt": "./wheels/ours-1.0-py3-none-any.whl\n-c pins.txt\n", "r/pins.txt": "tiny<2\n"}
    )
    environ = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(house),
        "UV_OFFLINE": "1",
    }

    with serve_folder(tmp_path / "site", "127.0.0.1") as url:
        answer = push(package, url, "requirements_file: r/main.txt", environ)

    assert answer == {
        "installed": ["ours 1.0", "tiny 1.5"],
        "lock": "./wheels/ours-1.0-py3-none-any.whl\ntiny==1.5\n",
        "word": "beside",
        "data": "downloaded",
    }


def test_a_lock(package: Path, tmp_path: Path) -> None:
    """What uv.lock pins is installed, though there is a newer one by now."""
    house = make_wheel(tmp_path / "house", "tiny", "1.5").parent
    project = '[project]\nname = "mine"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = ["tiny"]\n'
    build_tree(package, {"pyproject.toml": project})
    environ = {
        "PIP_CONFIG_FILE": os.devnull,
        "UV_DEFAULT_INDEX": make_index(house),
        "UV_CACHE_DIR": str(tmp_path / "c"),
    }
    lock = [find_uv(), "lock", "--no-config"]
    subprocess.run(
        lock, cwd=package, check=True, capture_output=True, timeout=60, env={**os.environ, **environ}
    )
    shutil.rmtree(house / "simple")
    make_wheel(house, "tiny", "2.0")
    environ["UV_DEFAULT_INDEX"] = make_index(house)

    with serve_folder(tmp_path / "site", "127.0.0.1") as url:
        answer = push(package, url, "requirements_file: uv.lock", environ)

    assert (answer["installed"], answer["lock"]) == (["tiny 1.5"], "tiny==1.5\n")
