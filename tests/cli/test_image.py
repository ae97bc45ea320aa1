"""`truss image build-context` and `truss push --dry-run`: what would be built, the same on any machine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.fake_target import FakeMachine
from tests.file_server import serve_folder
from tests.harness import TRUSS, Outcome, run_truss
from tests.helpers import build_tree
from truss.build_report import BuiltImage, format_size, format_waterfall
from truss.deps import Deps
from truss.errors import EngineError
from truss.json_progress import JsonProgress

if TYPE_CHECKING:
    from pathlib import Path

    from truss.targets.docker_works import DockerWorks

PACKAGE: dict[str, str | bytes] = {
    "config.yaml": "model_name: demo\nrequirements: [idna==3.10]\n",
    "data/weights.bin": b"\1\2",
    "data/ä.txt": "ä",
    "model/model.py": "class Model:\n    def predict(self, request):\n        return request\n",
    "packages/run.sh": "#!/bin/sh\n",
}


def fingerprint(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return all that can be seen of a folder: names, modes, times, contents."""
    seen: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        facts = path.stat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        seen[str(path.relative_to(folder))] = (facts.st_mode, facts.st_mtime, content)
    return seen


def no_engine() -> DockerWorks:
    """Find no engine."""
    raise EngineError("No Docker engine answers here.")


def run(cwd: Path, *args: str) -> Outcome:
    """Run `truss` where no engine answers."""
    return run_truss(*args, deps=Deps(target=FakeMachine().target, works=no_engine, cwd=cwd))


def test_a_context_for_docker_alone_names_the_secrets_of_commands(tmp_path: Path) -> None:
    """Plain `docker build` is asked for them, and not for settings, which it has no mounts for."""
    config = "build_commands: [cat /token]\nbuild: {secret_to_path_mapping: {my_token: /token}}\n"
    build_tree(tmp_path / "demo", {**PACKAGE, "config.yaml": config})

    outcome = run(tmp_path, "image", "build-context", "out", "demo")
    assert (outcome.stdout, outcome.code) == ("", 0)

    dockerfile = (tmp_path / "out/Dockerfile").read_text()
    (line,) = [line for line in dockerfile.splitlines() if "--mount" in line]
    assert line == "RUN --mount=type=secret,id=my_token,target=/token,mode=0444,required=true \\"


def test_the_same_package_makes_the_same_context(tmp_path: Path) -> None:
    """Byte for byte: neither place nor times nor umask nor language of the machine show in it."""
    here = build_tree(tmp_path / "here", PACKAGE)
    there = build_tree(tmp_path / "else" / "where", dict(reversed(list(PACKAGE.items()))))
    (here / "packages/run.sh").chmod(0o700)
    (there / "packages/run.sh").chmod(0o775)
    os.utime(there / "model/model.py", (1, 1))

    for folder, umask, language, zone in ((here, 0o022, "C", "UTC"), (there, 0o077, "C.UTF-8", "Asia/Tokyo")):
        subprocess.run(
            [TRUSS, "image", "build-context", str(folder) + "-out", str(folder)],
            env={**os.environ, "LC_ALL": language, "TZ": zone, "PYTHONHASHSEED": str(umask)},
            umask=umask,
            check=True,
            timeout=60,
        )

    first = fingerprint(tmp_path / "here-out")
    assert first == fingerprint(tmp_path / "else/where-out")
    assert first["packages/packages/run.sh"][0] == 0o100755
    assert {
        "Dockerfile",
        "server/truss_server/wire.py",
        "data/data/ä.txt",
        "sources/requirements.txt",
    } <= set(first)


