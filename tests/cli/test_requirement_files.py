"""Files of requirements: what each kind asks for, and what is refused; locks are written and read by the real uv."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.fakes import RecordedProgress
from tests.file_server import serve_folder
from tests.helpers import build_tree
from tests.wheelhouse import make_index, make_wheel
from truss.config import TrussConfig
from truss.environment import Wanted, model_python
from truss.errors import BuildError, PackageError
from truss.memory import Memory
from truss.plan import plan_release
from truss.requirement_files import Asked, read_requirements
from truss.uv_settings import find_uv

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "class Model:\n    def predict(self, x):\n        return x\n"
PROJECT = '[project]\nname = "mine"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = ["tiny<2"]\n'


BACKEND = """
def prepare_metadata_for_build_wheel(folder, settings=None):
    from pathlib import Path
    info = Path(folder, "theirs-1.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: theirs\\nVersion: 1\\n")
    return info.name
def build_wheel(folder, settings=None, metadata=None):
    import zipfile
    from pathlib import Path
    with zipfile.ZipFile(Path(folder, "theirs-1-py3-none-any.whl"), "w") as wheel:
        for name, text in {"METADATA": "Metadata-Version: 2.1\\nName: theirs\\nVersion: 1\\n",
            "WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n", "RECORD": ""}.items():
            wheel.writestr(f"theirs-1.dist-info/{name}", text)
    return "theirs-1-py3-none-any.whl"
