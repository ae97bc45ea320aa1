"""The methods of a model as the worker calls them, read once from the author's class."""

from __future__ import annotations

import inspect
import os
import sys
from dataclasses import dataclass
from types import CodeType
from typing import Any, Callable

from truss_server.protocol import ENDPOINTS
from truss_server.worker.answers import is_async
from truss_server.worker.inputs import InputType, input_type, output_schema
from truss_server.worker.signatures import (
    Arguments,
    SignatureError,
    read_annotations,
    read_arguments,
    signature_of,
)

STAGES = ("preprocess", "predict", "postprocess")
_HOOKS = ("load", "unload", "setup_environment")  # called by the server itself, once


class ModelDefinitionError(Exception):
    """The author's class cannot be served as it is written."""


@dataclass(frozen=True)
class Stage:
    """One function of a method: `preprocess`, `predict`, `postprocess` or an endpoint.

    Attributes:
        function: Bound.
        arguments: What it is called with.
        is_async: Whether its calls belong on the event loop.
        check: Validates its inputs, where the author annotated them; None elsewhere.
    """

    function: Callable[..., Any]
    arguments: Arguments
    is_async: bool
    check: InputType | None = None

    def __call__(self, value: Any, request: Any) -> Any:
        """Call the function with what it asks for."""
        arguments = self.arguments
        if arguments.inputs:
            if self.check is not None:
                value = self.check(value)
            if arguments.request is None:
                return self.function(value)
            return self.function(value, **{arguments.request: request})
        return self.function() if arguments.request is None else self.function(**{arguments.request: request})


@dataclass(frozen=True)
class Method:
    """What a route calls: one stage, or up to three for predict.

    Attributes:
        stages: In the order they run; the result of each is the inputs of the next.
        inputs: Whether the request's body must be parsed.
        request: Whether a stage takes the request.
        is_async: Whether any stage belongs on the event loop; the method begins there then.
        watches: Whether it asks the request for the disconnect: then it ends its work itself when it looks the next
            time, and is not cancelled before.
        schema: `input_schema`, `output_schema` (JSON schemas or None) and `supports_streaming`.
    """

    stages: tuple[Stage, ...]
    inputs: bool
    request: bool
    is_async: bool
    watches: bool
    schema: dict[str, Any]

    def facts(self) -> dict[str, Any]:
        """Return what the edge needs to know of it."""
        return {"inputs": self.inputs, "request": self.request, **self.schema}


def find_methods(model: Any) -> tuple[dict[str, Method], Method]:
    """Return the callable methods of a model, and what answers whether it is healthy.

    That is asked from the event loop first, then of its own `is_healthy`, if it has one.

    Raises:
        ModelDefinitionError: Signatures break the rules, or there is nothing to call. All violations are named.
    """
    violations: list[str] = []
    stages: dict[str, Stage] = {}
    for name in (*STAGES, *ENDPOINTS, "websocket", "is_healthy", *_HOOKS):
        function = getattr(model, name, None)
        if function is None:
            continue
        try:
            _must_be_callable(function, name)
            if name not in _HOOKS:
                stages[name] = _stage(function, name)
        except SignatureError as exc:
            violations.append(f"{_place(function, type(model))}: {exc}")
    health = stages.pop("is_healthy", None)
    violations += _broken_rules(stages)
    if not stages and not violations:
        violations.append(f"it has none of the methods predict, websocket, {', '.join(ENDPOINTS)}")
    if violations:
        raise ModelDefinitionError(
            f"`{type(model).__name__}` cannot be served:\n" + "\n".join(f"  {line}" for line in violations)
        )
    methods = {name: _method(stages[name]) for name in (*ENDPOINTS, "websocket") if name in stages}
    if "predict" in stages:
        methods["predict"] = _method(*[stages[name] for name in STAGES if name in stages])
    return methods, _method(_ALIVE) if health is None else _method(_ALIVE, health, _TRUTH)


def _must_be_callable(function: Any, name: str) -> None:
    if not callable(function):
        raise SignatureError(f"`{name}` is of type {type(function).__name__} and no method")


