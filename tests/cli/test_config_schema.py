"""What an editor says of a config.yaml by its schema is what the loader says of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from jsonschema.validators import validator_for

from tests.cli.test_config_pages import REQUIRED, ROOT, with_key
from tests.cli.test_config_table import ACCEPTED, COMMANDS, OF_A_SHELL, REFUSED, written
from truss.config import load_config
from truss.config_pages import examples, format_schema
from truss.errors import PackageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA: dict[str, Any] = json.loads(format_schema())
EDITOR = validator_for(SCHEMA)(SCHEMA)

SERVER = "docker_server: {start_command: serve, readiness_endpoint: /health, "
DATA = "external_data: [{url: 'https://example.org/x', local_data_path: x, "

LOADS = [
    "python_version: 3.11",
    "python_version: 310",
    "python_version:",
    "resources: {cpu: 0.5}",
    "runtime: {max_queue: '10', request_timeout: '30', enable_debug_logs: ' True '}",
    SERVER + "server_port: '8000', run_as_user_id: '1000', no_build: 'false'}",
    SERVER + "liveness_endpoint: null, predict_endpoint: null, server_port: null}",
    "docker_server: {readiness_endpoint: /, no_build: 'true'}\nbase_image: {image: mine}",
    "environment_variables: {A: 1, B: true, C: null, D: 1.5}",
    "environment_variables: {1: one}",
    DATA + "backend: null, name: null, sha256: null}]",
    "build: {secret_to_path_mapping: null}",
    "requirements: []\nrequirements_file: requirements.txt",
    "requirements: [torch]\nrequirements_file:",
    "data_dir: ' ./weights/ '",
    "data_dir: ..weights",
    "data_dir: my-config.yaml",
    "model_class_filename: ./model.py/",
    "model_class_name: Größe",
    "model_name: Größe",
    "weights: anything",
    "live_reload: false",
]
"""Beyond the table of what is accepted: what a schema is easily too strict for."""

IS_REFUSED = [
    SERVER + "server_port: 8080}",
    SERVER + "server_port: '8080'}",
    SERVER + "run_as_user_id: 60000}",
    SERVER + "run_as_user_id: 0}",
    SERVER + "predict_endpoint: predict}",
    SERVER + "no_build: true}",
    "docker_server: {readiness_endpoint: /}",
    "docker_server: {readiness_endpoint: /, no_build: 'false'}",
    "docker_server: {readiness_endpoint: /, start_command: null}",
    "docker_server: {start_command: serve, readiness_endpoint: null}",
    "docker_server: {readiness_endpoint: /, no_build: true}\nbase_image: {image: null}",
    "docker_server: {readiness_endpoint: /, no_build: true}\nbase_image: {image: x}\nrequirements: [a]",
    "docker_server: {readiness_endpoint: /, no_build: true}\nbase_image: {image: x}\nbuild_commands: [a]",
    "docker_server: {readiness_endpoint: /, no_build: true}\nbase_image: {image: x}\nrequirements_file: r.txt",
    "resources: {cpu: -1}",
    "resources: {cpu: '4 '}",
    "resources: {memory: 16GB}",
    "resources: {use_gpu: 'yes'}",
    "runtime: {max_queue: ten}",
    "runtime: {max_queue: '1.5'}",
    "python_version: 3.110001",
    "data_dir: /weights",
    "data_dir: ./.",
    "data_dir: ./config.yaml",
    "data_dir: release.json/x",
    "data_dir: a/../b",
    "data_dir: ~/weights",
    "data_dir: 'a\\b'",
    "model_class_filename: model.txt",
    "model_class_name: 1st",
    "model_name: '!'",
    "model_name: ''",
    "description: 7",
    "secrets: {.hidden: null}",
    "environment_variables: {A=B: 1}",
    "environment_variables: {A: [1]}",
    "requirements: [null]",
    "requirements: ['# later']",
    "requirements: [-r more.txt]",
    "build_commands: ['']",
    "external_data: [null]",
    "external_data: [{url: null, local_data_path: x}]",
    "runtime: {transport: {kind: null, kinds: http}}",
]
"""Beyond the table of what is refused: what a schema is easily too lenient for."""

WORD_BY_WORD = "what a command means to a shell is read word by word"
GRAMMAR = "the grammar of requirements is no regular one"
OTHER_PATHS = "no path of a mapping can be compared with another"
UNSAID = {
    "build: {secret_to_path_mapping: {a: /token, b: /token}}": OTHER_PATHS,
    "build: {secret_to_path_mapping: {a: /x/token, b: /x/token/y}}": OTHER_PATHS,
    "python_version: 3.1": "for an editor this is the number that 3.10 is, too",
    "runtime: {max_queue: '-1'}": "limits are those of numbers, and this is text",
    "model_name: 鷹": "what of a letter is left in a URL is in Unicode's tables",
    "model_class_name: ³": "which characters a name may have is in Unicode's tables",
    "model_module_dir: \u200b": "which characters are printable is in Unicode's tables",
    'environment_variables: {"A": "\\ud800"}': "which characters there are is in Unicode's tables",
    'build_commands: ["echo \\e[1m"]': "which characters are printable is in Unicode's tables",
    "requirements: [numpy=1.0]": GRAMMAR,
    "requirements: [numpy torch]": GRAMMAR,
    "requirements: [./code]": "which paths name a wheel of the package is read part by part",
    **{
        f"docker_server: {{readiness_endpoint: /, start_command: {json.dumps(command)}}}": WORD_BY_WORD
        for command, _ in OF_A_SHELL
    },
    "docker_server: {readiness_endpoint: /, start_command: 'say \"'}": WORD_BY_WORD,
}
"""What the loader refuses and a JSON schema has no words for, and why."""


def reddened(text: str) -> list[str]:
    """Return what an editor says of a file."""
    return [error.message for error in EDITOR.iter_errors(yaml.safe_load(text))]


def said(text: str) -> list[str]:
    """Return what an editor says of a file, in the words that the schema has for it."""
    found: list[tuple[Any, Any]] = [
        (error.validator, error.schema) for error in EDITOR.iter_errors(yaml.safe_load(text))
    ]
    return [schema["patternErrorMessage" if word == "pattern" else "errorMessage"] for word, schema in found]


def below(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield all mappings in a schema."""
    if isinstance(schema, dict):
        yield schema
        schema = [*schema.values()]
    if isinstance(schema, list):
        for part in schema:
            yield from below(part)


