"""`truss predict`: call a deployed model."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from truss import options
from truss.deps import Deps
from truss.lookup import Wanted, command_for, find_running
from truss.predict import DEFAULT_SECONDS, predict, read_request


def command(
    ctx: typer.Context,
    *,
    data: Annotated[str | None, typer.Option("-d", "--data", metavar="JSON", help="What to send.")] = None,
    file: Annotated[
        str | None,
        typer.Option("-f", "--file", metavar="FILE", help="File with what to send; - is standard input."),
    ] = None,
    model: options.Model = None,
    environment: options.Environment = None,
    target: options.Target = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Call this instead; /predict, or the path that it has."),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="Wait so long for an answer, and for each piece of it."),
    ] = DEFAULT_SECONDS,
) -> None:
    """Call a deployed model; its answer appears as it is produced.

    The exit code is 0 only when the answer is a success and complete.
    """
    deps = Deps.of(ctx)
    console = deps.console()
    wait = options.seconds(timeout)
    body = read_request(data, file, cwd=deps.cwd, stdin=sys.stdin.buffer)
    hint = "The log of the server there shows what happened."
    if url is None:
        wanted = Wanted(options.model_name(model, deps.cwd), environment, target)
        found = find_running(deps.target, wanted, folder=deps.cwd, note=console.print_note)
        url, hint = found.url, f"`{command_for('logs', found)}` shows what happened."
    predict(deps.client(), console, url, body, seconds=wait, log_hint=hint)
