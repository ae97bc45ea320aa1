"""What a model may return: objects of many types as the JSON one expects of them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.server.raw_http import read_broken

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
import dataclasses, datetime as dt, enum, ipaddress, itertools, uuid
from collections import OrderedDict, deque
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


class Rich(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    url: pydantic.HttpUrl = pydantic.HttpUrl("http://a/")
    ip: pydantic.IPvAnyAddress = ipaddress.ip_address("1.2.3.4")
    secret: pydantic.SecretStr = pydantic.SecretStr("hidden")
    wait: dt.timedelta = dt.timedelta(minutes=1)
    data: bytes = b"text"
    shown: int = 1

    @pydantic.field_serializer("shown", when_used="json")
    def show(self, value):
        return f"<{value}>"


class Arrays(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    array: np.ndarray


class Own(pydantic.BaseModel):
    def model_dump(self):
        return {"by": "the author"}


@pydantic.dataclasses.dataclass
class Typed:
    wait: dt.timedelta


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
    "rich": lambda: [Rich()],
    "rich fields": lambda: [Rich().url, Rich().ip, Rich().secret],
    "own": lambda: [Arrays(array=np.arange(2)), Own(), Typed(dt.timedelta(minutes=1))],
    "other keys": lambda: {
        np.int64(1): "a", Color.RED: "b", WHEN.date(): "c", uuid.UUID(int=1): "d",
    },
    "iterables": lambda: [
        range(2), map(abs, [-1]), deque([1]), iter([2]), {"a": 1}.values(), {"a": 1}.keys(), zip([1], [2]),
    ],
    "iterator": lambda: iter([1, np.int64(2)]),
    "endless": lambda: [itertools.count()],
    "numpy times": lambda: [
        np.datetime64("2026-01-02T03:04:05.123456789"), np.array(["2026-01-02", "NaT"], "M8[ns]"),
        np.timedelta64(1_500_000_000, "ns"), np.datetime64("2026-01-02"),
    ],
    "void": lambda: [np.void(b"ab"), np.array([(1, b"x")], [("a", "i4"), ("b", "S1")])],
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
        return inputs
"""


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
        (
            "rich",
            [
                {
                    "url": "http://a/",
                    "ip": "1.2.3.4",
                    "secret": "**********",
                    "wait": "PT1M",
                    "data": "text",
                    "shown": "<1>",
                }
            ],
        ),
        ("rich fields", ["http://a/", "1.2.3.4", "**********"]),
        ("own", [{"array": [0, 1]}, {"by": "the author"}, {"wait": "PT1M"}]),
        (
            "other keys",
            {"1": "a", "red": "b", "2026-01-02": "c", str(uuid.UUID(int=1)): "d"},
        ),
        ("iterables", [[0, 1], [1], [1], [2], [1], ["a"], [[1, 2]]]),
        ("iterator", [1, 2]),
        ("numpy times", ["2026-01-02T03:04:05.123456", ["2026-01-02T00:00:00", None], 1.5, "2026-01-02"]),
        ("void", ["YWI=", [[1, "eA=="]]]),
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
        ("endless", "output[0] has more than 1000000 items"),
        ("absurd", ""),
    ],
)
def test_what_has_no_json_is_named(edge: Edge, name: str, problem: str) -> None:
    """A value JSON has no form for is a 500 that names the path to it, as the log does; the server goes on."""
    response = edge.post("/predict", name, headers={"x-request-id": f"no-{name}"})

    assert response.status_code == 500
    assert problem in response.json()["error"]
    if problem:
        assert "the model's answer cannot be sent: output" in response.json()["error"]
        edge.wait_log(problem, request_id=f"no-{name}", levelname="ERROR")
    assert edge.call(1) == 1


def test_a_chunk_without_json_breaks_the_stream(edge: Edge) -> None:
    """An object in a stream that has no JSON ends it as an error does."""
    with edge.stream("bad_chunk") as response:
        received = read_broken(response)

    assert received == b'{"a":1}\n'
    assert "chunk.b[0]" in edge.wait_log("chunk.b[0]")["message"]
