"""A release's plan: what is in it, and when two of them are the same."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from truss import __version__, plan
from truss.errors import PackageError
from truss.plan import plan_release
from truss_server.protocol import Manifest

MODEL = "class Model:\n    def predict(self, x):\n        return x\n"


def write(package: Path, files: dict[str, str]) -> Path:
    """Write a package with these files and return its folder."""
    for name, text in {"config.yaml": "", "model/model.py": MODEL, **files}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return package


def test_plan(tmp_path: Path) -> None:
    """A plan holds the manifest, the files and what the environment is to hold."""
    package = write(tmp_path / "falcon", {"config.yaml": "requirements: [torch]\n", "data/w": ""})

    planned = plan_release(package)

    assert planned.package == package
    assert planned.requirements == ("torch",)
    assert [str(file.path) for file in planned.files] == ["config.yaml", "data/w", "model/model.py"]
    assert planned.manifest.model == "falcon"
    assert planned.manifest.tool_version == __version__
    assert planned.manifest.config == planned.config.filled()
    assert len(planned.manifest.digest) == 64
    assert Manifest.from_json(planned.manifest.to_json()) == planned.manifest


def test_plan_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan made from `.` is the plan made from its full path."""
    package = write(tmp_path / "falcon", {})
    expected = plan_release(package)
    monkeypatch.chdir(package)

    assert plan_release(Path()) == expected


def test_requirements_of_a_file(tmp_path: Path) -> None:
    """A requirements file is read, and goes into the release as it is."""
    package = write(
        tmp_path,
        {
            "config.yaml": "requirements_file: deps/r.txt\n",
            "deps/r.txt": "# why\ntorch==2 \\\n  --hash=sha256:aa\n",
        },
    )

    planned = plan_release(package)

    assert planned.requirements == ("torch==2    --hash=sha256:aa",)
    assert "deps/r.txt" in {str(file.path) for file in planned.files}


def test_requirements_file_that_names_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line that no image could follow is named at its place."""
    write(tmp_path, {"config.yaml": "requirements_file: r.txt\n", "r.txt": "torch\n-r more.txt\n\n./x\n"})
    monkeypatch.chdir(tmp_path)

    with pytest.raises(PackageError) as caught:
        plan_release(Path())

    assert caught.value.message == "r.txt cannot be used as it is."
    assert caught.value.details == (
        "r.txt:2:1: there is no file `more.txt` in the package\n"
        "  2 | -r more.txt\n"
        "    | ^\n"
        "\n"
        "r.txt:4:1: `./x` is a path on this machine: name a wheel in the package, a URL, "
        "or put the code into `external_package_dirs`\n"
        "  4 | ./x\n"
        "    | ^"
    )


def test_requirements_file_that_is_no_text(tmp_path: Path) -> None:
    """A requirements file in another encoding says so."""
    package = write(tmp_path, {"config.yaml": "requirements_file: r.txt\n"})
    (package / "r.txt").write_bytes(b"caf\xe9\n")

    with pytest.raises(PackageError, match="is not UTF-8"):
        plan_release(package)


def test_implied_requirements(tmp_path: Path) -> None:
    """What model and packages import of the server's libraries is asked for; data is not read for it."""
    package = write(
        tmp_path,
        {
            "config.yaml": "requirements: [torch]\n",
            "model/model.py": "import fastapi\n" + MODEL,
            "packages/deep/x.py": "from starlette.responses import Response\n",
            "data/x.py": "import starlette\n",
        },
    )

    assert plan_release(package).requirements == ("torch", "fastapi", "starlette")

    shutil.rmtree(package / "packages")

    assert plan_release(package).requirements == ("torch", "fastapi")


@pytest.mark.parametrize("text", ["import nothing\n", "class Modle: ...\n", "class\n"])
def test_a_model_that_cannot_be(tmp_path: Path, text: str) -> None:
    """A package without its model gets no plan."""
    with pytest.raises(PackageError, match=r"model/model\.py"):
        plan_release(write(tmp_path, {"model/model.py": text}))


def test_digest_knows_no_place_and_no_time(tmp_path: Path) -> None:
    """A package that was copied elsewhere, at another time, with other permissions, has the same digest."""
    first = write(tmp_path / "a/falcon", {"data/w": "1", "model/__pycache__/x.pyc": "1"})
    second = write(tmp_path / "b/falcon", {"data/w": "1"})
    os.utime(second / "data/w", (0, 0))
    (second / "data/w").chmod(0o600)

    assert plan_release(first).manifest.digest == plan_release(second).manifest.digest


