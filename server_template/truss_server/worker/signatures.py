"""How each method of a model wants to be called, read once from its signature.

The rules are the specification's ("Rules for using requests"), with what its own examples need on top: a second
parameter that is simply named `request` is the request, and parameters with defaults are the model's own business.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
import typing
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Callable

_TEXT = re.compile(r"\b(fastapi|starlette)(\.requests)?\.Request\b")
"""In an annotation that is text still, means the request although nothing of that name was imported."""


@dataclass(frozen=True)
class Arguments:
    """What a method is called with.

    Attributes:
        inputs: Whether it takes the inputs, as its first argument.
        request: Name of the parameter that takes the request, None where there is none.
        annotation: The request class the signature names, None where it names none.
    """

    inputs: bool
    request: str | None = None
    annotation: type | None = None


class SignatureError(Exception):
    """A signature breaks a rule; the message says which and what to write instead."""


# Annotations are evaluated when they are asked for, from Python 3.14 on (PEP 649).
_annotationlib: Any = import_module("annotationlib") if sys.version_info >= (3, 14) else None


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return a signature; an annotation whose name is not defined stays text."""
    if _annotationlib is None:
        return inspect.signature(function)
    undefined_too: dict[str, Any] = {"annotation_format": _annotationlib.Format.FORWARDREF}
    found = inspect.signature(function, **undefined_too)
    parameters = [one.replace(annotation=_text(one.annotation)) for one in found.parameters.values()]
    return found.replace(parameters=parameters, return_annotation=_text(found.return_annotation))


def _annotations_of(function: Any) -> dict[str, Any]:
    """Return annotations, likewise."""
    if _annotationlib is None:
        return getattr(function, "__annotations__", {})
    with contextlib.suppress(TypeError):  # it can be called and has none
        found = _annotationlib.get_annotations(function, format=_annotationlib.Format.FORWARDREF)
        return {name: _text(value) for name, value in found.items()}
    return {}


def _text(annotation: Any) -> Any:
    return getattr(annotation, "__forward_arg__", annotation)


def read_arguments(method: Callable[..., Any], name: str) -> Arguments:
    """Decide what a bound method is called with.

    Raises:
        SignatureError: It cannot be called by the rules.
    """
    signature = signature_of(method)
    hints = read_annotations(method)
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    classes = {p.name: _request_class(hints.get(p.name, p.annotation)) for p in parameters}
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    request = _request_parameter(parameters, positional, classes)
    others = [p for p in parameters if p is not request]
    needed = [p for p in others if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    shown = f"`{name}{signature}`"
    if len(needed) > 1:
        raise SignatureError(
            f"{shown} needs {len(needed)} arguments besides the request ({', '.join(p.name for p in needed)}); "
            "it is called with the inputs and, if it asks for it, the request: annotate the second parameter as "
            "`fastapi.Request` or name it `request`, and give all others defaults"
        )
    if any(p.kind is p.KEYWORD_ONLY for p in needed):
        raise SignatureError(
            f"{shown} takes its inputs by keyword only; they are passed as the first argument"
        )
    takes_inputs = bool(needed) or any(
        p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL) for p in others
    )
    if request is not None and takes_inputs and positional and positional[0] is request:
        raise SignatureError(f"{shown} has the request first; the request must be the second argument")
    if request is not None and request.kind is request.POSITIONAL_ONLY:
        raise SignatureError(f"{shown} takes the request by position only; drop the `/`")
    if request is None:
        return Arguments(inputs=takes_inputs)
    return Arguments(inputs=takes_inputs, request=request.name, annotation=classes[request.name])


def _request_parameter(
    parameters: list[inspect.Parameter],
    positional: list[inspect.Parameter],
    classes: dict[str, type | None],
) -> inspect.Parameter | None:
    """The annotated one; else one named `request` that does not stand where the inputs do."""
    for parameter in parameters:
        text = parameter.annotation if isinstance(parameter.annotation, str) else ""
        if classes[parameter.name] is not None or _TEXT.search(text):
            return parameter
    for parameter in parameters:
        unannotated = parameter.annotation in (parameter.empty, "Request", "Any", Any)
        if parameter.name == "request" and unannotated and parameter not in positional[:1]:
            return parameter
    return None


def read_annotations(method: Callable[..., Any]) -> dict[str, Any]:
    """Return annotations with strings resolved, each by itself: one that cannot be takes no other along."""
    function: Any = inspect.unwrap(method)
    namespace = getattr(function, "__globals__", {})
    hints = {}
    for name, annotation in _annotations_of(function).items():
        value = annotation
        with contextlib.suppress(Exception):  # the author's text may raise anything; it stays text then
            while isinstance(value, str):
                value = eval(value, namespace)  # noqa: S307 - as typing.get_type_hints does
            hints[name] = value
            # Names in quotes within it, as in Optional["In"].
            inner = SimpleNamespace(__annotations__={name: value})
            hints[name] = typing.get_type_hints(inner, namespace, include_extras=True)[name]
    return hints


def _request_class(annotation: Any) -> type | None:
    """Return the subclass of starlette's Request an annotation names, through Optional and unions."""
    if isinstance(annotation, type):
        for base in annotation.__mro__:
            if base.__module__ == "starlette.requests" and base.__name__ == "Request":
                return annotation
        return None
    for argument in typing.get_args(annotation):
        found = _request_class(argument)
        if found is not None:
            return found
    return None
