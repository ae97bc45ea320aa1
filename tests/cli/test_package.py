"""A package's files: which make a release, and which are refused."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from truss.config import TrussConfig, load_config
from truss.errors import PackageError
from truss.hashes import CHUNK
from truss.memory import Memory
from truss.package import package_files

if TYPE_CHECKING:
    from truss.release import PackageFile

MODEL = "class Model:\n    def predict(self, x):\n        return x\n"


def tree(root: Path, files: dict[str, str]) -> Path:
    """Write files below a folder and return it."""
    for name, text in {"config.yaml": "", "model/model.py": MODEL, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def collect(package: Path) -> tuple[PackageFile, ...]:
    """Collect a package's files."""
    return package_files(package, load_config(package), Memory())


def names(package: Path) -> list[str]:
    """Collect a package's files and return their paths."""
    return [str(file.path) for file in collect(package)]


def refused(package: Path) -> PackageError:
    """Collect the files of a package that has one that cannot be taken, and return the error."""
    with pytest.raises(PackageError) as caught:
        collect(package)
    return caught.value


def test_what_makes_a_release(tmp_path: Path) -> None:
    """Only the configuration, the requirements file and the three folders are taken, sorted by path."""
    package = tree(
        tmp_path,
        {
            "config.yaml": "requirements_file: deps/requirements.txt\n",
            "deps/requirements.txt": "torch\n",
            "deps/notes.txt": "",
            "data/weights.bin": "w",
            "packages/helper/__init__.py": "",
            "model/__init__.py": "",
            "README.md": "",
            "notebook.ipynb": "",
            ".env": "TOKEN=secret",
        },
    )

    assert names(package) == [
        "config.yaml",
        "data/weights.bin",
        "deps/requirements.txt",
        "model/__init__.py",
        "model/model.py",
        "packages/helper/__init__.py",
    ]


def test_what_is_known_of_a_file(tmp_path: Path) -> None:
    """A file's size, hash and executable bit are noted, whatever its other bits and however large it is."""
    package = tree(tmp_path, {"data/run.sh": "echo\n"})
    (package / "data/run.sh").chmod(0o700)
    content = b"x" * (CHUNK + 1)
    (package / "data/weights.bin").write_bytes(content)
    (package / "data/weights.bin").chmod(0o664)

    script, weights = (file for file in collect(package) if file.path.parent.name == "data")

    assert (script.executable, script.size) == (True, 5)
    assert weights.executable is False
    assert weights.size == len(content)
    assert weights.sha256 == hashlib.sha256(content).hexdigest()
    assert weights.source.read_bytes() == content


def test_litter_is_ignored_and_nothing_else(tmp_path: Path) -> None:
    """What tools leave behind is no part of a release; folders that authors use are, whatever they are called."""
    kept = [
        "data/build/x",
        "data/dist/x",
        "model/env/x.py",
        "model/lib/x.so",
        "model/target/x.log",
        "packages/parts/x.py",
    ]
    litter = [
        "data/.DS_Store",
        "data/.git/HEAD",
        "model/.mypy_cache/x",
        "model/.venv/bin/python",
        "model/__pycache__/model.pyc",
        "packages/x.pyc",
    ]
    package = tree(tmp_path, dict.fromkeys([*kept, *litter], ""))

    assert sorted({*kept, "config.yaml", "model/model.py"}) == names(package)


def test_trussignore(tmp_path: Path) -> None:
    """`.trussignore` means what `.gitignore` means: comments, anchors, folders, negation."""
    package = tree(
        tmp_path,
        {
            ".trussignore": "# big\n*.bin\n!small.bin\n/data/raw/\ntests/\n!.DS_Store\n",
            "data/big.bin": "",
            "data/small.bin": "",
            "data/raw/small.bin": "",
            "model/raw/x": "",
            "model/tests/test_x.py": "",
            "packages/.DS_Store": "",
        },
    )

    assert names(package) == [
        "config.yaml",
        "data/small.bin",
        "model/model.py",
        "model/raw/x",
        "packages/.DS_Store",
    ]


