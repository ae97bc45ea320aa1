"""Inputs and outputs with types: what is validated, what the schema and the OpenAPI document say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgpack
import pytest

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Generator

import pydantic
from fastapi import Request


class Point(pydantic.BaseModel):
    x: int
    label: str = "none"


class Path(pydantic.BaseModel):
    points: list[Point]


class Length(pydantic.BaseModel):
    value: float


class Model:
    def predict(self, path: Path, request: Request) -> Length:
        assert isinstance(path, Path)
        return Length(value=sum(point.x for point in path.points))

    def chat_completions(self, inputs):
        return {"type": type(inputs).__name__}

    async def completions(self, point: Point) -> AsyncGenerator[str, None]:
        yield point.label

    def embeddings(self, inputs: dict) -> Length | Generator[str, None, None]:
        return Length(value=len(str(inputs)))
"""


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve the model once for all tests."""
    return module_servers.start(MODEL)


def test_a_valid_input_is_an_instance(edge: Edge) -> None:
    """The method gets the pydantic model, and what it returns is JSON."""
    assert edge.call({"points": [{"x": 1}, {"x": 2, "label": "b"}]}) == {"value": 3.0}


@pytest.fixture(scope="module")
def wrapped(module_servers: Servers) -> Edge:
    """Serve WRAPPED once for all tests."""
    return module_servers.start(WRAPPED)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["Input Parsing Error:", "  `points`: Field required."]),
        (
            {"points": [{"x": 1}, {"x": "many", "label": 1}]},
            [
                "Input Parsing Errors:",
                "  `points[1].x`: Input should be a valid integer, unable to parse string as an integer.",
                "  `points[1].label`: Input should be a valid string.",
            ],
        ),
    ],
)
def test_an_invalid_input_is_400(edge: Edge, body: object, expected: list[str]) -> None:
    """Every problem is named with the path to it; the model is not called, nothing is logged as an error."""
    response = edge.post("/predict", body, headers={"x-request-id": "invalid"})

    assert response.status_code == 400
    assert response.json()["error"].splitlines() == expected
    assert not [r for r in edge.records if r.get("request_id") == "invalid" and r["levelname"] == "ERROR"]


def test_no_object_is_400(edge: Edge) -> None:
    """A body that is no object at all is a problem of the whole."""
    assert edge.post("/predict", 1).status_code == 400
    assert "Input Parsing Error" in edge.post("/v1/completions", []).json()["error"]["message"]


def test_each_method_has_its_own_type(edge: Edge) -> None:
    """The type of predict has no say in the other methods."""
    assert edge.post("/v1/chat/completions", {"any": 1}).json() == {"type": "dict"}
    assert edge.post("/v1/completions", {"x": 1, "label": "own"}).text == "own"
    assert edge.post("/v1/completions", {"label": "own"}).status_code == 400


def test_msgpack_is_validated_as_well(edge: Edge) -> None:
    """A binary body becomes an instance, and the answer is binary."""
    binary = {"content-type": "application/octet-stream"}
    good = edge.post("/predict", content=msgpack.packb({"points": [{"x": 3}]}), headers=binary)
    bad = edge.post("/predict", content=msgpack.packb({"points": 3}), headers=binary)

    assert msgpack.unpackb(good.content) == {"value": 3.0}
    assert (bad.status_code, "points" in bad.json()["error"]) == (400, True)


def test_schema(edge: Edge) -> None:
    """The schema route has the types of predict."""
    schema = edge.http.get("/v1/models/tested/schema").json()

    assert schema["input_schema"]["title"] == "Path"
    assert schema["output_schema"]["properties"] == {"value": {"title": "Value", "type": "number"}}
    assert schema["supports_streaming"] is False


def test_openapi(edge: Edge) -> None:
    """The OpenAPI document has the types of every method, with references that resolve."""
    document = edge.http.get("/openapi.json").json()
    predict = document["paths"]["/predict"]["post"]
    stream = document["paths"]["/v1/completions"]["post"]
    either = document["paths"]["/v1/embeddings"]["post"]["responses"]["200"]["content"]
    items = predict["requestBody"]["content"]["application/json"]["schema"]["properties"]["points"]["items"]

    assert items == {"$ref": "#/components/schemas/Point"}
    assert document["components"]["schemas"]["Point"]["required"] == ["x"]
    assert predict["responses"]["200"]["content"]["application/json"]["schema"]["title"] == "Length"
    assert list(stream["responses"]["200"]["content"]) == ["text/plain"]
    assert sorted(either) == ["application/json", "text/plain"]


WRAPPED = """
from __future__ import annotations