def _stage(function: Callable[..., Any], name: str) -> Stage:
    if name == "websocket":
        if not inspect.iscoroutinefunction(function):
            raise SignatureError("`websocket` must be an `async def`")
        signature = signature_of(function)
        try:
            signature.bind(None)
        except TypeError:
            raise SignatureError(
                f"`websocket{signature}` must take one argument besides `self`, the websocket"
            ) from None
        return Stage(function, Arguments(inputs=False, annotation=_first_annotation(function)), is_async=True)
    arguments = read_arguments(function, name)
    if name == "is_healthy" and (arguments.inputs or arguments.request):
        raise SignatureError("`is_healthy` takes no argument but `self`")
    typed = input_type(_first_annotation(function)) if arguments.inputs else None
    return Stage(function, arguments, is_async(function), typed)


async def _alive() -> bool:
    """Answer from the event loop: one that is stuck does not."""
    return True


def _metrics() -> str:
    """Return what the model's code registered with prometheus_client, if it uses that."""
    client = sys.modules.get("prometheus_client")
    return str(client.generate_latest().decode()) if client is not None else ""


_ALIVE = Stage(_alive, Arguments(inputs=False), is_async=True)
_TRUTH = Stage(bool, Arguments(inputs=True), is_async=False)


def _method(*chain: Stage) -> Method:
    promised, streams = output_schema(read_annotations(chain[-1].function).get("return"))
    if any(
        inspect.isgeneratorfunction(s.function) or inspect.isasyncgenfunction(s.function) for s in chain[-1:]
    ):
        streams = True
    first = chain[0]
    return Method(
        stages=chain,
        inputs=first.arguments.inputs,
        request=any(stage.arguments.request is not None for stage in chain),
        is_async=any(stage.is_async for stage in chain),
        watches=any(_mentions(stage.function, "is_disconnected") for stage in chain),
        schema={
            "input_schema": None if first.check is None else first.check.schema(),
            "output_schema": promised,
            "supports_streaming": streams,
        },
    )


def _mentions(function: Callable[..., Any], name: str) -> bool:
    """Tell whether a function, or one inside it, uses an attribute of a name."""
    codes = [getattr(inspect.unwrap(function), "__code__", None)]
    while codes:
        code = codes.pop()
        if isinstance(code, CodeType):
            if name in code.co_names:
                return True
            codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return False


def _first_annotation(function: Callable[..., Any]) -> Any:
    """Return the type of a function's first parameter, None where the author named none."""
    try:
        names = list(signature_of(function).parameters)
    except (TypeError, ValueError):  # builtins
        return None
    return read_annotations(function).get(names[0]) if names else None


def _broken_rules(stages: dict[str, Stage]) -> list[str]:
    """The specification's rules for how methods fit together."""
    predict = stages.get("predict")
    violations = [
        f"{_place(stages[name].function)}: `{name}` without `predict` is never called"
        for name in ("preprocess", "postprocess")
        if name in stages and predict is None
    ]
    if "websocket" in stages and predict is not None:
        violations.append(
            f"{_place(stages['websocket'].function)}: a model has `websocket` or `predict`, not both"
        )
    lost = "so the result of `{}` would be lost; let it take the inputs first"
    if "preprocess" in stages and predict is not None and _request_only(predict):
        violations.append(
            f"{_place(predict.function)}: `predict` takes only the request, {lost.format('preprocess')}"
        )
    if "postprocess" in stages and _request_only(stages["postprocess"]):
        place = _place(stages["postprocess"].function)
        violations.append(f"{place}: `postprocess` takes only the request, {lost.format('predict')}")
    return violations


def _request_only(stage: Stage) -> bool:
    return stage.arguments.request is not None and not stage.arguments.inputs


def _place(function: Any, cls: type | None = None) -> str:
    """Return `file:line` of a function, else of the class it is in; the file as the package names it."""
    code: Any = getattr(inspect.unwrap(function), "__code__", None)
    if code is not None:
        return f"{os.path.relpath(code.co_filename)}:{code.co_firstlineno}"
    at: Any = cls or function
    try:
        return f"{os.path.relpath(str(inspect.getsourcefile(at)))}:{inspect.getsourcelines(at)[1]}"
    except (OSError, TypeError):  # made by code that is in no file
        return "?"


METRICS = _method(Stage(_metrics, Arguments(inputs=False), is_async=False))
"""What answers with the metrics that the model's code registered."""