def test_trussignore_agrees_with_git(tmp_path: Path) -> None:
    """What git would leave out of a commit is what stays out of a release."""
    patterns = "*.bin\n!keep.bin\n/model/a\nb/\ndata/**/c\n\\#d\ne\\ \n[fg]\nmodel/*/deep\n"
    wanted = ["x.bin", "keep.bin", "a", "b/y", "q/c", "#d", "e ", "f", "z/deep/w", "h"]
    package = tree(tmp_path, {f"{top}/{name}": "" for top in ("data", "model") for name in wanted})
    (package / ".trussignore").write_text(patterns)
    (package / ".gitignore").write_text(patterns)
    git = ["git", "-C", str(package), "-c", "core.quotePath=false"]
    subprocess.run([*git, "init", "-q"], check=True, timeout=30)
    listed = subprocess.run(
        [*git, "ls-files", "-z", "--others", "--exclude-standard"],
        check=True,
        timeout=30,
        capture_output=True,
        text=True,
    ).stdout

    assert names(package) == sorted({*listed.split("\0")} - {"", ".gitignore", ".trussignore"})


def test_bad_pattern(tmp_path: Path) -> None:
    """A line of `.trussignore` that means nothing is named."""
    package = tree(tmp_path, {".trussignore": "*.bin\n!\n"})

    assert refused(package).message == ".trussignore:2: `!` is no pattern."


def test_trussignore_that_is_no_text(tmp_path: Path) -> None:
    """A `.trussignore` that cannot be read is named rather than passed over."""
    package = tree(tmp_path, {})
    (package / ".trussignore").write_bytes(b"\xff")

    assert refused(package).message.startswith(".trussignore cannot be read: ")


@pytest.mark.parametrize("above", ["build", "dist", "__pycache__", ".venv", "data.bin"])
def test_place_of_the_package(tmp_path: Path, above: str) -> None:
    """Patterns look at paths inside the package, never at where it lies."""
    package = tree(tmp_path / above / "falcon", {".trussignore": "*.bin\nbuild\n", "data/x": ""})

    assert names(package) == ["config.yaml", "data/x", "model/model.py"]


def test_files_that_are_needed_are_not_ignored(tmp_path: Path) -> None:
    """A pattern cannot take away the files that the configuration is made of."""
    package = tree(
        tmp_path,
        {
            "config.yaml": "requirements_file: r.txt\n",
            "r.txt": "",
            ".trussignore": "*.txt\n*.yaml\n",
            "data/a.txt": "",
        },
    )

    assert names(package) == ["config.yaml", "model/model.py", "r.txt"]


def test_a_folder_that_is_ignored(tmp_path: Path) -> None:
    """A whole folder of the package can be ignored."""
    package = tree(tmp_path, {".trussignore": "data/\n", "data/x": ""})

    assert names(package) == ["config.yaml", "model/model.py"]


def test_other_folders(tmp_path: Path) -> None:
    """Folders go by the names of the configuration, also when one lies in another."""
    package = tree(
        tmp_path,
        {
            "config.yaml": "model_module_dir: src/falcon\ndata_dir: src/falcon/weights\nbundled_packages_dir: libs\n",
            "src/falcon/model.py": MODEL,
            "src/falcon/weights/w": "",
            "src/other/x": "",
            "libs/x.py": "",
        },
    )

    assert names(package) == ["config.yaml", "libs/x.py", "src/falcon/model.py", "src/falcon/weights/w"]


def test_links_inside(tmp_path: Path) -> None:
    """A link that stays inside the package becomes what it names, also where that is no part of a release."""
    package = tree(tmp_path, {"blobs/w": "weights", "model/sub/x.py": "x"})
    (package / "data").mkdir()
    (package / "data/weights.bin").symlink_to("../blobs/w")
    (package / "data/sub").symlink_to(package / "model/sub")
    (package / "packages").symlink_to("model/sub")

    files = {str(file.path): file for file in collect(package)}

    assert sorted(files) == [
        "config.yaml",
        "data/sub/x.py",
        "data/weights.bin",
        "model/model.py",
        "model/sub/x.py",
        "packages/x.py",
    ]
    assert files["data/weights.bin"].size == len("weights")


