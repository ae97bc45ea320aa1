"""`truss logs`: what a deployed model prints and logs."""

from __future__ import annotations

from typing import Annotated

import typer

from truss import options
from truss.deps import Deps
from truss.log_lines import format_record, parse_log_line
from truss.lookup import Wanted, find_deployment
from truss.wording import clean


def command(
    ctx: typer.Context,
    *,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on with what comes, until it stops or Ctrl-C.")
    ] = False,
    model: options.Model = None,
    environment: options.Environment = None,
    target: options.Target = None,
    output: options.Output = "text",
) -> None:
    """Show what a deployed model prints and logs.

    What the model prints is shown as it is; lines of the server have a time and a level.
    """
    deps = Deps.of(ctx)
    console = deps.console()
    wanted = Wanted(options.model_name(model, deps.cwd), environment, target)
    found = find_deployment(deps.target, wanted, folder=deps.cwd, note=console.print_note)
    for line in deps.target(found.target).logs(found, follow=follow):
        console.print_data(f"{line}\n" if output == "json" else f"{format_line(line)}\n")


def format_line(line: str) -> str:
    """Return a line of the log for people; a terminal obeys nothing in it."""
    return "\n".join(map(clean, format_record(parse_log_line(line)).split("\n")))
