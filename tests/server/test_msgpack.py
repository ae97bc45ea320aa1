"""Msgpack in and out, with the types that JSON lacks."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
import datetime as dt, enum, ipaddress, uuid
from decimal import Decimal
from pathlib import PurePosixPath

import numpy as np
import pydantic


class Color(enum.Enum):
    RED = "red"


class Point(pydantic.BaseModel):
    x: int
    when: dt.datetime
    length: Decimal = Decimal("0.10")
    url: pydantic.HttpUrl = pydantic.HttpUrl("http://a/")


@pydantic.dataclasses.dataclass
class Length:
    exact: Decimal


ANSWERS = {
    "scalars": lambda: [np.int64(1), np.float32(0.5), np.bool_(True), np.str_("s")],
    "pydantic": lambda: [Point(x=2, when=dt.datetime(2026, 1, 2)), Length(Decimal(1)), ipaddress.ip_address("::1")],
    "others": lambda: [uuid.UUID(int=1), b"\\x00\\xff", Decimal("1.10"), PurePosixPath("/a"), Color.RED],
    "void": lambda: np.array([b"ab"], "V2").tolist(),
    "huge": lambda: 10 ** 30,
}


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
    point = {"x": 2, "when": dt.datetime(2026, 1, 2), "length": Decimal("0.10"), "url": "http://a/"}  # noqa: DTZ001 - as the model has it

    assert post_binary(edge, "scalars") == [1, 0.5, True, "s"]
    assert [point, {"exact": Decimal(1)}, "::1"] == post_binary(edge, "pydantic")
    assert post_binary(edge, "void") == [b"ab"]
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
    assert re.match(r"Invalid msgpack payload: \w", response.json()["error"])
    assert before == edge.workers()


def test_a_number_too_large_for_msgpack(edge: Edge) -> None:
    """A number msgpack cannot hold is an error in the usual shape."""
    response = edge.post("/predict", content=msgpack.packb("huge"), headers=BINARY)

    assert response.status_code == 500
    assert "error" in response.json()
