"""What `truss init` makes, refuses, and leaves behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.harness import Outcome, run_truss, spawn_truss
from tests.helpers import build_tree
from truss.deps import Deps, open_target
from truss.errors import EngineError, TrussError, UsageError
from truss.names import slug
from truss.scaffold import TEMPLATES, File, name_for, plan_scaffold, write_scaffold, yaml_scalar

if TYPE_CHECKING:
    from collections.abc import Iterator


def files_in(folder: Path) -> set[str]:
    """Return the relative paths of all files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def names_in(folder: Path) -> list[str]:
    """Return the names of what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def init(cwd: Path, *args: str) -> Outcome:
    """Run `truss init` in a folder."""
    return run_truss("init", *args, deps=Deps(target=open_target, cwd=cwd))


MADE = """\
Made falcon-7b, a package whose model streams text as it is produced:
  falcon-7b/.truss/config.schema.json
  falcon-7b/.trussignore
  falcon-7b/README.md
  falcon-7b/config.yaml
  falcon-7b/data/.gitkeep
  falcon-7b/data/words.txt
  falcon-7b/model/__init__.py
  falcon-7b/model/model.py
  falcon-7b/packages/.gitkeep

Next:
  cd falcon-7b && truss push
  truss predict -d '{"prompt": "Tell me about falcons"}'