"""


def read(package: Path, name: str) -> Asked:
    """Return what a file of a package asks for."""
    return read_requirements(package, TrussConfig(requirements_file=name), Memory())


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """Give a project that uv has locked to an index of its own; what its table says by now is looser."""
    make_wheel(tmp_path / "house", "tiny", "1.0")
    make_wheel(tmp_path / "house", "tiny", "1.5")
    make_wheel(tmp_path / "house", "linter")
    group = '[dependency-groups]\ndev = ["linter"]\n'
    package = build_tree(tmp_path / "package", {"pyproject.toml": PROJECT.replace("<2", "<1.5") + group})
    lock = [find_uv(), "lock", "--default-index", make_index(tmp_path / "house"), "--no-config"]
    subprocess.run(
        lock, cwd=package, check=True, capture_output=True, timeout=60, env={"PATH": os.environ["PATH"]}
    )
    (package / "pyproject.toml").write_text(PROJECT + group)
    return package


def test_files_that_include_others(tmp_path: Path) -> None:
    """Includes are relative to the file that names them, each is read once, and constraints stay constraints."""
    package = build_tree(
        tmp_path,
        {
            "r/main.txt": "-r base.txt\ntorch\n--constraint=../pins/c.txt\n-rbase.txt\n",
            "r/base.txt": "--requirement 'main.txt'\nnumpy\n",
            "pins/c.txt": "-r more.txt\nnumpy<3\n",
            "pins/more.txt": "torch<3\n",
        },
    )

    asked = read(package, "r/main.txt")

    assert asked.lines == ["numpy", "torch"]
    assert asked.constraints == ["torch<3", "numpy<3"]
    assert asked.files == ["r/main.txt", "r/base.txt", "pins/c.txt", "pins/more.txt"]


@pytest.mark.parametrize(
    "other", ["../outside.txt", "/etc/hostname", "https://example.org/r.txt", "nowhere.txt"]
)
def test_includes_outside_the_package(tmp_path: Path, other: str) -> None:
    """An image holds the package and nothing beside it."""
    package = build_tree(tmp_path, {"outside.txt": "", "package/r.txt": f"-r {other}\n"}) / "package"

    with pytest.raises(PackageError, match="cannot be used as it is") as caught:
        read(package, "r.txt")

    assert "r.txt:1:1: there is no file" in caught.value.details


def test_a_link_out_of_the_package(tmp_path: Path) -> None:
    """A link is followed before it is read."""
    package = build_tree(tmp_path, {"outside.txt": "", "package/a": ""}) / "package"
    (package / "r.txt").symlink_to("../outside.txt")

    with pytest.raises(PackageError, match="leads out of the package"):
        read(package, "r.txt")


def test_a_project(tmp_path: Path) -> None:
    """The dependencies of [project] are taken, its groups and extras are not."""
    package = build_tree(tmp_path, {"pyproject.toml": PROJECT + "optional-dependencies = {x = ['y']}\n"})

    asked = read(package, "pyproject.toml")

    assert asked.lines == ["tiny<2"]
    assert asked.files == ["pyproject.toml"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.poetry.dependencies]\ntorch = '2'\n", "has no [project] table"),
        ("[project]\ndynamic = ['dependencies']\n", "are dynamic"),
        ("[project]\ndependencies = 'torch'\n", "is no list of texts"),
        ("[project]\ndependencies = ['x @ file:///srv/x']\n", "cannot be used as it is"),
        (PROJECT + "[tool.uv.sources]\nTiny = {path = '../tiny'}\n", "says where tiny comes from"),
        ("[project\n", "is no TOML"),
    ],
)
def test_projects_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    """One sentence says what is wrong with a `pyproject.toml`."""
    package = build_tree(tmp_path, {"pyproject.toml": text})

    with pytest.raises(PackageError) as caught:
        read(package, "pyproject.toml")

    assert words in caught.value.message


def test_a_lock(locked: Path) -> None:
    """What it pins is taken with its hashes, whatever `pyproject.toml` would allow by now; groups are not."""
    asked = read(locked, "uv.lock")

    (line,) = asked.lines
    assert line.startswith("tiny==1.0 ")
    assert "--hash=sha256:" in line
    assert asked.complete
    assert asked.files == ["uv.lock", "pyproject.toml"]


def test_one_pin_from_git_leaves_the_hashes_of_the_others(locked: Path, tmp_path: Path) -> None:
    """What an index gives instead of what was locked is not installed."""
    repository = tmp_path / "theirs"
    project = '[project]\nname = "theirs"\nversion = "1"\n[build-system]\nrequires = []\n'
    backend = 'build-backend = "backend"\nbackend-path = ["."]\n'
    build_tree(repository, {"pyproject.toml": project + backend, "backend.py": BACKEND})
    git = ["git", "-c", "user.name=me", "-c", "user.email=me@localhost"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], cwd=repository, check=True, capture_output=True, timeout=60)
    text = (locked / "pyproject.toml").read_text()
    sources = f'[tool.uv.sources]\ntheirs = {{ git = "file://{repository}" }}\n'
    (locked / "pyproject.toml").write_text(text.replace('"tiny<2"', '"tiny<1.5", "theirs"') + sources)
    index = ["--default-index", (tmp_path / "house" / "simple").as_uri()]
    environ = {"PATH": os.environ["PATH"], "UV_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run(
        [find_uv(), "lock", *index], cwd=locked, check=True, capture_output=True, timeout=60, env=environ
    )
    make_wheel(tmp_path / "house", "tiny", "1.0", source="tampered = True")
    shutil.rmtree(tmp_path / "house/simple")
    make_index(tmp_path / "house")
    wanted = Wanted(tuple(read(locked, "uv.lock").lines), None)

    with pytest.raises(BuildError) as caught:
        model_python(
            wanted,
            tmp_path / "made",
            RecordedProgress(),
            {**environ, "HOME": str(tmp_path), "UV_DEFAULT_INDEX": index[1]},
        )

    assert "Hash mismatch for `tiny==1.0`" in caught.value.details


@pytest.mark.parametrize("settings", [{}, {"UV_INDEX_STRATEGY": "first-index"}], ids=str)
def test_an_index_of_the_project(tmp_path: Path, settings: dict[str, str]) -> None:
    """What a lock has from it is found there, and nothing else is; it is not asked where no index is."""
    make_wheel(tmp_path / "main", "tiny", "1.0", source="where = 'main'")
    make_wheel(tmp_path / "main", "torchy", "1.0", source="where = 'main'")
    make_wheel(tmp_path / "theirs", "tiny", "1.0", source="where = 'theirs'")
    make_wheel(tmp_path / "theirs", "torchy", "1.0+cpu", source="where = 'theirs'", requires=("tiny",))
    main = make_index(tmp_path / "main")
    make_index(tmp_path / "theirs")
    environ = {"PATH": os.environ["PATH"], "UV_CACHE_DIR": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    with serve_folder(tmp_path / "theirs", "127.0.0.1") as url:
        project = PROJECT.replace('"tiny<2"', '"tiny", "torchy"') + (
            '[tool.uv.sources]\ntorchy = { index = "theirs" }\n'
            f'[[tool.uv.index]]\nname = "theirs"\nurl = "{url}/simple"\nexplicit = true\n'
        )
        package = build_tree(tmp_path / "package", {"pyproject.toml": project})
        lock = [find_uv(), "lock", "--default-index", main]
        subprocess.run(lock, cwd=package, check=True, capture_output=True, timeout=60, env=environ)
        wanted = Wanted(tuple(read(package, "uv.lock").lines), None)
        python = model_python(
            wanted, tmp_path / "made", RecordedProgress(), {**environ, "UV_DEFAULT_INDEX": main, **settings}
        )

    code = "import tiny, torchy; print(tiny.where, torchy.where)"
    said = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    assert said.stdout == "main theirs\n"
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{tmp_path}/main {tmp_path}/theirs"}
    (tmp_path / "theirs/tiny-1.0-py3-none-any.whl").unlink()
    environ["UV_CACHE_DIR"] = str(tmp_path / "other cache")
    assert model_python(wanted, tmp_path / "offline", RecordedProgress(), {**environ, **offline}).exists()


@pytest.mark.parametrize("written", ["", "me:s3cret@"], ids=["without password", "with password"])
def test_login_of_an_index_of_the_project(tmp_path: Path, written: str) -> None:
    """Name and password are those that uv's variables hold for it; what the project's file says stays there."""
    make_wheel(tmp_path / "theirs", "tiny", "1.0", source="where = 'theirs'")
    make_index(tmp_path / "theirs")
    environ = {"PATH": os.environ["PATH"], "UV_CACHE_DIR": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    environ |= {"UV_INDEX_OUR_OWN_USERNAME": "me", "UV_INDEX_OUR_OWN_PASSWORD": "s3cret"}
    with serve_folder(tmp_path / "theirs", "127.0.0.1", "me:s3cret") as url:
        at = url.replace("me:s3cret@", written)
        project = f'{PROJECT}[[tool.uv.index]]\nname = "our-own"\nurl = "{at}/simple"\ndefault = true\n'
        package = build_tree(tmp_path / "package", {"pyproject.toml": project})
        subprocess.run(
            [find_uv(), "lock"], cwd=package, check=True, capture_output=True, timeout=60, env=environ
        )
        asked = read(package, "uv.lock")
        lines = asked.lines
        environ["UV_CACHE_DIR"] = str(tmp_path / "other cache")
        python = model_python(Wanted(tuple(lines), None), tmp_path / "made", RecordedProgress(), environ)

    code = "import tiny; print(tiny.where)"
    said = subprocess.run([python, "-c", code], check=True, capture_output=True, timeout=30)
    assert said.stdout == b"theirs\n"
    assert "s3cret" not in "".join(lines)
    assert ["has a login in the URL of the index our-own" in one for one in asked.doubts] == [True] * bool(
        written
    )


@pytest.mark.parametrize(
    "name", ["poetry.lock", "Pipfile", "environment.yml", "conf/pylock.toml", "setup.py"]
)
def test_files_of_other_tools(tmp_path: Path, name: str) -> None:
    """What is no file of pip's is refused as a whole, and not line by line."""
    build_tree(tmp_path, {name: "[[package]]\nname = 1\n"})

    with pytest.raises(PackageError) as caught:
        read(tmp_path, name)

    assert caught.value.message == f"`requirements_file` names {name}, which is not read here."
    assert caught.value.hint == "Name a pip file, such as requirements.txt, a pyproject.toml or a uv.lock."


