"""config.yaml as pages: with its defaults, as a JSON schema for editors, as documentation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from truss.config import TrussConfig
from truss.config_schema import EditorSchema
from truss.config_sections import section_of
from truss.yaml_source import in_a_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

    from truss.config_sections import Section

_INTRODUCTION = """\
# config.yaml

Every key is optional, but for those marked *required* in a section, or an item of a list, that you write.
A key without a value is as if it were not there, and an unknown one is an error that says which was meant.
`resources.cpu` is `cpu` below `resources`; `external_data.url` is the `url` of each item of that list.
All problems of a file are shown at once, with line and column: `truss config validate`.
`truss config show` prints a configuration with every default, `truss config schema` what editors complete from;
a scaffold has that schema in `.truss/`, where its `config.yaml` points to.

This page is made from the schema: `make docs`.
"""

_REMARKS = """\
## Keys of Truss

Keys that only a cloud has a use for are accepted, kept for the model, and named once by `truss push`: {unused}.

`model_cache` and `weights` are among them: a model downloads its checkpoints itself, and only once.
On docker they are kept for its next release ([images.md](images.md)).

## Requirements

A package whose model imports `fastapi` or `starlette` without listing them gets them: asking by importing is asking.
A `docker_server` gets what is listed.

On the target `local`, a package without requirements runs in the interpreter that truss runs in,
with what is installed there. With requirements it has an environment of its own that holds exactly them,
as it always has in an image.

What was installed for the requirements, with all versions, is in `requirements.lock` of that environment:
`/opt/model/requirements.lock` in an image, `envs/NAME/requirements.lock` in the state folder on `local`.
It is a pip file: named in `requirements_file`, it makes the same environment again.
"""


def format_config(config: TrussConfig, *, as_json: bool) -> str:
    """Return a configuration with every default filled in, as YAML or JSON."""
    filled = config.filled()
    if as_json:
        return json.dumps(filled) + "\n"
    return yaml.safe_dump(filled, sort_keys=False, allow_unicode=True)


def format_schema() -> str:
    """Return the JSON schema of config.yaml."""
    return json.dumps(TrussConfig.model_json_schema(schema_generator=EditorSchema), indent=2) + "\n"


def format_page() -> str:
    """Return the documentation of config.yaml: each key with its default and an example."""
    keys = [_row(name, field) for name, field in _fields(TrussConfig)]
    rows = ["| key | default | | for example |", "|---|---|---|---|", *keys]
    remarks = _REMARKS.format(unused=_listed(_unused(TrussConfig)))
    return "\n".join([_INTRODUCTION, *rows, "", remarks])


def examples() -> Iterator[tuple[str, Any]]:
    """Yield each key, with dots, and its example."""
    for name, field in _fields(TrussConfig):
        yield name, (field.examples or [None])[0]


def _fields(section: type[Section], above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in section.model_fields.items():
        if name in section.unused_keys():
            continue
        if section_of(field.annotation) is None:
            yield above + name, field
        if (inner := section_of(field.annotation, in_lists=True)) is not None:
            yield from _fields(inner, f"{above}{name}.")


def _row(name: str, field: FieldInfo) -> str:
    default = "*required*" if field.is_required() else _code(field.default)
    example = in_a_line(examples_of[0]) if (examples_of := field.examples) else ""
    return f"| `{name}` | {default} | {field.description} | `{name.rpartition('.')[2]}: {example}` |"


def _code(value: object) -> str:
    return "" if value is None else f"`{in_a_line(value)}`"


def _unused(section: type[Section], above: str = "") -> Iterator[str]:
    yield from (above + name for name in sorted(section.unused_keys()))
    for name, field in section.model_fields.items():
        if (inner := section_of(field.annotation)) is not None:
            yield from _unused(inner, f"{above}{name}.")


def _listed(names: Iterator[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def main() -> None:
    """Print the page."""
    print(format_page(), end="")  # noqa: T201 - what it is run for


if __name__ == "__main__":
    main()
