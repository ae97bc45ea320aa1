"""`truss stop`: stop what is deployed."""

from __future__ import annotations

from typing import Annotated

import typer

from truss import options
from truss.deps import Deps
from truss.errors import UsageError
from truss.lookup import Wanted, all_deployments, describe, find_all


def command(
    ctx: typer.Context,
    *,
    model: options.Model = None,
    environment: options.Environment = None,
    target: options.Target = None,
    everything: Annotated[bool, typer.Option("--all", help="Stop everything that is deployed.")] = False,
) -> None:
    """Stop a deployed model.

    Requests that are being answered may finish; new ones are refused.
    """
    deps = Deps.of(ctx)
    console = deps.console()
    if everything and (model or environment):
        raise UsageError(
            "--all takes no --model and no --environment.", hint="Leave it out to stop one model."
        )
    if everything:
        found, _ = all_deployments(deps.target, target)
    else:
        found = find_all(deps.target, Wanted(options.model_name(model, deps.cwd), environment, target))
    with console.progress() as progress:
        for deployment in found:
            with progress.step(f"stop {describe(deployment)}"):
                deps.target(deployment.target).stop(deployment)
    if not found:
        console.print_note("Nothing is deployed.")
