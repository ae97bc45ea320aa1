"""What goes in and out besides plain JSON: msgpack, and objects of many types."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import pytest

from tests.server.raw_http import read_broken

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
import dataclasses, datetime as dt, enum, uuid
from collections import OrderedDict
from decimal import Decimal
from pathlib import PurePosixPath

import numpy as np
import pydantic


class Tensor:
    def __init__(self, values):
        self.values = values

    def tolist(self):
        return self.values


class Output(OrderedDict):
    pass


class Color(enum.Enum):
    RED = "red"


class Point(pydantic.BaseModel):
    x: int
    when: dt.datetime


@dataclasses.dataclass
class Pair:
    left: object
    right: object


WHEN = dt.datetime(2026, 1, 2, 3, 4, 5)
ANSWERS = {
    "scalars": lambda: [np.int64(1), np.float32(0.5), np.bool_(True), np.str_("s")],
    "arrays": lambda: {"a": np.arange(4).reshape(2, 2), "empty": np.zeros((0, 2))},
    "nan": lambda: [float("nan"), np.array([np.inf, 1.0])],
    "tensor": lambda: {"deep": [Tensor([1.0, 2.0]), Tensor(3)]},
    "pydantic": lambda: {"deep": [[Point(x=1, when=WHEN)]]},
    "pydantic_top": lambda: Point(x=2, when=WHEN),
    "times": lambda: [WHEN, WHEN.date(), WHEN.time(), dt.timedelta(minutes=1)],
    "others": lambda: [uuid.UUID(int=1), b"\\x00\\xff", Decimal("1.10"), PurePosixPath("/a"), Color.RED],
    "sets": lambda: [{1}, frozenset(["a"]), (1, 2)] ,
    "dataclass": lambda: Pair(Pair(1, np.int8(2)), None),
    "keys": lambda: {2: "a", True: "b", None: "c", 1.5: "d"},
    "model_output": lambda: Output(sequences=Tensor([[1, 2]]), past_key_values=object()),
    "bad": lambda: {"scores": [1, 2, object()]},
    "bad_key": lambda: {"scores": {(1, 2): 3}},
    "bad_chunk": lambda: iter_of([{"a": 1}, {"b": [object()]}]),
    "loop": lambda: loop(),
    "huge": lambda: 10 ** 30,
    "absurd": lambda: 10 ** 5000,
}


def loop():
    value = []
    value.append(value)
    return value


def iter_of(items):
    for item in items:
        yield item


class Model:
    def predict(self, inputs):
        if isinstance(inputs, str) and inputs in ANSWERS:
            return ANSWERS[inputs]()
        if isinstance(inputs, dict) and "types" in inputs:
            return [type(item).__name__ for item in inputs["types"]]
        if isinstance(inputs, np.ndarray):
            return inputs * 2
        return inputs
"""

BINARY = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve the model once for all tests."""
    return module_servers.start(MODEL)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("scalars", [1, 0.5, True, "s"]),
        ("arrays", {"a": [[0, 1], [2, 3]], "empty": []}),
        ("nan", [None, [None, 1.0]]),
        ("tensor", {"deep": [[1.0, 2.0], 3]}),
        ("pydantic", {"deep": [[{"x": 1, "when": "2026-01-02T03:04:05"}]]}),
        ("pydantic_top", {"x": 2, "when": "2026-01-02T03:04:05"}),
        ("times", ["2026-01-02T03:04:05", "2026-01-02", "03:04:05", 60.0]),
        ("others", [str(uuid.UUID(int=1)), "AP8=", "1.10", "/a", "red"]),
        ("sets", [[1], ["a"], [1, 2]]),
        ("dataclass", {"left": {"left": 1, "right": 2}, "right": None}),
        ("keys", {"2": "a", "true": "b", "null": "c", "1.5": "d"}),
        ("model_output", {"sequences": [[1, 2]]}),
        ("huge", 10**30),
    ],
)
def test_json_of_what_models_return(edge: Edge, name: str, expected: object) -> None:
    """Values of numpy, torch, pydantic, transformers and the standard library become the JSON one expects."""
    assert expected == edge.call(name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("bad", "output.scores[2] is of type object, which JSON has no form for"),
        ("bad_key", "output.scores has a key of type tuple; JSON has only text keys"),
        ("loop", "[0] is nested more than 200 levels deep"),
        ("absurd", ""),
    ],
)
def test_what_has_no_json_is_named(edge: Edge, name: str, problem: str) -> None:
    """A value JSON has no form for is a 500 that names the path to it, as the log does; the server goes on."""
    response = edge.post("/predict", name, headers={"x-request-id": f"no-{name}"})

    assert response.status_code == 500
    assert problem in response.json()["error"]
    if problem:
        assert "the model's answer has no JSON: output" in response.json()["error"]
        edge.wait_log(problem, request_id=f"no-{name}", levelname="ERROR")
    assert edge.call(1) == 1


def test_a_chunk_without_json_breaks_the_stream(edge: Edge) -> None:
    """An object in a stream that has no JSON ends it as an error does."""
    with edge.stream("bad_chunk") as response:
        received = read_broken(response)

    assert received == b'{"a":1}\n'
    assert "chunk.b[0]" in edge.wait_log("chunk.b[0]")["message"]


def pack_marked(value: Any) -> Any:
    """Encode what msgpack lacks as Truss's clients do."""
    if isinstance(value, np.ndarray):
        return {
            b"nd": True,
            b"type": value.dtype.str,
            b"kind": b"",
            b"shape": value.shape,
            b"data": value.tobytes(),
        }
    if isinstance(value, dt.datetime):
        return {b"__dt_datetime_iso__": True, b"data": value.isoformat()}
    if isinstance(value, dt.timedelta):
        return {b"__dt_timedelta__": True, b"data": (value.days, value.seconds, value.microseconds)}
    if isinstance(value, Decimal):
        return {b"__decimal__": True, b"data": str(value)}
    return {b"__uuid__": True, b"data": str(value)}