def test_a_context_holds_no_settings_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is handed on has no password in it."""
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:s3cret@index.test/simple")
    build_tree(tmp_path / "demo", PACKAGE)

    outcome = run(tmp_path, "image", "build-context", "out", "demo")
    assert (outcome.stdout, outcome.code) == ("", 0)

    assert all(b"s3cret" not in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


@pytest.mark.parametrize("args", [("image", "build-context", "out", "demo"), ("push", "demo", "--dry-run")])
def test_what_a_package_names_is_downloaded(tmp_path: Path, args: tuple[str, ...]) -> None:
    """A machine that has never pushed the package brings its external data, and says what has no effect."""
    build_tree(tmp_path / "site", {"words.txt": "falcons"})
    with serve_folder(tmp_path / "site", "127.0.0.1") as url:
        config = (
            f"external_data: [{{url: {url}/words.txt, local_data_path: deep/words.txt}}]\nlive_reload: true\n"
        )
        build_tree(tmp_path / "demo", {**PACKAGE, "config.yaml": config})
        outcome = run(tmp_path, *args)

    assert outcome.code == 0
    assert "external data done in" in outcome.stderr
    assert "config.yaml: not used here: live_reload.\n" in outcome.stderr
    assert args[0] == "push" or (tmp_path / "out/data/data/deep/words.txt").read_text() == "falcons"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A folder that is there is left alone, and a failure leaves none."""
    build_tree(tmp_path / "demo", PACKAGE)
    build_tree(tmp_path / "out", {"mine.txt": "mine"})

    outcome = run(tmp_path, "image", "build-context", "out", "demo")

    assert outcome.code == 2
    assert f"error: {tmp_path}/out is there already." in outcome.stderr
    assert (tmp_path / "out/mine.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo", "out"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("build-context",), "Missing argument 'OUT'."),
        (("build-context", "out", "demo", "--tag", "mine:1"), "No such option: --tag"),
        (("build", "a", "b"), "unexpected extra argument(s) (b)"),
        (("build", "demo", "--port", "8080"), "No such option: --port"),
        ((), "Missing command."),
    ],
)
def test_what_a_command_does_not_take(tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    """A word without an effect is refused, and where to read on is said."""
    outcome = run(tmp_path, "image", *args)

    assert (outcome.code, outcome.stdout) == (2, "")
    assert said in outcome.stderr
    assert f"`truss {' '.join(('image', *args[:1]))} --help` shows what there is." in outcome.stderr


@pytest.mark.parametrize(
    "tag", ["BAD TAG", "Mine", "mine:", "a//b", "-a", "a:b:c", "UP/x", "mine:-1", "x" * 300, ""]
)
def test_a_name_that_no_image_has(tmp_path: Path, tag: str) -> None:
    """It is refused before the engine is asked for anything, as a mistake of the command line."""
    build_tree(tmp_path / "demo", PACKAGE)

    outcome = run(tmp_path, "image", "build", "demo", "--tag", tag)

    assert (outcome.code, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith(f"error: {tag!r} is no name of an image.\n")


@pytest.mark.parametrize(
    "tag", ["mine", "mine:1", "a/b/c:v.1", "localhost/x", "host:5000/x__y/z-w:Latest", "Registry.Example/x"]
)
def test_a_name_of_an_image(tmp_path: Path, tag: str) -> None:
    """It is not what is refused."""
    build_tree(tmp_path / "demo", PACKAGE)

    outcome = run(tmp_path, "image", "build", "demo", "--tag", tag)

    assert outcome == Outcome("", "error: No Docker engine answers here.\n", 6)


def test_a_dry_run_without_an_engine_shows_the_dockerfile(tmp_path: Path) -> None:
    """All stages in order, and one line about what cannot be known."""
    build_tree(tmp_path / "demo", PACKAGE)

    outcome = run(tmp_path, "push", "demo", "--dry-run")

    stages = re.findall(r"^FROM (\S+) AS (\S+)$", outcome.stdout, re.MULTILINE)
    assert stages == [
        ("python:3.11-slim", "uv-install"),
        ("scratch", "uv"),
        ("python:3.11-slim", "server-install"),
        ("python:3.11-slim", "server"),
        ("server", "environment-install"),
        ("server", "environment"),
        ("environment", "data"),
        ("data", "packages"),
        ("packages", "release"),
    ]
    expected = "What an engine would have to build is not known: No Docker engine answers here.\n"
    assert outcome.stderr.endswith(expected)
    assert outcome.code == 0


def test_a_dry_run_for_programs(tmp_path: Path) -> None:
    """One object."""
    build_tree(tmp_path / "demo", PACKAGE)

    found = json.loads(run(tmp_path, "push", "demo", "--dry-run", "--output", "json").stdout)

    assert found["images"] == []
    assert found["dockerfile"].startswith("# Made by truss")


def test_a_dry_run_is_for_docker(tmp_path: Path) -> None:
    """The other target builds no image."""
    build_tree(tmp_path / "demo", PACKAGE)

    outcome = run(tmp_path, "push", "demo", "--dry-run", "--target", "local")

    assert outcome.code == 2
    assert outcome.stderr.startswith("error: The target local builds no image.\n")


def test_the_waterfall_shows_where_the_time_went() -> None:
    """A bar begins where the one before ends; what was there has none."""
    images = [
        BuiltImage("server", "truss-server:1", cached=True, seconds=0.0, size=38_000_000),
        BuiltImage("environment", "truss-environment:1", cached=False, seconds=9.0, size=2_500_000_000),
        BuiltImage("release", "truss/demo:1", cached=False, seconds=1.0, size=700),
    ]

    assert list(format_waterfall(images)) == [
        "server          cached     38 MB",
        "environment      9.0 s    2.5 GB  ###########################",
        "release          1.0 s     700 B                             ###",
        "                  10 s    2.5 GB",
    ]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (38_400_000, "38 MB"), (5e15, "5000 TB")]
)
def test_sizes_are_short(size: float, text: str) -> None:
    """Three digits or so, in the unit that fits."""
    assert format_size(size) == text


def test_progress_for_programs() -> None:
    """Each event is an object on a line of its own; a failed step ends as failed."""
    written: list[str] = []
    progress = JsonProgress(written.append, clock=lambda: 1.0)

    def fail() -> None:
        with progress.step("build"):
            progress.detail("\x1b[31mCollecting idna")
            progress.built([BuiltImage("release", "truss/demo:1", cached=False, seconds=0.25, size=7)])
            raise EngineError("gone")

    with pytest.raises(EngineError):
        fail()

    image = {"image": "release", "tag": "truss/demo:1", "cached": False, "seconds": 0.25, "size": 7}
    assert [json.loads(line) for line in written] == [
        {"event": "step", "step": "build", "state": "running"},
        {"event": "line", "text": "Collecting idna"},
        {"event": "image", **image},
        {"event": "step", "step": "build", "state": "failed", "seconds": 0.0},
    ]
