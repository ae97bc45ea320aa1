"""Options that several commands share, and what their values must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from truss.errors import UsageError
from truss.names import is_image_name, slug

if TYPE_CHECKING:
    from pathlib import Path

MOST_PORTS = 65535
MOST_SECONDS = 7 * 24 * 3600.0

Folder = Annotated[str, typer.Argument(metavar="DIR", help="Folder of the package.")]

Model = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="Model; without it, that of the current folder.")
]

Environment = Annotated[
    str | None, typer.Option("--environment", metavar="NAME", help="Only in this environment.")
]

Target = Annotated[
    Literal["local", "docker"] | None,
    typer.Option("--target", metavar="local|docker", help="Only on this target."),
]

Output = Annotated[
    Literal["text", "json"],
    typer.Option("--output", metavar="text|json", help="What to print: for people or for programs."),
]

Strategy = Annotated[
    Literal["beside", "replace"] | None,
    typer.Option(
        "--strategy",
        metavar="beside|replace",
        help="Load a save beside the model that serves, as without this, or, where memory is scarce, in its place.",
    ),
]


def model_name(given: str | None, folder: Path) -> str:
    """Return the name of the model that is meant: the given one, else that of the package in a folder.

    Raises:
        UsageError: None is given, and the folder is no package.
        PackageError: Its config.yaml is wrong.
    """
    if given is not None:
        return given
    # Slow to import, and not needed where a model is named.
    from truss.config import load_config
    from truss.config_values import CONFIG

    if not (folder / CONFIG).exists():
        raise UsageError(
            f"This folder is no package: it has no {CONFIG}.",
            hint="Change into one, or name a model by --model.",
        )
    return load_config(folder).model_slug(folder)


def environment_name(given: str) -> str:
    """Return the name of an environment if it is one.

    Raises:
        UsageError: It is none.
    """
    if not given or slug(given) != given:
        like = f", such as {slug(given)}" if slug(given) else ""
        raise UsageError(
            f"{given!r} is no name of an environment.",
            hint=f"Take lower case letters and digits, with single `.`, `_`, `-` between{like}.",
        )
    return given


def image_name(given: str | None) -> str | None:
    """Return a name for an image if it is one.

    Raises:
        UsageError: It is none.
    """
    if given is not None and not is_image_name(given):
        raise UsageError(
            f"{given!r} is no name of an image.",
            hint="Write NAME or NAME:TAG, the name in lower case: mine:1, registry.example:5000/team/mine:1.",
        )
    return given


def port_number(given: int | None) -> int | None:
    """Return a port if it is one.

    Raises:
        UsageError: It is none.
    """
    if given is not None and not 1 <= given <= MOST_PORTS:
        raise UsageError(f"{given} is no port.", hint=f"Take one of 1 to {MOST_PORTS}, or leave it out.")
    return given


def seconds(given: float) -> float:
    """Return a time to wait if it is one.

    Raises:
        UsageError: It is none.
    """
    if not 0 < given <= MOST_SECONDS:
        raise UsageError(
            f"Nobody can wait for {given:g} s.", hint=f"Take more than 0, at most {MOST_SECONDS:g}."
        )
    return given
