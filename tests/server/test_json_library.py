"""JSON in the worker: the same with and without the server's orjson, of which the model sees nothing."""

from __future__ import annotations

import dataclasses
import enum
import json
import uuid
from collections import OrderedDict
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.interpreters import PYTHONS
from truss_server.edge.json_body import EXTENSION, dump_json
from truss_server.worker import json_library
from truss_server.worker.encode import UnserializableError, plain

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
import sys

FOREIGN = [name for name in sys.modules if "orjson" in name]


class Model:
    def predict(self, inputs):
        return {"inputs": inputs, "foreign": FOREIGN}

    async def chat_completions(self, inputs):
        return {"length": len(inputs["pad"])}
"""


@dataclasses.dataclass
class Pair:
    """A dataclass."""

    left: Any
    right: Any


class Color(enum.Enum):
    """An enum of text and of something that is none of JSON's."""

    RED = "red"
    WHEN = date(2026, 1, 2)


class Number(enum.IntEnum):
    """An enum of numbers."""

    TWO = 2


class Text(str):
    """Text of another class."""

    __slots__ = ()


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(st.characters(categories=None)),
    st.text().map(Text),
    st.binary(),
    st.dates(),
    st.datetimes(timezones=st.just(None) | st.timezones()),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.sampled_from([*Color, *Number]),
)
KEYS = st.one_of(st.text(), st.integers(), st.none(), st.sampled_from([*Color]), st.text().map(Text))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(KEYS, inner),
        st.dictionaries(st.text(), inner).map(OrderedDict),
        st.builds(Pair, inner, inner),
        st.sets(st.integers()),
    ),
    max_leaves=12,
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@pytest.fixture
def _orjson(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_library, "_orjson", None)
    assert json_library.borrow(EXTENSION)


@pytest.mark.usefixtures("_orjson")
@given(VALUES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_text_whoever_writes_it(value: Any) -> None:
    """What the worker writes is, byte for byte, what the edge writes where the worker cannot."""
    assert json_library.dump(value) == dump_json(plain(value))


@pytest.mark.usefixtures("_orjson")
@given(JSON, st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reads_what_was_written(value: Any, ascii_only: bool) -> None:
    """Integers of any size and floats are read exactly, each as what it is."""
    text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    assert repr(json_library.load(text)) == repr(value)


@pytest.mark.usefixtures("_orjson")
@pytest.mark.parametrize(
    "text", [b"", b"[NaN]", b"[1,]", b'"\xff"', b"[12345678901234567890123, NaN]", b"{'a': 1}"]
)
def test_refuses_what_is_no_json(text: bytes) -> None:
    """Also beside numbers that need another reader."""
    with pytest.raises(ValueError, match=r"\S"):
        json_library.load(text)


@pytest.mark.usefixtures("_orjson")
def test_an_iterator_is_read_once() -> None:
    """What else is in the answer makes no difference to it."""
    assert json_library.dump({"a": iter([1, 2]), "b": 2**70}) == b'{"a":[1,2],"b":%d}' % 2**70


@pytest.mark.usefixtures("_orjson")
def test_names_the_path() -> None:
    """A value without a form is named as ever."""
    with pytest.raises(UnserializableError, match=r"output\.a\[1\]\.left is of type object"):
        json_library.dump({"a": [uuid.UUID(int=1), Pair(object(), timedelta(1))]})


@pytest.mark.parametrize(
    "path", ["", "/nowhere/orjson.cpython-311-x86_64-linux-gnu.so", "/x/orjson.cpython-30.so"]
)
def test_does_without(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such file, or it is another interpreter's, values are written all the same."""
    monkeypatch.setattr(json_library, "_orjson", None)

    assert not json_library.borrow(path)
    assert json_library.dump([datetime(2026, 1, 2), time(1), Decimal(1), 2**70, float("nan")]) == (  # noqa: DTZ001
        b'["2026-01-02T00:00:00","01:00:00","1",%d,null]' % 2**70
    )


@pytest.fixture(scope="module", params=["3.11", "3.12"])
def edge(request: pytest.FixtureRequest, module_servers: Servers) -> Edge:
    """Run the model on the edge's own version of Python, which can use its library, and on another."""
    if request.param not in PYTHONS:
        pytest.skip(f"no Python {request.param}")
    return module_servers.start(MODEL, python=PYTHONS[request.param])


@pytest.mark.parametrize("size", [60_000, 70_000, 250_000, 300_000, 5_000_000])
def test_large_inputs_and_answers(edge: Edge, size: int) -> None:
    """Bodies of all sizes come and go exactly, on either side of each limit between the ways they take."""
    inputs = {"pad": "é" * (size // 2), "n": [2**70, -(2**63) - 1, 2**64 - 1, 0.1, 1e300]}

    answer = edge.http.post("/predict", content=json.dumps(inputs, ensure_ascii=False).encode())

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"inputs": inputs, "foreign": []}


@pytest.mark.parametrize("size", [10, 70_000, 5_000_000])
@pytest.mark.parametrize("path", ["/predict", "/v1/chat/completions"])
def test_what_is_no_json_is_refused(edge: Edge, size: int, path: str) -> None:
    """A broken body is the client's mistake, in the shape of its API, whoever reads it."""
    answer = edge.http.post(path, content=b'{"pad": "' + b"x" * size + b'", }')

    error = answer.json()["error"]
    assert answer.status_code == 400
    assert "Invalid JSON payload" in (error if path == "/predict" else error["message"])


def test_large_inputs_of_a_coroutine(edge: Edge) -> None:
    """An asynchronous method takes large bodies as well."""
    answer = edge.http.post("/v1/chat/completions", json={"pad": "x" * 100_000})

    assert answer.json() == {"length": 100_000}
