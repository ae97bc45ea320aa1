"""`truss watch`: every save is live at once in the deployment in development."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from truss import options
from truss.config import load_config
from truss.deps import Deps
from truss.keys import single_keys
from truss.lookup import Wanted, command_for, find_running
from truss.push import DEFAULT_SECONDS
from truss.watch import Watch
from truss.watch_events import format_json, format_text
from truss.watch_outside import Outside
from truss_server.protocol import DEVELOPMENT

if TYPE_CHECKING:
    from truss.release import Deployment
    from truss.watch_attempt import Strategy
    from truss.watch_events import Told


def command(
    ctx: typer.Context,
    folder: options.Folder = ".",
    *,
    target: options.Target = None,
    strategy: options.Strategy = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Wait so long for the model to be loaded again.")
    ] = DEFAULT_SECONDS,
    output: options.Output = "text",
) -> None:
    """Make every save live in the deployment in development.

    `truss push --watch` makes that deployment. Ctrl-C ends the watching and leaves the deployment running.
    """
    deps = Deps.of(ctx)
    package = Path(os.path.normpath(deps.cwd / folder))
    wanted = Wanted(load_config(package).model_slug(package), DEVELOPMENT, target, folder)
    found = find_running(deps.target, wanted, folder=package, note=deps.console().print_note)
    watch(deps, package, found, strategy=strategy, seconds=options.seconds(timeout), output=output)


def watch(
    deps: Deps,
    package: Path,
    deployment: Deployment,
    *,
    strategy: Strategy | None,
    seconds: float,
    output: str,
) -> None:
    """Watch a deployment until the user ends it, and say what is left then.

    Raises:
        TrussError: The deployment is gone, or somebody else watches it.
    """
    console = deps.console()
    form = format_json if output == "json" else format_text

    def tell(told: Told) -> None:
        console.print_data(form(told, deps.clock.now()))

    target = deps.target(deployment.target)
    outside = Outside(target, deps.client(), deps.clock, console.progress, tell)
    watching = Watch(package, deployment, outside, strategy=strategy or "beside", seconds=seconds)
    try:
        with single_keys(_keyboard()) as keys:
            if keys is not None:
                console.print_note("r loads again, R rebuilds, q or Ctrl-C ends watching.")
            watching.run(keys)
    except KeyboardInterrupt:
        pass
    left = watching.deployment
    console.print_note(f"{left.model} goes on at {left.url}; `{command_for('stop', left)}` stops it.")


def _keyboard() -> int:
    """Return the descriptor of stdin, -1 where there is none."""
    try:
        return sys.stdin.fileno()
    except (OSError, ValueError, AttributeError):
        return -1
