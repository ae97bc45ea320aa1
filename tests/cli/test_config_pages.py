"""What is made from the schema of config.yaml is what it says, and its examples load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness import run_truss, spawn_truss
from truss.config import load_config
from truss.config_pages import examples, format_page, format_schema
from truss.config_sections import ExternalData
from truss.scaffold import COMMON, SCAFFOLDS

REQUIRED: dict[str, dict[str, Any]] = {
    "external_data": {"external_data": [{"url": "https://example.org/x", "local_data_path": "x"}]},
    "docker_server": {
        "base_image": {"image": "mine:1"},
        "docker_server": {"start_command": "serve", "readiness_endpoint": "/"},
    },
}
"""What a section, or an item of a list, cannot be without."""

SAYS_NOTHING: dict[str, Any] = {"secrets": {"hf_access_token": None}, "external_data.backend": "http_public"}
"""Examples that are as good as the default: one names a secret without any, the other is all there is."""

ROOT = Path(__file__).parents[2]


def with_key(data: dict[str, Any], name: str, value: object) -> dict[str, Any]:
    """Return a configuration with a key, which has dots, of a section or of the first item of a list."""
    head, _, rest = name.partition(".")
    if not rest:
        return {**data, head: value}
    below = data.get(head, {})
    if isinstance(below, list):
        return {**data, head: [with_key(below[0], rest, value), *below[1:]]}
    return {**data, head: with_key(below, rest, value)}


def value_of(data: Any, name: str) -> Any:
    """Return the value of a key, which has dots, likewise."""
    for part in name.split("."):
        data = (data[0] if isinstance(data, (list, tuple)) else data)[part]
    return data


@pytest.mark.parametrize(("name", "example"), [*examples()], ids=lambda part: str(part)[:40])
def test_each_key_has_an_example_that_loads(name: str, example: object, tmp_path: Path) -> None:
    """A key without an example, or with one that is wrong or is the default, would not help anybody."""
    section, _, inner = name.partition(".")
    without = REQUIRED.get(section, {}) if inner else {}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(with_key(without, name, example)))
    loaded = load_config(tmp_path).model_dump()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(without) if without else "")
    default = load_config(tmp_path).model_dump()

    assert value_of(loaded, name) != value_of(default, name) or SAYS_NOTHING[name] == example


def test_keys_of_items_have_rows() -> None:
    """What is in the items of a list has a row of its own, which says what an item cannot be without."""
    rows = [line for line in format_page().splitlines() if line.startswith("| `external_data.")]

    assert [row.split("`")[1].rpartition(".")[2] for row in rows] == [*ExternalData.model_fields]
    assert [row for row in rows if "*required*" in row] == rows[:2]


def test_the_page_is_current() -> None:
    """`docs/configuration.md` says what the schema says; `make docs` renews it."""
    assert (ROOT / "docs/configuration.md").read_text(encoding="utf-8") == format_page()


def test_the_schema_is_current() -> None:
    """Editors know the keys that truss knows, each with what it means; `make docs` renews the file."""
    assert (SCAFFOLDS / COMMON / ".truss/config.schema.json").read_text() == format_schema()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("requirements: ['numpy=1.0']", "write `==`"),
        ("requirements_file: nofile.txt", "nofile.txt"),
        ("external_package_dirs: [../nofolder]", "There is no folder"),
        ("external_package_dirs: ['..']", "holds the package itself"),
    ],
)
def test_validate_looks_at_what_is_named(tmp_path: Path, written: str, said: str) -> None:
    """What `truss push` would refuse of requirements and of folders outside is no valid configuration."""
    (tmp_path / "config.yaml").write_text(f"{written}\n")
    outcome = spawn_truss("config", "validate", cwd=tmp_path)

    assert (outcome.code, "is valid" in outcome.stderr) == (3, False)
    assert said in outcome.stderr


def test_validate(tmp_path: Path) -> None:
    """A valid file says so and what is not used here; one that is not says all that is wrong, with exit code 3."""
    (tmp_path / "config.yaml").write_text("weights: [{source: a}]\n")
    good = spawn_truss("config", "validate", cwd=tmp_path)
    (tmp_path / "config.yaml").write_text("runtime: {predict_concurrency: 0}\nrequirments: []\n")
    bad = spawn_truss("config", "validate", cwd=tmp_path)

    assert (good.code, good.stdout) == (0, "")
    assert "Not used here: weights." in good.stderr
    assert "config.yaml is valid." in good.stderr
    assert bad.code == 3
    assert "config.yaml has 2 problems." in bad.stderr


def test_show(tmp_path: Path) -> None:
    """Every default is filled in, as YAML that can be read again or as JSON."""
    (tmp_path / "config.yaml").write_text("model_name: 鷹 7b\n")
    text = spawn_truss("config", "show", cwd=tmp_path).stdout
    parsed = json.loads(run_truss("config", "show", str(tmp_path), "--output", "json").stdout)

    assert yaml.safe_load(text) == parsed
    assert (parsed["model_name"], parsed["runtime"]["predict_concurrency"]) == ("鷹 7b", 64)


def test_schema() -> None:
    """The schema is printed as editors take it."""
    assert run_truss("config", "schema").stdout == format_schema()
