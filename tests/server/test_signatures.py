"""How a method is called follows from its signature, by the specification's rules."""

from __future__ import annotations

from typing import Any, Optional, Union

import fastapi
import pytest
import starlette.requests

from truss_server.worker.signatures import Arguments, SignatureError, read_arguments


class CustomRequest(starlette.requests.Request):
    """A subclass, as some frameworks bring it."""


Annotated = CustomRequest


class Model:
    """One method for each way to write it."""

    def nothing(self): ...  # type: ignore[no-untyped-def]  # noqa: ANN201
    def inputs(self, anything): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    def inputs_named_request(self, request): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    def a_dict_named_request(self, request: dict[str, Any]) -> None: ...
    def request_only(self, anything: fastapi.Request) -> None: ...
    def both(self, inputs: Any, anything: fastapi.Request) -> None: ...
    def subclass(self, inputs: Any, anything: CustomRequest) -> None: ...
    def unannotated(self, inputs, request): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    def keyword(self, inputs: Any, *, request: Any) -> None: ...
    def optional(self, inputs: Any, r: Optional[fastapi.Request] = None) -> None: ...  # noqa: UP045
    def union(self, inputs: Any, r: Union[fastapi.Request, None] = None) -> None: ...  # noqa: UP007
    def new_union(self, inputs: Any, r: fastapi.Request | None = None) -> None: ...
    def defaults(self, inputs: Any = None, temperature: float = 0.5, *, top: int = 1) -> None: ...
    def variadic(self, *args: Any, **kwargs: Any) -> None: ...
    def keywords_only(self, **kwargs: Any) -> None: ...
    def text(self, inputs: Any, r: "fastapi.Request") -> None: ...  # noqa: UP037
    def unresolved(self, inputs: "Nowhere", r: "fastapi.Request") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037
    def never_imported(self, inputs: Any, r: "starlette.Request | None" = None) -> None: ...  # type: ignore[name-defined]  # noqa: UP037
    def resolved_alone(self, inputs: "Nowhere", r: Annotated) -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037
    def unresolved_name(self, inputs: Nowhere, request: Request) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nothing", Arguments(inputs=False)),
        ("inputs", Arguments(inputs=True)),
        ("inputs_named_request", Arguments(inputs=True)),
        ("a_dict_named_request", Arguments(inputs=True)),
        ("request_only", Arguments(inputs=False, request="anything", annotation=fastapi.Request)),
        ("both", Arguments(inputs=True, request="anything", annotation=fastapi.Request)),
        ("subclass", Arguments(inputs=True, request="anything", annotation=CustomRequest)),
        ("unannotated", Arguments(inputs=True, request="request")),
        ("keyword", Arguments(inputs=True, request="request")),
        ("optional", Arguments(inputs=True, request="r", annotation=fastapi.Request)),
        ("union", Arguments(inputs=True, request="r", annotation=fastapi.Request)),
        ("new_union", Arguments(inputs=True, request="r", annotation=fastapi.Request)),
        ("defaults", Arguments(inputs=True)),
        ("variadic", Arguments(inputs=True)),
        ("keywords_only", Arguments(inputs=False)),
        ("text", Arguments(inputs=True, request="r", annotation=fastapi.Request)),
        ("unresolved", Arguments(inputs=True, request="r", annotation=fastapi.Request)),
        ("never_imported", Arguments(inputs=True, request="r")),
        ("resolved_alone", Arguments(inputs=True, request="r", annotation=CustomRequest)),
        ("unresolved_name", Arguments(inputs=True, request="request")),
    ],
)
def test_every_way_to_write_a_method(name: str, expected: Arguments) -> None:
    """Inputs first, the request by annotation or by name, the rest by their defaults."""
    assert read_arguments(getattr(Model(), name), name) == expected


def _three(a: Any, b: Any, c: Any = None) -> None: ...
def _keyword_inputs(*, inputs: Any) -> None: ...
def _first(request: fastapi.Request, inputs: Any) -> None: ...
def _positional(inputs: Any, request: fastapi.Request, /) -> None: ...


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (_three, r"needs 2 arguments besides the request \(a, b\)"),
        (_keyword_inputs, "takes its inputs by keyword only"),
        (_first, "the request must be the second argument"),
        (_positional, "takes the request by position only"),
    ],
)
def test_what_cannot_be_called(method: Any, message: str) -> None:
    """A signature that breaks a rule is refused with the rule."""
    with pytest.raises(SignatureError, match=message):
        read_arguments(method, "predict")