def test_package_reached_by_a_link(tmp_path: Path) -> None:
    """A package may itself be reached by a link."""
    package = tree(tmp_path / "real", {"data/x": ""})
    (package / "data/y").symlink_to("x")
    (tmp_path / "link").symlink_to(package)

    assert names(tmp_path / "link") == ["config.yaml", "data/x", "data/y", "model/model.py"]


@pytest.mark.parametrize("link", ["data/out", "data", "model/deep/out", "config.yaml"])
@pytest.mark.parametrize("aim", ["file", "folder"])
def test_links_that_leave(tmp_path: Path, link: str, aim: str) -> None:
    """A link out of the package is refused and both ends are named, wherever it is."""
    (tmp_path / "outside/folder").mkdir(parents=True)
    (tmp_path / "outside/file").write_text("")
    package = tree(tmp_path / "falcon", {})
    path = package / link
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(tmp_path / "outside" / aim)

    with pytest.raises(PackageError) as caught:
        package_files(package, TrussConfig(), Memory())

    assert caught.value.message == f"{link} leads out of the package, to {tmp_path}/outside/{aim}."
    assert ".trussignore" in caught.value.hint


def test_link_that_leaves_but_is_ignored(tmp_path: Path) -> None:
    """A link that is ignored is nobody's business."""
    package = tree(tmp_path, {".trussignore": "out\n", "data/x": ""})
    (package / "data/out").symlink_to("/etc")

    assert names(package) == ["config.yaml", "data/x", "model/model.py"]


def test_broken_link(tmp_path: Path) -> None:
    """A link to nothing is named with what it should lead to."""
    package = tree(tmp_path, {"data/x": ""})
    (package / "data/w").symlink_to("../gone.bin")

    assert refused(package).message == "data/w is a link to nothing (../gone.bin)."


def test_link_to_itself(tmp_path: Path) -> None:
    """A link to itself is a link to nothing."""
    package = tree(tmp_path, {"data/x": ""})
    (package / "data/w").symlink_to("w")

    assert refused(package).message == "data/w is a link to nothing (w)."


def test_link_to_a_folder_above(tmp_path: Path) -> None:
    """A link that would make the package endless is refused."""
    package = tree(tmp_path, {"data/a/x": ""})
    (package / "data/a/again").symlink_to("..")

    assert refused(package).message == "The link data/a/again leads back to a folder that holds it."


def test_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket is no file."""
    package = tree(tmp_path, {"data/x": ""})
    monkeypatch.chdir(package / "data")  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("s")

    assert refused(package).message == "data/s is a socket; a release holds files only."


@pytest.mark.parametrize("path", ["model/p", "config.yaml"])
def test_pipe(tmp_path: Path, path: str) -> None:
    """A pipe is refused without waiting for somebody to write into it."""
    package = tree(tmp_path, {})
    (package / path).unlink(missing_ok=True)
    os.mkfifo(package / path)

    with pytest.raises(PackageError, match=rf"{path} is a pipe; a release|There is no file {path}"):
        package_files(package, TrussConfig(), Memory())


def test_name_that_is_no_text(tmp_path: Path) -> None:
    """A name that is no UTF-8 would be another one on another machine."""
    package = tree(tmp_path, {"data/x": ""})
    (package / os.fsdecode(b"data/caf\xe9")).write_text("")

    assert refused(package).message == "The name of b'data/caf\\xe9' is no UTF-8."


LISTED = """\
import sys
from pathlib import Path
from truss.config import TrussConfig
from truss.memory import Memory
from truss.package import package_files
config = TrussConfig(data_dir="donn\\xe9es")
print(ascii([str(file.path) for file in package_files(Path(sys.argv[1]), config, Memory())]))
"""


def test_locale_without_utf8(tmp_path: Path) -> None:
    """Names are the same in a release whatever encoding the user's locale has."""
    files = {"donn\xe9es/caf\xe9": "", "donn\xe9es/th\xe9": "", ".trussignore": "th\xe9\n"}
    package = tree(tmp_path, files)
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", LISTED, str(package)]
    environ = {**os.environ, **locale}
    said = subprocess.run(command, env=environ, timeout=30, check=True, capture_output=True, text=True).stdout

    assert r"'donn\xe9es/caf\xe9'" in said
    assert r"th\xe9" not in said


