"""`truss config`: check, show or describe config.yaml."""

from __future__ import annotations

import json
import os
from pathlib import Path

import typer  # noqa: TC002 Typer reads annotations

from truss import options  # noqa: TC001 as above
from truss.config import load_config
from truss.config_check import check_config
from truss.config_pages import format_config, format_schema
from truss.config_values import CONFIG
from truss.deps import Deps


def validate(ctx: typer.Context, folder: options.Folder = ".", *, output: options.Output = "text") -> None:
    """List every problem of config.yaml and of the requirements and folders it names."""
    deps = Deps.of(ctx)
    package = _package(deps, folder)
    config, console = check_config(package), deps.console()
    if output == "json":
        console.print_data(json.dumps({"valid": True, "unused": config.unused()}) + "\n")
        return
    if unused := config.listed_unused():
        console.print_note(f"Not used here: {unused}")
    console.print_note(f"{package / CONFIG} is valid.")


def show(ctx: typer.Context, folder: options.Folder = ".", *, output: options.Output = "text") -> None:
    """Show config.yaml with every default filled in, as the model gets it."""
    deps = Deps.of(ctx)
    config = load_config(_package(deps, folder))
    deps.console().print_data(format_config(config, as_json=output == "json"))


def schema(ctx: typer.Context) -> None:
    """Print the JSON schema that editors check and complete config.yaml with."""
    Deps.of(ctx).console().print_data(format_schema())


def _package(deps: Deps, folder: str) -> Path:
    return Path(os.path.normpath(deps.cwd / folder))


COMMANDS = {"validate": validate, "show": show, "schema": schema}