def unpack_marked(value: dict[Any, Any]) -> Any:
    """Decode what `pack_marked` encodes."""
    if b"nd" in value:
        flat = np.frombuffer(value[b"data"], dtype=value[b"type"])
        return flat.reshape(value[b"shape"]) if value[b"nd"] else flat[0]
    if b"__dt_datetime_iso__" in value:
        return dt.datetime.fromisoformat(value[b"data"])
    if b"__dt_timedelta__" in value:
        days, seconds, micros = value[b"data"]
        return dt.timedelta(days, seconds, micros)
    if b"__decimal__" in value:
        return Decimal(value[b"data"])
    if b"__uuid__" in value:
        return uuid.UUID(value[b"data"])
    return value


def post_binary(edge: Edge, value: Any, path: str = "/predict") -> Any:
    """Call with msgpack and read msgpack."""
    body = msgpack.packb(value, default=pack_marked)
    response = edge.post(path, content=body, headers=BINARY)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/octet-stream")
    return msgpack.unpackb(response.content, object_hook=unpack_marked, strict_map_key=False)


VALUES = [
    {"a": [1, 2.5, None, True, "ü"], "b": {"c": b"\x00\xff"}},
    dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.timezone.utc),
    dt.timedelta(days=1, seconds=2, microseconds=3),
    Decimal("1.10"),
    uuid.UUID(int=7),
    {"deep": [Decimal("0.1"), [uuid.UUID(int=8)]]},
    {1: "number as key", b"bytes": 2},
]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("path", ["/predict", "/v1/models/tested:predict_binary"])
def test_msgpack_comes_back(edge: Edge, value: object, path: str) -> None:
    """What a client packs reaches the model as the same types and comes back as them."""
    assert value == post_binary(edge, value, path)


def test_msgpack_types_in_the_model(edge: Edge) -> None:
    """The model sees the types, not their marks."""
    types = [np.ones(2), dt.datetime.now(tz=dt.timezone.utc), Decimal(1), uuid.UUID(int=1), b"x", "s"]

    assert post_binary(edge, {"types": types}) == ["ndarray", "datetime", "Decimal", "UUID", "bytes", "str"]


@pytest.mark.parametrize("dtype", ["int8", "float32", "float64", "bool", "<U3"])
def test_msgpack_arrays(edge: Edge, dtype: str) -> None:
    """Arrays of any shape come back with type and shape."""
    for array in (np.ones((2, 3), dtype), np.zeros((0,), dtype), np.ones((), dtype)):
        back = post_binary(edge, [array])[0]

        assert (array.dtype, array.shape) == (back.dtype, back.shape)
        assert np.array_equal(array, back)
    assert list(post_binary(edge, np.array([1, 2]))) == [2, 4]


def test_msgpack_out_of_objects(edge: Edge) -> None:
    """Numpy scalars, pydantic models and bytes have their msgpack form, too."""
    when = dt.datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - as the model has it

    assert post_binary(edge, "scalars") == [1, 0.5, True, "s"]
    assert {"x": 2, "when": when} == post_binary(edge, "pydantic_top")
    assert [uuid.UUID(int=1), b"\x00\xff", Decimal("1.10"), "/a", "red"] == post_binary(edge, "others")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x92\x01",
        msgpack.packb([1]) + b"\x01",
        b"\x81\x90\x01",  # a list as a key
        b"\x91" * 900 + b"\x01",
        b"\x91" * 5000 + b"\x01",
        msgpack.packb({b"__dt_datetime_iso__": True, b"data": "not a date"}),
        msgpack.packb({b"nd": True, b"type": "<f8", b"kind": b"", b"shape": [3], b"data": b"123"}),
        msgpack.packb({b"nd": True, b"type": "O", b"kind": b"", b"shape": [1], b"data": b"12345678"}),
        msgpack.packb({b"nd": False, b"type": "<f8", b"data": b""}),
        msgpack.packb({b"nd": True, b"type": "<f8", b"data": b""}),
        msgpack.packb({b"__decimal__": True, b"data": "x"}),
        msgpack.packb({b"__dt_timedelta__": True, b"data": 1}),
        msgpack.packb(msgpack.ExtType(5, b"x")),
        b"\xda\xff\xff",
    ],
)
def test_broken_msgpack(edge: Edge, body: bytes) -> None:
    """Bytes that are no msgpack, or marks that lie, are a 400, and the same worker goes on."""
    before = edge.workers()
    response = edge.post("/predict", content=body, headers=BINARY)

    assert response.status_code == 400, response.content[:200]
    assert "Invalid msgpack payload" in response.json()["error"]
    assert before == edge.workers()


def test_a_number_too_large_for_msgpack(edge: Edge) -> None:
    """A number msgpack cannot hold is an error in the usual shape."""
    response = edge.post("/predict", content=msgpack.packb("huge"), headers=BINARY)

    assert response.status_code == 500
    assert "error" in response.json()