def test_name_of_the_folder_counts(tmp_path: Path) -> None:
    """The folder's name is content where it names the model, and nothing where the configuration does."""
    unnamed = [write(tmp_path / name, {}) for name in ("a", "b")]
    named = [write(tmp_path / name, {"config.yaml": "model_name: x\n"}) for name in ("c", "d")]

    first, second, third, fourth = (plan_release(package).manifest.digest for package in [*unnamed, *named])

    assert first != second
    assert third == fourth


@pytest.mark.parametrize("part", ["tool", "server"])
def test_digest_knows_tool_and_server(tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of the tool, or other sources of the server, make another release of the same package."""
    package = write(tmp_path, {})
    before = plan_release(package).manifest.digest

    if part == "tool":
        monkeypatch.setattr(plan, "__version__", "99")
    else:
        monkeypatch.setattr(plan, "server_digest", lambda: "another")

    assert plan_release(package).manifest.digest != before


contents = st.dictionaries(
    st.sampled_from(["data/a", "data/b", "packages/x.py", "model/b", "data/sub/a"]),
    st.tuples(st.sampled_from(["", "a", "b", "ab"]), st.booleans()),
    max_size=3,
)


def _digest_of(files: dict[str, tuple[str, bool]]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        package = write(Path(folder) / "falcon", {name: text for name, (text, _) in files.items()})
        for name, (_, executable) in files.items():
            (package / name).chmod(0o755 if executable else 0o644)
        return plan_release(package).manifest.digest


@settings(deadline=None, max_examples=60)
@given(contents, contents)
def test_digest_changes_iff_content_does(
    first: dict[str, tuple[str, bool]], second: dict[str, tuple[str, bool]]
) -> None:
    """Two packages have the same digest exactly if their files, contents and executable bits are the same."""
    assert (_digest_of(first) == _digest_of(second)) == (first == second)


@pytest.mark.parametrize(
    "text",
    [
        "model_name: falcon\n",
        "requirements: [torch]\n",
        "runtime: {predict_concurrency: 2}\n",
        "# a comment\n",
    ],
)
def test_digest_knows_the_configuration(tmp_path: Path, text: str) -> None:
    """Every change of config.yaml is a change of the release, which holds the file as it was written."""
    before = plan_release(write(tmp_path, {})).manifest.digest

    assert plan_release(write(tmp_path, {"config.yaml": text})).manifest.digest != before


def test_manifest_is_json(tmp_path: Path) -> None:
    """Whatever an author writes as metadata, the manifest is JSON."""
    package = write(tmp_path, {"config.yaml": "model_metadata: {when: 2024-01-31, tags: [a, 1, null, .5]}\n"})

    manifest = json.loads(plan_release(package).manifest.to_json())

    assert manifest["config"]["model_metadata"] == {"when": "2024-01-31", "tags": ["a", 1, None, 0.5]}


def test_a_server_of_ones_own(tmp_path: Path) -> None:
    """A package with a server needs no model class, nor its folder; it gets the requirements it lists, no others."""
    config = (
        "docker_server: {start_command: python packages/s.py, readiness_endpoint: /}\nrequirements: [torch]\n"
    )
    package = write(tmp_path, {"config.yaml": config, "packages/s.py": "import fastapi\n"})
    shutil.rmtree(package / "model")
    planned = plan_release(package)

    assert [str(file.path) for file in planned.files] == ["config.yaml", "packages/s.py"]
    assert planned.requirements == ("torch",)


@pytest.mark.parametrize("command", ["python main.py", "uvicorn main:app --port 8000", "python -m main"])
def test_a_server_beside_its_configuration(tmp_path: Path, command: str) -> None:
    """A file that the command names, and no release has, is told of before the server misses it."""
    text = f"docker_server: {{start_command: {command!r}, readiness_endpoint: /}}\n"
    package = write(tmp_path, {"config.yaml": text, "main.py": "", "python.py": "", "packages/x.py": ""})

    (doubt,) = plan_release(package).doubts

    assert doubt == (
        "main.py lies beside config.yaml, and a release has the folders model, packages and data alone: "
        "move it into one of them."
    )
