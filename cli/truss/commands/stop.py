"""`truss stop`: stop what is deployed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from truss import options
from truss.deps import Deps
from truss.errors import EngineError, TrussError, UsageError
from truss.lookup import Wanted, all_deployments, describe, find_all, in_use, silence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from truss.progress import Progress
    from truss.release import Deployment
    from truss.targets import Target


def command(
    ctx: typer.Context,
    *,
    model: options.Model = None,
    environment: options.Environment = None,
    target: options.Target = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Stop everything that `truss list` shows.")
    ] = False,
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
        found, silent = all_deployments(deps.target, target)
    else:
        found, silent = (
            find_all(deps.target, Wanted(options.model_name(model, deps.cwd), environment, target)),
            {},
        )
    with console.progress() as progress:
        failures = stop_each(found, deps.target, progress)
    failures += [
        EngineError(f"{silence(name, error)} What it runs was not stopped.", hint=error.hint)
        for name, error in silent.items()
        if in_use(name, deps.environ)
    ]
    for failure in failures[1:]:
        console.print_error(failure)
    if failures:
        raise failures[0]
    if not found:
        console.print_note("Nothing is deployed.")


def stop_each(
    found: Iterable[Deployment], target: Callable[[str], Target], progress: Progress
) -> list[TrussError]:
    """Stop deployments and return what went wrong; one that cannot be stopped does not keep the others."""
    failures: list[TrussError] = []
    for deployment in found:
        try:
            with progress.step(f"stop {describe(deployment)}"):
                target(deployment.target).stop(deployment)
        except TrussError as exc:  # noqa: PERF203 each deployment for itself
            failures.append(exc)
    return failures
