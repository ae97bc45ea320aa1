"""The command line: commands that are imported when they run, and the one place where errors are shown."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from truss import __version__
from truss.commands import SUMMARIES
from truss.console import Console
from truss.deps import Deps, open_target
from truss.errors import TrussError, UsageError
from truss.lazy import SETTINGS, load_command, spare_conversion
from truss.signals import end_by_exception
from truss.wording import as_error, plain_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C."""

EXIT_BROKEN_PIPE = 141
"""Exit code when the reader of stdout went away: what a shell gives a program that SIGPIPE ended."""

AS_JSON = "truss.as_json"
"""Key in a context's `meta`: whether errors are printed as JSON."""

# Typer brings its own click under a private name; these classes are the same in every version of it.
_ClickUsageError: type[Exception] = typer.BadParameter.__mro__[1]
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]


class LazyGroup(TyperGroup):
    """The group of all commands: knows their help, imports the one that runs, and shows every error."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        for name, summary in SUMMARIES.items():
            self.add_command(TyperCommand(name, help=summary, rich_markup_mode=None))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before the command."""
        spare_conversion(self.get_params(ctx), None)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Put the command itself in the place of its one-line stand-in."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load_command(command.name or ""), rest

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the options before the command, and show what is wrong with them."""
        as_json = wants_json(args)
        with error_boundary(as_json=as_json):
            ctx = super().make_context(info_name, args, parent, **extra)
        ctx.meta[AS_JSON] = as_json
        return ctx

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with error_boundary(as_json=ctx.meta[AS_JSON]):
            return super().invoke(ctx)


def wants_json(args: Sequence[str]) -> bool:
    """Return whether the arguments, which may not make sense yet, ask for JSON."""
    return "--output=json" in args or ("--output", "json") in pairwise(args)


@contextmanager
def error_boundary(*, as_json: bool) -> Iterator[None]:
    """Show what is raised in the block and turn it into the exit code.

    Raises:
        typer.Exit: With the exit code of the error.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except BrokenPipeError:
        raise typer.Exit(EXIT_BROKEN_PIPE) from None
    except KeyboardInterrupt:
        Console.of_process().print_note("interrupted")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except _ClickException as exc:
        raise _shown(_as_usage_error(exc), as_json=as_json) from None
    except Exception as exc:  # noqa: BLE001 the last one who could tell the user
        raise _shown(as_error(exc, os.environ), as_json=as_json) from None


def _shown(error: TrussError, *, as_json: bool) -> typer.Exit:
    """Print an error and return what ends the process."""
    Console.of_process().print_error(error, as_json=as_json)
    return typer.Exit(error.exit_code)


def _as_usage_error(exc: Exception) -> TrussError:
    """Return what Typer says of wrong arguments as an error of ours."""
    message: str = getattr(exc, "format_message")()  # noqa: B009 the type is private
    ctx = getattr(exc, "ctx", None)
    path = ctx.command_path if isinstance(exc, _ClickUsageError) and ctx else "truss"
    return UsageError(plain_words(message), hint=f"`{path} --help` shows what there is.")


app = typer.Typer(cls=LazyGroup, rich_markup_mode=None, context_settings=SETTINGS)


def _print_version(asked: bool) -> None:
    """Answer `--version` where it was not the only argument."""
    if asked:
        sys.stdout.write(f"truss {__version__}\n")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Turn a Python class with load and predict into a service that streams."""
    if ctx.invoked_subcommand is None:
        sys.stdout.write(f"{ctx.get_help()}\n")
        return
    if ctx.obj is None:
        ctx.obj = Deps(target=open_target, cwd=_current_folder())


def _current_folder() -> Path:
    """Return the folder the command runs in."""
    try:
        return Path.cwd()
    except FileNotFoundError as exc:
        raise TrussError("The current folder no longer exists.", hint="Change to another one.") from exc


def run() -> None:
    """Run the command line and end the process."""
    end_by_exception()
    code: str | int | None = 0
    try:
        app(prog_name="truss")
    except SystemExit as exc:
        code = exc.code
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = EXIT_BROKEN_PIPE
    if code == EXIT_BROKEN_PIPE:
        # Python flushes stdout once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
