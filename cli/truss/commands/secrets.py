"""`truss secrets`: set, list or remove secrets."""

from __future__ import annotations

import getpass
import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from truss import options  # noqa: TC001 Typer reads annotations
from truss.deps import Deps
from truss.errors import UsageError
from truss.names import LOGIN
from truss.secrets import MOST_BYTES, SecretStore, check_name

if TYPE_CHECKING:
    from typing import TextIO


Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the secret.")]


def set_secret(
    ctx: typer.Context,
    name: Name,
    *,
    value: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="The value; others can see it while the command runs."),
    ] = None,
) -> None:
    """Set a secret: its value is asked for, or read from standard input.

    A deployment gets those that its config.yaml names, as files, when it is pushed.
    """
    deps = Deps.of(ctx)
    check_name(name)
    SecretStore.of(deps.environ).set(name, read_value(name, sys.stdin) if value is None else value)
    gets = "deployments whose config.yaml names it have it from their next push"
    login = "the login of a registry, which is not used here: `docker login` is"
    deps.console().print_note(f"{name} is set; {login if name.startswith(LOGIN) else gets}.")


def list_secrets(ctx: typer.Context, *, output: options.Output = "text") -> None:
    """List the names of secrets that are set, not their values."""
    deps = Deps.of(ctx)
    console, names = deps.console(), SecretStore.of(deps.environ).names()
    if output == "json":
        console.print_data(json.dumps(names) + "\n")
        return
    console.print_data("".join(f"{name}\n" for name in names))
    if not names:
        console.print_note("No secret is set.")


def remove(ctx: typer.Context, name: Name) -> None:
    """Remove a secret."""
    deps = Deps.of(ctx)
    SecretStore.of(deps.environ).remove(name)
    deps.console().print_note(
        f"{name} is removed; deployments that have it keep it until they are pushed again."
    )


def read_value(name: str, stdin: TextIO) -> str:
    """Return a secret: asked for on a terminal, where it is not shown; else all of standard input but its last newline.

    Raises:
        UsageError: It is no text.
    """
    if stdin.isatty():
        with suppress(EOFError):  # Ctrl-D: nothing was given
            return getpass.getpass(f"{name}: ")
        return ""
    try:
        given = stdin.buffer.read(MOST_BYTES + 2).decode()
    except UnicodeDecodeError as exc:
        raise UsageError("The secret is no UTF-8 text.") from exc
    return given.removesuffix("\n").removesuffix("\r")


COMMANDS = {"set": set_secret, "list": list_secrets, "rm": remove}
