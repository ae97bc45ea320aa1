"""Inputs whose type the author annotated with a pydantic model: validated before the method sees them."""

from __future__ import annotations

import sys
import typing
from functools import partial
from typing import TYPE_CHECKING, Any

from truss_server.worker import json_library
from truss_server.worker.encode import revive

if TYPE_CHECKING:
    from truss_server.worker.calls import Call


class InvalidInputError(Exception):
    """The request's body does not fit the model's input type; the text lists every problem."""


def take_inputs(call: Call) -> Any:
    """Return the inputs of a call; what a msgpack body marks is turned into what it stands for.

    Raises:
        InvalidInputError: They are no JSON, or something is marked that it is not.
    """
    if call.text is not None:
        text, call.text = call.text, None
        try:
            return json_library.load(text)
        except (ValueError, RecursionError) as exc:
            raise InvalidInputError(f"Invalid JSON payload: {exc}") from None
    if call.framing != "binary":
        return call.inputs
    try:
        return revive(call.inputs)
    except Exception as exc:  # noqa: BLE001 - numpy, datetime and Decimal each have their own
        raise InvalidInputError(f"Invalid msgpack payload: {type(exc).__name__}: {exc}") from None


def input_type(annotation: Any) -> InputType | None:
    """Return the type of inputs that an annotation promises, None where no pydantic model is in it."""
    cls = _pydantic_model(annotation)
    return None if cls is None else InputType(annotation, cls)


class InputType:
    """A pydantic model, or a type that has one in it: `Optional`, `Annotated`, `list`. Pydantic is not imported for it.

    Args:
        annotation: Of the inputs.
        cls: The pydantic model in it.
    """

    def __init__(self, annotation: Any, cls: Any) -> None:
        self._annotation = annotation
        self._pydantic = sys.modules[_base(cls).__module__.rpartition(".")[0]]  # `pydantic` or `pydantic.v1`
        self._adapter: Any = None
        if annotation is cls:
            self._validate = getattr(cls, "model_validate", None) or cls.parse_obj
        elif hasattr(self._pydantic, "TypeAdapter"):
            self._adapter = self._make_adapter()
            self._validate = self._adapter.validate_python
        else:
            self._validate = partial(self._pydantic.parse_obj_as, annotation)

    def _make_adapter(self) -> Any:
        make = self._pydantic.TypeAdapter
        try:
            return make(self._annotation)
        except self._pydantic.PydanticSchemaGenerationError:  # other classes are in it, as arrays
            return make(self._annotation, config={"arbitrary_types_allowed": True})

    def __call__(self, value: Any) -> Any:
        """Return plain inputs as an instance.

        Raises:
            InvalidInputError: They do not fit.
        """
        try:
            return self._validate(value)
        except ValueError as exc:  # what pydantic's ValidationError is
            raise InvalidInputError(_format(exc)) from None

    def schema(self) -> Any:
        """Return the JSON schema."""
        if self._adapter is not None:
            return self._adapter.json_schema()
        return schema(self._annotation) or self._pydantic.schema_of(self._annotation)


def _pydantic_model(annotation: Any) -> Any:
    """Return the first pydantic model in an annotation, None where there is none."""
    if isinstance(annotation, type) and _base(annotation) is not None:
        return annotation
    return next(filter(None, map(_pydantic_model, typing.get_args(annotation))), None)


def _base(cls: type) -> Any:
    return next(
        (c for c in cls.__mro__ if c.__module__.startswith("pydantic.") and c.__name__ == "BaseModel"), None
    )


def _format(exc: Any) -> str:
    """Return every problem of a pydantic ValidationError: `path`: message."""
    problems = exc.errors()
    places = [f"`{_path(problem['loc'])}`: " if problem["loc"] else "" for problem in problems]
    lines = [f"  {place}{problem['msg']}." for place, problem in zip(places, problems)]
    return "\n".join([f"Input Parsing {'Error' if len(lines) == 1 else 'Errors'}:", *lines])


def _path(location: tuple[Any, ...]) -> str:
    text = ""
    for part in (
        location[1:] if location[:1] == ("__root__",) else location
    ):  # as pydantic 1 names a list, say
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def schema(cls: Any) -> Any:
    """Return the JSON schema of a pydantic model, None for anything else."""
    if not (isinstance(cls, type) and _base(cls) is not None):
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