def test_a_login_in_a_project(tmp_path: Path) -> None:
    """The file goes into the image, so a login in it is told of, whether or not there is a lock; it is not shown."""
    url = "https://me:s3cret@index.test/simple"
    text = f'[project]\nname = "x"\ndependencies = []\n[[tool.uv.index]]\nurl = "{url}"\n'
    build_tree(tmp_path, {"pyproject.toml": text})

    (doubt,) = read(tmp_path, "pyproject.toml").doubts

    assert "has a login in the URL of the index https://index.test/simple" in doubt
    assert "s3cret" not in doubt


def test_a_file_that_is_all_wrong(tmp_path: Path) -> None:
    """Its first problems are shown, and how many there are."""
    build_tree(tmp_path, {"wrong.txt": "= =\n" * 500})

    with pytest.raises(PackageError) as caught:
        read(tmp_path, "wrong.txt")

    assert "wrong.txt:20:1" in caught.value.details
    assert caught.value.details.endswith("\n\n... and 480 more.")


def test_nothing_is_added_to_a_lock(locked: Path) -> None:
    """An import implies fastapi, but a lock is all there is to be."""
    build_tree(
        locked, {"config.yaml": "requirements_file: uv.lock\n", "model/model.py": "import fastapi\n" + MODEL}
    )

    assert [line.partition(" ")[0] for line in plan_release(locked).requirements] == ["tiny==1.0"]


def test_a_lock_without_its_project(locked: Path) -> None:
    """Both files say what a lock is."""
    (locked / "pyproject.toml").unlink()

    with pytest.raises(PackageError, match=r"There is no file pyproject\.toml") as caught:
        read(locked, "uv.lock")

    assert caught.value.hint == "uv needs it beside uv.lock."


