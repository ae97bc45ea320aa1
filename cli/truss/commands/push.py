"""`truss push`: build the package and run it."""

from __future__ import annotations

import json
import os
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from truss import options
from truss.deps import Deps
from truss.errors import UsageError
from truss.lookup import PRODUCTION
from truss.push import DEFAULT_SECONDS, Wish, push
from truss_server.protocol import DEVELOPMENT, ENDPOINTS

if TYPE_CHECKING:
    from truss.push import Pushed


def command(
    ctx: typer.Context,
    folder: options.Folder = ".",
    *,
    target: Annotated[
        Literal["local", "docker"] | None,
        typer.Option(
            metavar="local|docker",
            help="Where to run; without it, docker where an engine answers, else local.",
        ),
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="What it is for (without it, production); it replaces what runs there."
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Listen there; without it, on a free port.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Wait so long for the model to be ready.")
    ] = DEFAULT_SECONDS,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Push to development, and go on with every save, as `truss watch` does."
        ),
    ] = False,
    require_gpu: Annotated[
        bool,
        typer.Option("--require-gpu", help="Refuse a machine with fewer GPUs than the model asks for."),
    ] = False,
    strategy: options.Strategy = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show the Dockerfile and what would be built on docker; build nothing."
        ),
    ] = False,
    output: options.Output = "text",
) -> None:
    """Build the package and run it, then say where it answers.

    When a step fails, nothing of it is left, and what ran before runs on.
    """
    _check(watch=watch, dry_run=dry_run, strategy=strategy)
    deps = Deps.of(ctx)
    console = deps.console()
    package = Path(os.path.normpath(deps.cwd / folder))
    if dry_run:
        _foretell(deps, package, target, as_json=output == "json")
        return
    wish = Wish(
        target,
        _environment(environment, watch=watch),
        options.port_number(port),
        options.seconds(timeout),
        keep_port=watch,
        require_gpu=require_gpu,
    )
    with ExitStack() as finish:
        with console.progress() as progress:
            pushed = push(
                package,
                wish,
                target=deps.target,
                client=deps.client(),
                clock=deps.clock,
                progress=progress,
                finish=finish,
                environ=deps.environ,
            )
        text = format_json(pushed) if output == "json" else format_text(pushed, here=package == deps.cwd)
        console.print_data(text)
    if watch:
        # Slow to import, and not needed for a push.
        from truss.commands import watch as watching

        deployment = pushed.deployment
        watching.watch(deps, package, deployment, strategy=strategy, seconds=wish.seconds, output=output)


def _check(*, watch: bool, dry_run: bool, strategy: str | None) -> None:
    """Refuse options that would have no effect.

    Raises:
        UsageError: There are some.
    """
    if dry_run and watch:
        raise UsageError("--dry-run pushes nothing that could be watched.", hint="Leave one of the two out.")
    if strategy is not None and not watch:
        raise UsageError(
            "--strategy says how a save is loaded, and nothing is watched.",
            hint="Add --watch, or leave --strategy out.",
        )


def _foretell(deps: Deps, package: Path, target: str | None, *, as_json: bool) -> None:
    """Print what a push to docker would build.

    Raises:
        UsageError: The push would go elsewhere.
    """
    # Slow to import, and not needed for a push.
    from truss.image import foretell

    if target == "local":
        raise UsageError("The target local builds no image.", hint="--dry-run is for docker.")
    console = deps.console()
    with console.progress() as progress:
        found = foretell(package, deps.works, deps.client, progress)
    console.print_data(found.format_json() if as_json else found.format())


def _environment(given: str | None, *, watch: bool) -> str:
    """Return where a push goes.

    Raises:
        UsageError: It is to be watched, and is not for development.
    """
    if watch and given not in {None, DEVELOPMENT}:
        raise UsageError(
            f"Only {DEVELOPMENT} can be watched, and --environment is {given}.",
            hint="Leave --environment out, or push without --watch.",
        )
    otherwise = DEVELOPMENT if watch else PRODUCTION
    return options.environment_name(otherwise if given is None else given)


def format_json(pushed: Pushed) -> str:
    """Return what was pushed as one JSON object."""
    deployment = pushed.deployment
    fields = {
        "model": deployment.model,
        "environment": deployment.environment,
        "release": deployment.release,
        "target": deployment.target,
        "url": deployment.url,
        "digest": pushed.plan.manifest.digest,
    }
    return json.dumps(fields) + "\n"


def format_text(pushed: Pushed, *, here: bool) -> str:
    """Return where the model answers and what to do with it.

    Args:
        pushed: What was pushed.
        here: Whether the package is the current folder, so that commands find it by themselves.
    """
    deployment = pushed.deployment
    options = [] if here else ["--model", deployment.model]
    if deployment.environment != PRODUCTION:
        options += ["--environment", deployment.environment]
    chosen = "".join(f" {option}" for option in options)
    example = pushed.plan.config.model_metadata.get("example_model_input", {})
    data = shlex.quote(json.dumps(example, ensure_ascii=False, default=str))
    endpoint = next((name for name in ENDPOINTS if name in pushed.methods), None)
    route = f"/v1/{endpoint.replace('chat_', 'chat/')}" if endpoint else "/predict"
    by_url = endpoint and "predict" not in pushed.methods
    called = f" --url {deployment.url}{route}" if by_url else chosen
    place = f"{deployment.environment} on {deployment.target}"
    return (
        f"{deployment.model} release {deployment.release} answers at {deployment.url} ({place}).\n"
        "\n"
        f"  call   truss predict{called} -d {data}\n"
        f"         curl -N {deployment.url}{route} -H 'content-type: application/json' -d {data}\n"
        f"  logs   truss logs -f{chosen}\n"
        f"  stop   truss stop{chosen}\n"
    )
