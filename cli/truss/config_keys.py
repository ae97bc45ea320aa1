"""Which key was meant by one that there is not."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from truss.config_sections import section_of
from truss.yaml_source import dotted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from truss.config_sections import Section
    from truss.yaml_source import Location

LIKENESS = 0.7
"""How alike two keys are, of 1, where one may be a slip of the pen for the other."""

SYNONYMS = {
    "apt": ("system_packages",),
    "apt_packages": ("system_packages",),
    "class_name": ("model_class_name",),
    "command": ("docker_server.start_command", "build_commands"),
    "commands": ("build_commands",),
    "concurrency": ("runtime.predict_concurrency",),
    "cores": ("resources.cpu",),
    "dependencies": ("requirements",),
    "endpoint": ("docker_server.predict_endpoint",),
    "entrypoint": ("docker_server.start_command",),
    "env": ("environment_variables",),
    "env_vars": ("environment_variables",),
    "environment": ("environment_variables",),
    "gpu": ("resources.accelerator",),
    "gpus": ("resources.accelerator",),
    "health_endpoint": ("docker_server.readiness_endpoint",),
    "metadata": ("model_metadata",),
    "name": ("model_name",),
    "packages": ("requirements", "system_packages"),
    "pip": ("requirements",),
    "pip_packages": ("requirements",),
    "port": ("docker_server.server_port",),
    "python": ("python_version", "base_image.python_executable_path"),
    "python_path": ("base_image.python_executable_path",),
    "ram": ("resources.memory",),
    "timeout": ("runtime.request_timeout",),
    "user": ("docker_server.run_as_user_id",),
    "variables": ("environment_variables",),
    "workers": ("runtime.predict_concurrency",),
}
"""What other tools call it."""


def meant(location: Location, schema: type[Section]) -> str:
    """Return what to do about an unknown key: take the one that was meant, or one of those that there are."""
    above, key = location[:-1], str(location[-1]).lower().replace("-", "_")
    section = section_above(location, schema)
    near = [dotted((*above, name)) for name in section.model_fields]
    far = [dotted(path) for path in _paths(schema)]
    found = (
        _called(key, near)
        or [name for name in SYNONYMS.get(key, ()) if not above or name in near]
        or _called(key, far)[:1]
        or _like(key, near)
        or _like(key, far)
    )
    if found:
        return f"Did you mean {' or '.join(f'`{name}`' for name in found)}?"
    return (
        f"`{dotted(above)}` takes {', '.join(known(section))}."
        if above
        else "Correct its name, or remove it."
    )


def known(section: type[Section]) -> list[str]:
    """Return the keys of a section that have an effect here."""
    return [name for name in section.model_fields if name not in section.unused_keys()]


def section_above(location: Location, schema: type[Section]) -> type[Section]:
    """Return the section that a key is in."""
    for part in location[:-1]:
        if isinstance(part, str):
            schema = _inner(schema, in_lists=True).get(part, schema)
    return schema


def _called(key: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if _last(name) == key]


def _like(key: str, names: Iterable[str]) -> list[str]:
    by_key = {_last(name): name for name in reversed([*names])}
    return [by_key[close] for close in difflib.get_close_matches(key, by_key, n=1, cutoff=LIKENESS)]


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _inner(section: type[Section], *, in_lists: bool = False) -> dict[str, type[Section]]:
    fields = section.model_fields.items()
    found = {name: section_of(field.annotation, in_lists=in_lists) for name, field in fields}
    return {name: inner for name, inner in found.items() if inner is not None}


def _paths(section: type[Section], above: Location = ()) -> Iterator[Location]:
    for name in section.model_fields:
        yield (*above, name)
    for name, inner in _inner(section).items():
        yield from _paths(inner, (*above, name))