from typing import Annotated, Optional, Union

import numpy as np
import pydantic
from fastapi import Body


class In(pydantic.BaseModel):
    a: int


def shown(x):
    return [type(x).__name__, *map(shown, x)] if isinstance(x, list) else type(x).__name__


class Model:
    def predict(self, x: Optional[In] = None):
        return shown(x)

    def completions(self, x: Annotated[In, Body(description="what to do")]):
        return shown(x)

    def embeddings(self, x: list[In]):
        return shown(x)

    def messages(self, x: In | np.ndarray):
        return shown(x)

    def responses(self, x: Optional["In"]):
        return shown(x)
"""


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/predict", '{"a": 1}', "In"),
        ("/predict", "null", "NoneType"),
        ("/v1/completions", '{"a": 1}', "In"),
        ("/v1/embeddings", '[{"a": 1}]', ["list", "In"]),
        ("/v1/messages", '{"a": 1}', "In"),
        ("/v1/responses", '{"a": 1}', "In"),
    ],
)
def test_types_with_a_model_in_them(wrapped: Edge, path: str, body: str, expected: object) -> None:
    """`Optional`, `Annotated`, unions and lists of pydantic models hold instances."""
    assert wrapped.http.post(path, content=body).json() == expected


@pytest.mark.parametrize(
    ("path", "body", "problem"),
    [
        ("/predict", '{"a": "x"}', "`a`: Input should be a valid integer"),
        ("/v1/completions", "{}", "`a`: Field required"),
        ("/v1/completions", "null", "Input should be a valid dictionary"),
        ("/v1/embeddings", "[{}]", "`[0].a`: Field required"),
        ("/v1/messages", "5", "`In`: Input should be a valid dictionary"),
        ("/v1/responses", "{}", "`a`: Field required"),
    ],
)
def test_inputs_that_do_not_fit_a_type_with_a_model_in_it(
    wrapped: Edge, path: str, body: str, problem: str
) -> None:
    """They are a 400 that names what is wrong."""
    refused = wrapped.http.post(path, content=body)

    assert refused.status_code == 400
    assert problem in str(refused.json()["error"])


def test_schema_of_types_with_a_model_in_them(wrapped: Edge) -> None:
    """Such a type has a schema."""
    schema = wrapped.http.get("/v1/models/tested/schema").json()["input_schema"]

    assert schema["anyOf"] == [{"$ref": "#/$defs/In"}, {"type": "null"}]
    assert wrapped.http.get("/openapi.json").status_code == 200


def test_types_of_the_stages(servers: Servers) -> None:
    """The input type is that of preprocess, the output type that of postprocess."""
    edge = servers.start(
        """
        import pydantic


        class In(pydantic.BaseModel):
            a: int


        class Out(pydantic.BaseModel):
            b: int


        class Model:
            def preprocess(self, inputs: In):
                return inputs.a

            def predict(self, number):
                return number + 1

            def postprocess(self, number) -> Out:
                return Out(b=number)
        """
    )
    schema = edge.http.get("/v1/models/tested/schema").json()

    assert edge.call({"a": 1}) == {"b": 2}
    assert (schema["input_schema"]["title"], schema["output_schema"]["title"]) == ("In", "Out")
    assert edge.post("/predict", {}).status_code == 400