"""


def test_init(tmp_path: Path) -> None:
    """The default package is made, and what was made is what is said."""
    outcome = init(tmp_path, "falcon-7b")

    assert outcome == Outcome(stdout=MADE)
    assert {f"falcon-7b/{name}" for name in files_in(tmp_path / "falcon-7b")} == {
        line.strip() for line in MADE.splitlines() if line.startswith("  falcon-7b/")
    }
    assert names_in(tmp_path) == ["falcon-7b"]


def test_init_as_a_command(tmp_path: Path) -> None:
    """The installed command does the same without asking anything, standard input closed."""
    assert spawn_truss("init", "falcon-7b", cwd=tmp_path) == Outcome(stdout=MADE)


def test_config_names_the_model_after_the_folder(tmp_path: Path) -> None:
    """`truss init falcon-7b` gives a model of that name."""
    init(tmp_path, "falcon-7b")

    text = (tmp_path / "falcon-7b/config.yaml").read_text()

    assert text.startswith(
        "# yaml-language-server: $schema=.truss/config.schema.json\nmodel_name: falcon-7b\n"
    )


def test_modes_follow_the_umask(tmp_path: Path) -> None:
    """Folders and files are as readable as any other new ones of the user."""
    subprocess.run(
        ["bash", "-c", f"umask 027; '{Path(sys.executable).with_name('truss')}' init made"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=60,
    )

    assert oct((tmp_path / "made").stat().st_mode & 0o777) == oct(0o750)
    assert oct((tmp_path / "made/model/model.py").stat().st_mode & 0o777) == oct(0o640)


@pytest.mark.parametrize("template", TEMPLATES)
def test_each_template(template: str, tmp_path: Path) -> None:
    """Every template gives a whole package whose configuration is valid and whose files survive git."""
    assert init(tmp_path, "made", "--template", template).code == 0

    config = yaml.safe_load((tmp_path / "made/config.yaml").read_text())
    common = {"config.yaml", "model/__init__.py", "model/model.py", ".trussignore", "README.md"}

    assert config["model_name"] == "made"
    assert config["model_metadata"]["example_model_input"] == yaml.safe_load(TEMPLATES[template].example)
    assert common < files_in(tmp_path / "made")
    assert {path.name for path in (tmp_path / "made").iterdir() if path.is_dir()} == {
        ".truss",
        "data",
        "model",
        "packages",
    }
    assert not [path for path in files_in(tmp_path / "made") if path.endswith(".jinja")]
    compile((tmp_path / "made/model/model.py").read_text(), "model.py", "exec")


@pytest.mark.parametrize("template", TEMPLATES)
def test_each_template_is_clean(template: str, tmp_path: Path) -> None:
    """A scaffold passes ruff's default rules."""
    init(tmp_path, "made", "--template", template)
    ruff = [str(Path(sys.executable).with_name("ruff"))]

    check = subprocess.run(
        [*ruff, "check", "--isolated", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert check.stdout == "All checks passed!\n"


def test_unknown_template(tmp_path: Path) -> None:
    """A template that is none is answered with those that are."""
    expected = Outcome(
        stderr=(
            "error: There is no template 'stream'.\n\n"
            "hint: Take one of basic, streaming, chat, embeddings, falcon.\n"
        ),
        code=2,
    )

    assert init(tmp_path, "made", "--template", "stream") == expected
    assert names_in(tmp_path) == []


def test_refuses_a_folder_with_files(tmp_path: Path) -> None:
    """An existing folder is left as it is, and what is in it is named."""
    build_tree(tmp_path / "taken", {f"{letter}.txt": "" for letter in "abcdefghij"})

    outcome = init(tmp_path, "taken")

    listed = "".join(f"  {letter}.txt\n" for letter in "abcdefgh")
    assert outcome == Outcome(
        stderr=(
            f"error: {tmp_path}/taken is not empty.\n{listed}  ... and 2 more\n\n"
            "hint: Choose another folder: nothing is ever overwritten.\n"
        ),
        code=2,
    )
    assert len(files_in(tmp_path / "taken")) == 10


def test_refuses_a_file(tmp_path: Path) -> None:
    """A file is not replaced."""
    build_tree(tmp_path, {"taken": "mine"})

    outcome = init(tmp_path, "taken")

    assert outcome == Outcome(
        stderr=f"error: {tmp_path}/taken is a file.\n\nhint: Choose another folder: nothing is ever overwritten.\n",
        code=2,
    )
    assert (tmp_path / "taken").read_text() == "mine"


def test_fills_an_empty_folder_in_place(tmp_path: Path) -> None:
    """An empty folder, also the current one, is filled and stays the same folder for the shell that is in it."""
    folder = tmp_path / "empty"
    folder.mkdir()
    before = folder.stat().st_ino

    outcome = init(folder, ".")

    assert outcome.stdout.endswith(
        'Next:\n  truss push\n  truss predict -d \'{"prompt": "Tell me about falcons"}\'\n'
    )
    assert outcome.code == 0
    assert folder.stat().st_ino == before
    assert "model_name: empty\n" in (folder / "config.yaml").read_text()
    assert not [name for name in names_in(folder) if name.startswith(".truss-init")]


def test_makes_missing_folders_above(tmp_path: Path) -> None:
    """Folders on the way are made too."""
    assert init(tmp_path, "a/b/made").code == 0
    assert (tmp_path / "a/b/made/config.yaml").is_file()


def test_name_from_the_option(tmp_path: Path) -> None:
    """`--name` wins over the folder, and becomes a slug."""
    outcome = init(tmp_path, "made", "--name", "Falcon 7B (Instruct)")

    assert outcome.stdout.startswith("Made falcon-7b-instruct, a package")
    assert "model_name: falcon-7b-instruct\n" in (tmp_path / "made/config.yaml").read_text()


def test_folder_that_names_nothing(tmp_path: Path) -> None:
    """A folder whose name leaves no slug asks for a name, before anything is made."""
    expected = Outcome(
        stderr=(
            "error: '隼' gives no name for the model: it needs a letter from a to z or a digit.\n\n"
            "hint: Give --name, such as --name my-model.\n"
        ),
        code=2,
    )

    assert init(tmp_path, "隼") == expected
    assert names_in(tmp_path) == []


def test_unwritable_folder(tmp_path: Path) -> None:
    """What the machine refuses is named, and nothing is left."""
    outcome = init(Path("/proc"), "made")

    assert outcome == Outcome(
        stderr="error: /proc/made cannot be written: No such file or directory.\n", code=6
    )


def files_until(stop: BaseException | None) -> Iterator[File]:
    """Yield a plan whose writing fails half way: by what is raised, else by a file that is a folder."""
    yield File(PurePosixPath("model/first.py"), b"1")
    if stop is not None:
        raise stop
    yield File(PurePosixPath("model"), b"2")


@pytest.mark.parametrize("stop", [None, KeyboardInterrupt(), SystemExit(143)])
@pytest.mark.parametrize("exists", [False, True])
def test_nothing_is_left_of_a_failure(stop: BaseException | None, exists: bool, tmp_path: Path) -> None:
    """An error of the disk, Ctrl-C or a signal half way leaves the disk as it was, missing parents included."""
    folder = tmp_path / "above/made"
    if exists:
        folder.mkdir(parents=True)

    with pytest.raises(EngineError if stop is None else type(stop)) as caught:
        write_scaffold(files_until(stop), folder)

    if stop is None:
        assert str(caught.value) == f"{folder} cannot be written: File exists."
    assert sorted(path.name for path in tmp_path.rglob("*")) == (["above", "made"] if exists else [])


def test_somebody_else_writes_too(tmp_path: Path) -> None:
    """What another program puts into the folder meanwhile is neither overwritten nor removed."""

    def files() -> Iterator[File]:
        yield from (File(PurePosixPath(name), b"1") for name in ("a/first.py", "model/first.py", "z.txt"))
        build_tree(tmp_path, {"model/theirs.py": "2"})

    with pytest.raises(EngineError, match="cannot be written: File exists"):
        write_scaffold(files(), tmp_path)

    assert files_in(tmp_path) == {"model/theirs.py"}


@pytest.mark.parametrize("path", ["../out.txt", "/out.txt", "model/../../out.txt", "."])
def test_containment(path: str, tmp_path: Path) -> None:
    """A plan whose path leads out of the folder is not carried out."""
    with pytest.raises(TrussError, match="would lie outside of the package"):
        write_scaffold([File(PurePosixPath(path), b"")], tmp_path / "made")

    assert names_in(tmp_path) == []


def test_plan_touches_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan is values: it can be made anywhere, and twice the same."""
    monkeypatch.chdir(tmp_path)

    assert plan_scaffold("falcon", "x") == plan_scaffold("falcon", "x")
    assert names_in(tmp_path) == []


def test_copies_byte_for_byte() -> None:
    """What is no template is taken as it is."""
    plan = {str(file.path): file.content for file in plan_scaffold("chat", "x")}
    source = Path(__file__).parents[2] / "templates/truss_templates/scaffold/chat/model/model.py"

    assert plan["model/model.py"] == source.read_bytes()


@given(st.text())
def test_yaml_scalar(text: str) -> None:
    """A name is written so that YAML reads it as that text, never as a number, a date or a boolean."""
    if not (name := slug(text)):
        return

    assert yaml.safe_load(f"model_name: {yaml_scalar(name)}\n") == {"model_name": name}


@pytest.mark.parametrize("name", ["123", "1.5", "1e5", "2024-01-01", "true", "no", "null", "0x1f", "y"])
def test_yaml_scalar_of_ambiguous_names(name: str) -> None:
    """Names that look like something else are quoted."""
    assert yaml.safe_load(yaml_scalar(name)) == name


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        ("falcon-7b", "falcon-7b"),
        ("Falcon 7B", "falcon-7b"),
        ("a__b", "a-b"),
        ("Größe", "groe"),
        ("-x-", "x"),
    ],
)
def test_slug(given_name: str, expected: str) -> None:
    """A slug keeps what a URL, an image and a folder can carry."""
    assert slug(given_name) == expected


@given(st.text())
def test_slug_is_stable(text: str) -> None:
    """A slug is its own slug."""
    assert slug(slug(text)) == slug(text)


def test_name_that_is_none() -> None:
    """An option that names nothing asks for another one."""
    with pytest.raises(UsageError) as caught:
        name_for(Path("made"), "!!!")

    assert caught.value.hint == "Give another --name, such as --name my-model."


def test_example_is_the_falcon_scaffold() -> None:
    """`examples/falcon-7b` is what `truss init falcon-7b --template falcon` makes, to the byte."""
    example = Path(__file__).parents[2] / "examples/falcon-7b"

    assert {name: (example / name).read_bytes() for name in files_in(example)} == {
        str(file.path): file.content for file in plan_scaffold("falcon", "falcon-7b")
    }