UNPRIVILEGED = """\
import os, sys
from pathlib import Path
from truss.config import TrussConfig
from truss.errors import PackageError
from truss.memory import Memory
from truss.package import package_files
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    package_files(Path(sys.argv[1]), TrussConfig(), Memory())
except PackageError as exc:
    print(exc)
"""


@pytest.mark.parametrize("path", ["data/secret", "data/closed/x"])
def test_unreadable(path: str) -> None:
    """A file or folder that may not be read is named (root may read all, so it is done as nobody)."""
    with tempfile.TemporaryDirectory() as folder:
        package = tree(Path(folder), {path: ""})
        package.chmod(0o755)
        closed = package / "data/closed" if "closed" in path else package / path
        closed.chmod(0)
        said = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, folder],
            timeout=30,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        closed.chmod(0o700)

    assert said == f"{closed} cannot be read: Permission denied.\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data_dir: weights\n", "There is no folder weights in the package."),
        ("bundled_packages_dir: libs\n", "There is no folder libs in the package."),
        ("model_module_dir: src/deep\n", "There is no folder src/deep in the package."),
        ("requirements_file: r.txt\n", "There is no file r.txt in the package."),
        ("model_module_dir: config.py\n", "There is no folder config.py in the package."),
    ],
)
def test_what_the_configuration_names_is_there(tmp_path: Path, text: str, message: str) -> None:
    """A folder or file that the configuration names and that is not there is an error."""
    package = tree(tmp_path, {"config.yaml": text, "config.py": ""})

    assert refused(package).message == message


def test_external_folders(tmp_path: Path) -> None:
    """What folders outside the package hold lies beside its own Python code, less what is ignored there."""
    tree(
        tmp_path,
        {
            "shared/lib/__init__.py": "",
            "shared/lib/__pycache__/x.pyc": "",
            "shared/notes.txt": "",
            "more/tool.py": "",
            "falcon/config.yaml": "external_package_dirs: [../shared, ../more]\n",
            "falcon/model/model.py": "",
            "falcon/packages/own.py": "",
            "falcon/.trussignore": "packages/notes.txt\n",
        },
    )

    assert names(tmp_path / "falcon") == [
        "config.yaml",
        "model/model.py",
        "packages/lib/__init__.py",
        "packages/own.py",
        "packages/tool.py",
    ]


def test_external_folders_that_disagree(tmp_path: Path) -> None:
    """Two files of one name are an error unless they are equal."""
    package = tree(
        tmp_path / "falcon",
        {"config.yaml": "external_package_dirs: [../shared]\n", "model/model.py": "", "packages/x.py": "1"},
    )
    tree(tmp_path, {"shared/x.py": "1"})
    assert "packages/x.py" in names(package)

    (tmp_path / "shared/x.py").write_text("2")

    assert refused(package).message == (
        f"packages/x.py would be both {package}/packages/x.py and {tmp_path}/shared/x.py."
    )


@pytest.mark.parametrize(
    ("folder", "words"),
    [("../nowhere", "There is no folder"), ("..", "holds the package itself"), (".", "holds")],
)
def test_external_folders_that_cannot_be(tmp_path: Path, folder: str, words: str) -> None:
    """A folder that is missing, or would hold itself, is named."""
    files = {"config.yaml": f"external_package_dirs: ['{folder}']\n", "model/model.py": ""}

    assert words in refused(tree(tmp_path / "falcon", files)).message
