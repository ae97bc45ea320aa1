"""`truss config`: check, show or describe config.yaml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from truss import options  # noqa: TC001 Typer reads annotations
from truss.config import load_config
from truss.config_pages import format_config, format_schema
from truss.config_values import CONFIG
from truss.deps import Deps
from truss.memory import Memory
from truss.package import external_folder
from truss.requirement_files import read_requirements


def command(
    ctx: typer.Context,
    what: Annotated[
        Literal["validate", "show", "schema"],
        typer.Argument(
            metavar="validate|show|schema",
            help="validate: list every problem, also of requirements; show: with every default; schema: for editors.",
        ),
    ],
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder of the package.")] = ".",
    *,
    output: options.Output = "text",
) -> None:
    """Check config.yaml, show it with its defaults, or print its schema."""
    deps = Deps.of(ctx)
    console = deps.console()
    if what == "schema":
        console.print_data(format_schema())
        return
    package = Path(os.path.normpath(deps.cwd / folder))
    config = load_config(package)
    if what == "show":
        console.print_data(format_config(config, as_json=output == "json"))
        return
    read_requirements(package, config, Memory())
    for name in config.external_package_dirs:
        external_folder(package, name)
    if unused := config.unused():
        console.print_note(f"Not used here: {', '.join(unused)}.")
    console.print_note(f"{package / CONFIG} is valid.")
