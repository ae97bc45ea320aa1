"""`truss init`: make a new package from a template."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from truss.deps import Deps
from truss.scaffold import TEMPLATES, name_for, plan_scaffold, write_scaffold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from truss.scaffold import File


def command(
    ctx: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder to make; an empty one will do.")],
    *,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the model; without it, the folder's.")
    ] = None,
    template: Annotated[
        str,
        typer.Option(
            metavar="TEMPLATE",
            help=f"What to begin with: {', '.join(TEMPLATES)}.",
            autocompletion=lambda: list(TEMPLATES),
        ),
    ] = "streaming",
) -> None:
    """Make a new package from a template.

    Nothing is ever overwritten, and nothing is left behind when it fails.
    """
    deps = Deps.of(ctx)
    target = Path(os.path.normpath(deps.cwd / folder))
    model = name_for(target, name)
    files = plan_scaffold(template, model)
    write_scaffold(files, target)
    deps.console().print_data(format_made(folder, model, template, files))


def format_made(folder: str, model: str, template: str, files: Sequence[File]) -> str:
    """Return what was made, and what to do with it."""
    shown = folder.rstrip("/") or "/"
    listed = "".join(f"  {os.path.join(shown, file.path)}\n" for file in files)  # noqa: PTH118 keeps a leading ./
    enter = "" if shown == "." else f"cd {shlex.quote(shown)} && "
    return (
        f"Made {model}, a package whose model {TEMPLATES[template].summary}:\n"
        f"{listed}"
        "\n"
        "Next:\n"
        f"  {enter}truss push\n"
        f"  truss predict -d {shlex.quote(TEMPLATES[template].example)}\n"
    )