def in_a_server(command: str) -> str:
    """Return a file with this as the command of a server, as it is written in YAML."""
    return f"docker_server:\n  readiness_endpoint: /health\n  start_command: {command}"


GREEN = dict.fromkeys([*(row[0] for row in ACCEPTED), *(in_a_server(row[0]) for row in COMMANDS), *LOADS])
RED = [text for text in dict.fromkeys([*(row[0] for row in REFUSED), *IS_REFUSED]) if text not in UNSAID]


@pytest.mark.parametrize("text", LOADS)
def test_what_loads(tmp_path: Path, text: str) -> None:
    """What is told to editors of these files is true: they load."""
    load_config(written(tmp_path, text))


@pytest.mark.parametrize("text", [*IS_REFUSED, *UNSAID])
def test_what_is_refused(tmp_path: Path, text: str) -> None:
    """Likewise: these do not."""
    with pytest.raises(PackageError):
        load_config(written(tmp_path, text))


@pytest.mark.parametrize("text", GREEN)
def test_editors_take_what_loads(text: str) -> None:
    """No editor reddens what the loader takes."""
    assert reddened(text) == []


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("examples/*/config.yaml")), ids=lambda path: path.parent.name
)
def test_editors_take_the_examples(path: Path) -> None:
    """No editor reddens what this repository shows."""
    assert reddened(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("text", RED)
def test_editors_redden_what_is_refused(text: str) -> None:
    """What the loader refuses is red while it is written, not only at the next push."""
    assert reddened(text) != []


@pytest.mark.parametrize("text", UNSAID)
def test_what_a_schema_cannot_say(text: str) -> None:
    """An exception that is none any more is taken off the list."""
    assert reddened(text) == []


@pytest.mark.parametrize(("name", "example"), [*examples()], ids=lambda part: str(part)[:40])
def test_keys_without_a_value(name: str, example: object) -> None:
    """A key may be without a value, unless its section needs it; its example may be there, too."""
    section, _, inner = name.partition(".")
    others = REQUIRED.get(section, {}) if inner else {}
    needed = inner in {"url", "local_data_path", "readiness_endpoint", "start_command"}

    assert EDITOR.is_valid(with_key(others, name, example))
    assert EDITOR.is_valid(with_key(others, name, None)) != needed


def test_hovers() -> None:
    """Every key says what it means, in sections and in the items of lists, too."""
    keys = [
        schema["properties"]
        for schema in below(SCHEMA)
        if "additionalProperties" in schema and "properties" in schema
    ]

    assert "sha256" in {name for section in keys for name in section}
    assert [name for section in keys for name, key in section.items() if not key.get("description")] == []


@pytest.mark.parametrize("section", ["base_image", "docker_server", "build", "resources", "runtime"])
def test_sections(section: str) -> None:
    """A section may be empty; an editor that completes it says what it is for, and writes keys and not null."""
    schema = SCHEMA["properties"][section]

    assert reddened(f"{section}:") == []
    assert (schema["type"][0], "default" in schema) == ("object", False)
    assert schema["description"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("resources: {cpu: many}", "This is no number of cores. Write `4`, `0.5` or `500m`."),
        ("requirements: [a]\nrequirements_file: b", "There is `requirements` too: keep one of the two."),
        (
            SERVER + "run_as_user_id: 60000}",
            "60000 is a user of Truss's own platform: take the id of a user of your image.",
        ),
        ("resources: {use_gpu: 'yes'}", "This must be true or false."),
    ],
)
def test_words(text: str, shown: str) -> None:
    """An editor says what the loader says, and not which regular expression did not match."""
    assert said(text) == [shown]


def test_the_schema_is_one() -> None:
    """It is valid itself, and is all in one piece: some editors ignore what is beside a reference."""
    type(EDITOR).check_schema(SCHEMA)

    assert [schema["$ref"] for schema in below(SCHEMA) if "$ref" in schema] == []


def test_patterns_are_javascripts() -> None:
    """No pattern has what only Python understands."""
    patterns = [schema["pattern"] for schema in below(SCHEMA) if isinstance(schema.get("pattern"), str)]

    assert patterns
    assert [pattern for pattern in patterns if re.search(r"\\[AZ]|\(\?[a-zP#<>(]", pattern)] == []


def test_keys_that_only_a_cloud_uses() -> None:
    """They are marked and not offered: nothing comes of them here."""
    marked = {
        name for name, key in SCHEMA["properties"].items() if key.get("deprecated") and key["doNotSuggest"]
    }

    assert {"weights", "trt_llm", "live_reload"} <= marked
    assert "requirements" not in marked


def test_hovers_begin_with_what_a_key_means() -> None:
    """No title, not even of the whole, which editors show above every key, repeats a key in other letters."""
    titles = [schema["title"] for schema in below(SCHEMA) if isinstance(schema.get("title"), str)]

    assert titles == []
