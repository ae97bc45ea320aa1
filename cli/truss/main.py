"""The command line: commands that are imported when they run, and the one place where errors are shown."""

from __future__ import annotations

import inspect
import os
import sys
from contextlib import contextmanager
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from truss import __version__
from truss.commands import SUMMARIES
from truss.console import Console, as_error
from truss.deps import Deps, open_target
from truss.errors import TrussError, UsageError
from truss.signals import end_by_exception

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C."""

EXIT_BROKEN_PIPE = 141
"""Exit code when the reader of stdout went away: what a shell gives a program that SIGPIPE ended."""

AS_JSON = "truss.as_json"
"""Key in a context's `meta`: whether errors are printed as JSON."""

SETTINGS = {"help_option_names": ["-h", "--help"]}

# Typer brings its own click under a private name; these classes are the same in every version of it.
_ClickUsageError: type[Exception] = typer.BadParameter.__mro__[1]
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]


class LazyCommand(TyperCommand):
    """A command that converts only what needs it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options and arguments."""
        spare_conversion(self.get_params(ctx), self.callback)
        return super().parse_args(ctx, args)


def load_command(name: str) -> TyperCommand:
    """Import the module of a command and return what runs it."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    register = app.command(name, cls=LazyCommand, context_settings=SETTINGS)
    register(import_module(f"truss.commands.{name}").command)
    command = typer.main.get_command(app)
    if not isinstance(command, TyperCommand):
        raise TypeError(f"truss.commands.{name}.command did not make a command")
    return command


def spare_conversion(params: Iterable[Any], function: Callable[..., Any] | None) -> None:
    """Let parameters take a value as it is where it already has the type they ask for.

    Typer asks pydantic even to turn text into text, and to import what it needs of pydantic takes 0.3 s.

    Args:
        params: Parameters as Typer made them.
        function: Whose signature has their types.
    """
    hints = get_type_hints(inspect.unwrap(function)) if function else {}
    for param in params:

        def process(ctx: Any, value: Any, param: Any = param, convert: Any = param.process_value) -> Any:
            typed = not param.required if value is None else conforms(value, hints.get(param.name, bool))
            if not typed:
                return convert(ctx, value)
            return param.callback(ctx, param, value) if param.callback else value

        param.process_value = process


def conforms(value: object, hint: Any) -> bool:
    """Return whether a value has a type: a class, a `Literal`, or a union of them."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) in {Union, UnionType}:
        return any(conforms(value, arm) for arm in get_args(hint))
    return isinstance(value, hint) if isinstance(hint, type) else False


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
    return UsageError(message, hint=f"`{path} --help` shows what there is.")


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
