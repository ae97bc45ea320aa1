"""Inputs whose type the author annotated with a pydantic model: validated before the method sees them."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any, Callable

from truss_server.worker.encode import revive

if TYPE_CHECKING:
    from truss_server.worker.calls import Call


class InvalidInputError(Exception):
    """The request's body does not fit the model's input type; the text lists every problem."""


def take_inputs(call: Call) -> Any:
    """Return the inputs of a call; what a msgpack body marks is turned into what it stands for.

    Raises:
        InvalidInputError: Something is marked that it is not.
    """
    if call.framing != "binary":
        return call.inputs
    try:
        return revive(call.inputs)
    except Exception as exc:  # noqa: BLE001 - numpy, datetime and Decimal each have their own
        raise InvalidInputError(f"Invalid msgpack payload: {type(exc).__name__}: {exc}") from None


def input_type(annotation: Any) -> type | None:
    """Return the pydantic model an annotation is, or None; pydantic is not imported for it."""
    if isinstance(annotation, type) and _is_pydantic(annotation):
        return annotation
    return None


def _is_pydantic(cls: type) -> bool:
    return any(c.__module__.startswith("pydantic.") and c.__name__ == "BaseModel" for c in cls.__mro__)


def validator(cls: type) -> Callable[[Any], Any]:
    """Return a function that turns plain inputs into an instance of a pydantic model.

    The function raises InvalidInputError.
    """
    validate: Callable[[Any], Any] = getattr(cls, "model_validate", None) or cls.parse_obj  # type: ignore[attr-defined]

    def check(value: Any) -> Any:
        try:
            return validate(value)
        except ValueError as exc:  # what pydantic's ValidationError is
            raise InvalidInputError(_format(exc)) from None

    return check


def _format(exc: Any) -> str:
    """Return every problem of a pydantic ValidationError: `path`: message."""
    problems = exc.errors()
    lines = [f"  `{_path(problem['loc'])}`: {problem['msg']}." for problem in problems]
    return "\n".join([f"Input Parsing {'Error' if len(lines) == 1 else 'Errors'}:", *lines])


def _path(location: tuple[Any, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def schema(cls: Any) -> Any:
    """Return the JSON schema of a pydantic model, None for anything else."""
    if not (isinstance(cls, type) and _is_pydantic(cls)):
        return None
    make = getattr(cls, "model_json_schema", None) or cls.schema  # type: ignore[attr-defined]
    return make()


def output_schema(annotation: Any) -> tuple[Any, bool]:
    """Return what a return annotation promises: schema or None, and whether it may stream."""
    origin = typing.get_origin(annotation)
    name = getattr(origin, "__name__", "")
    if name in ("Generator", "AsyncGenerator", "Iterator", "AsyncIterator", "Iterable", "AsyncIterable"):
        return None, True
    if name in {"Awaitable", "Coroutine"}:
        return output_schema(typing.get_args(annotation)[-1])
    found, streams = schema(annotation), False
    for arm in typing.get_args(annotation) if found is None else ():
        arm_schema, arm_streams = output_schema(arm)
        found, streams = found or arm_schema, streams or arm_streams
    return found, streams
