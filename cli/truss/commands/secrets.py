"""`truss secrets`: set, list or remove secrets."""

from __future__ import annotations

import getpass
import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from truss import options  # noqa: TC001 Typer reads annotations
from truss.deps import Deps
from truss.errors import UsageError
from truss.secrets import MOST_BYTES, SecretStore, check_name

if TYPE_CHECKING:
    from typing import TextIO


def command(
    ctx: typer.Context,
    what: Annotated[
        Literal["set", "list", "rm"],
        typer.Argument(
            metavar="set|list|rm",
            help="set: ask for a value, or read it from standard input; list: names, no values; rm: remove.",
        ),
    ],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of the secret; not for list.")] = None,
    *,
    value: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="The value; others can see it while the command runs."),
    ] = None,
    output: options.Output = "text",
) -> None:
    """Keep secrets that models ask for.

    A deployment gets those that its config.yaml names, as files, when it is pushed.
    """
    deps = Deps.of(ctx)
    console, store = deps.console(), SecretStore.of(deps.environ)
    _check(what, name, value)
    if name is None:
        names = store.names()
        console.print_data(
            json.dumps(names) + "\n" if output == "json" else "".join(f"{one}\n" for one in names)
        )
        if not names and output == "text":
            console.print_note("No secret is set.")
    elif what == "rm":
        store.remove(name)
        console.print_note(
            f"{name} is removed; deployments that have it keep it until they are pushed again."
        )
    else:
        check_name(name)
        store.set(name, read_value(name, sys.stdin) if value is None else value)
        console.print_note(
            f"{name} is set; deployments whose config.yaml names it have it from their next push."
        )


def _check(what: str, name: str | None, value: str | None) -> None:
    """Refuse a name or a value where there is no use for one.

    Raises:
        UsageError: There is none, or one is missing.
    """
    hint = "`truss secrets --help` shows what there is."
    if (what == "list") != (name is None):
        problem = "takes no name" if name else "needs a name"
        raise UsageError(f"`truss secrets {what}` {problem}.", hint=hint)
    if what != "set" and value is not None:
        raise UsageError(f"`truss secrets {what}` takes no --value.", hint=hint)


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