def test_a_lock_that_is_none(locked: Path) -> None:
    """What uv says is shown."""
    (locked / "uv.lock").write_text("version = ")

    with pytest.raises(PackageError, match=r"uv could not read .*uv\.lock") as caught:
        read(locked, "uv.lock")

    assert "uv.lock" in caught.value.details


def test_wheels_count(tmp_path: Path) -> None:
    """A wheel is no part of the release's files, but another one makes another release."""
    make_wheel(tmp_path / "wheels", "ours", source="a = 1")
    config = "requirements: [./wheels/ours-1.0-py3-none-any.whl]\n"
    package = build_tree(tmp_path, {"config.yaml": config, "model/model.py": MODEL})
    first = plan_release(package)

    make_wheel(tmp_path / "wheels", "ours", source="a = 2")
    second = plan_release(package)

    assert [str(wheel.path) for wheel in first.wheels] == ["wheels/ours-1.0-py3-none-any.whl"]
    assert [str(file.path) for file in first.files] == ["config.yaml", "model/model.py"]
    assert first.manifest.digest != second.manifest.digest


def test_a_wheel_that_is_missing(tmp_path: Path) -> None:
    """The package must have it."""
    config = "requirements: [./wheels/ours-1.0-py3-none-any.whl]\n"
    package = build_tree(tmp_path, {"config.yaml": config, "model/model.py": MODEL})

    with pytest.raises(PackageError, match=r"There is no file wheels/ours-1\.0-py3-none-any\.whl"):
        plan_release(package)


def test_a_wheel_that_a_pip_file_names_and_nobody_has(tmp_path: Path) -> None:
    """The line that names it is shown."""
    build_tree(tmp_path, {"r.txt": "numpy\n./wheels/ours-1.0-py3-none-any.whl\n"})

    with pytest.raises(PackageError, match="cannot be used as it is") as caught:
        read(tmp_path, "r.txt")

    assert (
        "r.txt:2:1: there is no file `wheels/ours-1.0-py3-none-any.whl` in the package"
        in caught.value.details
    )


def test_a_lock_that_is_older_than_its_project(locked: Path) -> None:
    """What it pins is what counts; that it was made for something else is told."""
    (doubt,) = read(locked, "uv.lock").doubts

    assert doubt == (
        "uv.lock was made for other dependencies than pyproject.toml has now: tiny. "
        "What it pins is installed; `uv lock` writes it anew."
    )


@pytest.mark.parametrize(
    "dependencies",
    [
        '"tiny<1.5"',
        '"Tiny <1.5"',
        '"tiny @ https://example.org/tiny-1.0-py3-none-any.whl"',
        "\"tiny <1.5 ; python_version > '3'\"",
    ],
    ids=str,
)
def test_a_lock_of_its_project(locked: Path, dependencies: str) -> None:
    """However its versions are written, nothing is told of one that was made for it."""
    project = locked / "pyproject.toml"
    project.write_text(project.read_text().replace('"tiny<2"', dependencies))

    assert read(locked, "uv.lock").doubts == []


@pytest.mark.parametrize("dependencies", ['"tiny<1.5", "more"', "", '"tiny<1.5,>1"'], ids=str)
def test_a_lock_of_another_project(locked: Path, dependencies: str) -> None:
    """One more, one less, or another version."""
    project = locked / "pyproject.toml"
    project.write_text(project.read_text().replace('"tiny<2"', dependencies))

    assert len(read(locked, "uv.lock").doubts) == 1


@pytest.mark.parametrize(
    ("asked", "config", "advice"),
    [
        (">=3.12", {}, "write `python_version`"),
        ("<3.11", {"python_version": "py311"}, "change `python_version`"),
        (">=3.11.4", {}, ""),
        (">=3.12", {"python_version": "py312"}, ""),
        (">=3.12", {"base_image": {"image": "python:3.12-slim"}}, ""),
        ("what?", {}, ""),
    ],
)
def test_a_project_for_another_python(
    tmp_path: Path, asked: str, config: dict[str, object], advice: str
) -> None:
    """It is told what the project asks for and what its images have."""
    build_tree(tmp_path, {"pyproject.toml": PROJECT.replace(">=3.9", asked)})
    settings = TrussConfig.model_validate({"requirements_file": "pyproject.toml", **config})

    doubts = read_requirements(tmp_path, settings, Memory()).doubts

    assert len(doubts) == bool(advice)
    assert advice in "".join(doubts)
    assert all(
        f"asks for Python {asked}, and images of this package have Python 3.11" in one for one in doubts
    )
