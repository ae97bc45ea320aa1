"""`docs/cli.md` says what the command line does, no less and no more."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.core import TyperGroup

import truss.errors
from tests.fake_target import FakeMachine
from tests.harness import run_truss
from truss.commands import SUMMARIES
from truss.deps import Deps
from truss.errors import TrussError
from truss.lazy import load_command
from truss.scaffold import TEMPLATES

PAGE = (Path(__file__).parents[2] / "docs/cli.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def rows(text: str) -> list[list[str]]:
    """Return the rows of all tables in a text, heads left out."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("\\|", "|") for cell in line] for line in lines]
    ruled = [place for place, line in enumerate(cells) if set("".join(line)) <= set("-:")]
    return [line for place, line in enumerate(cells) if place not in ruled and place + 1 not in ruled]


def commands_of(name: str) -> list[tuple[str, ...]]:
    """Return the words of a command, or of each command of a group."""
    command = load_command(name)
    return [(name, word) for word in command.commands] if isinstance(command, TyperGroup) else [(name,)]


EVERY = [words for name in SUMMARIES for words in commands_of(name)]


def options_in_help(*words: str) -> dict[str, str]:
    """Return the options of a command by what its help begins their line with: `-d, --data` -> `JSON`."""
    text = run_truss(*words, "--help").stdout
    found = re.findall(r"^  ((?:-\w, )?--[\w-]+)(?: (\S+))?(?:  |$)", text, re.MULTILINE)
    return {names: value for names, value in found if "--help" not in names}


@pytest.mark.parametrize("name", SUMMARIES)
def test_options(name: str) -> None:
    """Each option of a command is in its table, with the same spelling, and nothing else is."""
    first = [row[0] for row in rows(SECTIONS[f"truss {name}"]) if "--" in row[0]]
    documented = {re.sub(r"`, `", ", ", cell).strip("`") for cell in first}
    found = {option for words in commands_of(name) for option in options_in_help(*words).items()}

    assert documented == {f"{names} {value}".strip() for names, value in found}


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_synopsis(words: tuple[str, ...]) -> None:
    """The line of a command at the top of a section names each of its options once."""
    lines = SECTIONS[f"truss {words[0]}"].splitlines()
    (synopsis,) = [f"{line} " for line in lines if f"{line} ".startswith(f"    truss {' '.join(words)} ")]
    spellings = {names.split(", ")[0] for names in options_in_help(*words)}

    assert set(re.findall(r"(?<![\w-])--?[a-z]+(?:-[a-z]+)*", synopsis)) == spellings


def test_commands() -> None:
    """Each command has a section."""
    assert [title for title in SECTIONS if title.startswith("truss ")] == [
        f"truss {name}" for name in SUMMARIES
    ]


def test_templates() -> None:
    """Each template is in the table of `truss init`."""
    named = [row[0].strip("`") for row in rows(SECTIONS["truss init"]) if "--" not in row[0]]

    assert named == list(TEMPLATES)


def test_exit_codes() -> None:
    """The table has the exit code of every class of errors."""
    classes = [item for item in vars(truss.errors).values() if isinstance(item, type)]
    codes = {item.__name__: item.exit_code for item in classes if issubclass(item, TrussError)}
    table = {
        row[2].strip("`"): int(row[0]) for row in rows(SECTIONS["For scripts"]) if len(row) == 3 and row[2]
    }

    assert table == codes


def test_error_in_json() -> None:
    """The example of an error has the fields that errors have."""
    block, _ = re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)

    given = re.findall(r'"(\w+)":', block)
    deps = Deps(target=FakeMachine().target)
    made = re.findall(r'"(\w+)":', run_truss("logs", "--output", "json", "--model", "x", deps=deps).stdout)

    assert given == made


def test_problems_in_json(tmp_path: Path) -> None:
    """The example of a problem is what a configuration with this problem is told."""
    _, block = re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)
    (tmp_path / "config.yaml").write_text("\n\nruntime:\n  predict_concurrency: 0\n")
    outcome = run_truss("config", "validate", str(tmp_path), "--output", "json")

    assert (outcome.code, json.loads(outcome.stdout)["error"]["problems"]) == (3, [json.loads(block)])
