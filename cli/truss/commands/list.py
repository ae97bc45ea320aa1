"""`truss list`: what is deployed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer  # noqa: TC002 Typer reads annotations

from truss import options  # noqa: TC001 as above
from truss.deps import Deps
from truss.lookup import all_deployments, in_use, silence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from truss.release import Deployment

HEAD = ("MODEL", "ENVIRONMENT", "RELEASE", "TARGET", "STATE", "URL", "STARTED")


def command(
    ctx: typer.Context,
    *,
    output: options.Output = "text",
) -> None:
    """Show what is deployed.

    A table on a terminal; elsewhere one deployment a line, fields separated by tabs.
    """
    deps = Deps.of(ctx)
    console = deps.console()
    listed, silent = all_deployments(deps.target)
    for name, error in silent.items():
        if in_use(name, deps.environ) or not (listed or output == "json"):
            console.print_note(silence(name, error))
    if output == "json":
        console.print_data(format_json(listed))
    elif listed and console.data_on_terminal:
        console.print_data(format_table(listed))
    elif listed:
        console.print_data(format_lines(listed))
    else:
        console.print_note("Nothing is deployed.")


def format_json(listed: Sequence[Deployment]) -> str:
    """Return deployments as a JSON list."""
    fields = [
        {
            "model": deployment.model,
            "environment": deployment.environment,
            "release": deployment.release,
            "target": deployment.target,
            "running": deployment.running,
            "url": deployment.url,
            "started": deployment.started.isoformat(timespec="seconds"),
            "id": deployment.id,
        }
        for deployment in listed
    ]
    return json.dumps(fields) + "\n"


def format_lines(listed: Sequence[Deployment]) -> str:
    """Return deployments one a line, fields separated by tabs."""
    return "".join(
        "\t".join((*_fields(deployment), deployment.started.isoformat(timespec="seconds"))) + "\n"
        for deployment in listed
    )


def format_table(listed: Sequence[Deployment]) -> str:
    """Return deployments as a table with a head, times in the user's zone."""
    rows = [HEAD, *((*_fields(one), f"{one.started.astimezone():%Y-%m-%d %H:%M}") for one in listed)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)


def _fields(deployment: Deployment) -> tuple[str, ...]:
    """Return what a line says of a deployment, but for the time."""
    return (
        deployment.model,
        deployment.environment,
        str(deployment.release),
        deployment.target,
        "running" if deployment.running else "stopped",
        deployment.url,
    )
