"""Commands of Typer that cost what they use: imported when they run, values converted where they must be."""

from __future__ import annotations

import inspect
from importlib import import_module
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from truss.commands import SUMMARIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SETTINGS = {"help_option_names": ["-h", "--help"]}


class LazyCommand(TyperCommand):
    """A command that converts only what needs it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options and arguments."""
        spare_conversion(self.get_params(ctx), self.callback)
        return super().parse_args(ctx, args)


def load_command(name: str) -> TyperCommand | TyperGroup:
    """Import the module of a command and return what runs it: a command, or a group where it has several."""
    app = typer.Typer(
        add_completion=False, rich_markup_mode=None, context_settings=SETTINGS, help=SUMMARIES[name]
    )
    module = import_module(f"truss.commands.{name}")
    several: dict[str, Callable[..., None]] | None = getattr(module, "COMMANDS", None)
    for word, function in (several or {name: module.command}).items():
        app.command(word, cls=LazyCommand, context_settings=SETTINGS)(function)
    if several is not None:
        return typer.main.get_group(app)
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
