"""JSON in the worker: the same with and without the server's orjson, of which the model sees nothing."""

from __future__ import annotations

import dataclasses
import enum
import json
import subprocess
import sys
import uuid
from collections import OrderedDict
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import truss_server
from tests.server.interpreters import PYTHONS
from truss_server.edge.json_body import LIBRARIES, dump_json
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
    monkeypatch.setattr(json_library, "_read", None)
    monkeypatch.setattr(json_library, "_write", None)
    assert json_library.borrow(LIBRARIES)


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
def test_the_authors_code_runs_once() -> None:
    """What else is in the answer makes no difference, and what it raises ends the answer, whatever it is."""
    read = iter([KeyboardInterrupt, SystemExit, MemoryError])

    def model() -> Any:
        yield 1
        raise next(read)

    assert json_library.dump({"a": iter([1, 2]), "b": 2**70}) == b'{"a":[1,2],"b":%d}' % 2**70
    for error in (KeyboardInterrupt, SystemExit, MemoryError):
        with pytest.raises(error):
            json_library.dump({"a": model(), 1: "x"})


@pytest.mark.usefixtures("_orjson")
def test_names_the_path() -> None:
    """A value without a form is named as ever."""
    with pytest.raises(UnserializableError, match=r"output\.a\[1\]\.left is of type object"):
        json_library.dump({"a": [uuid.UUID(int=1), Pair(object(), timedelta(1))]})


@pytest.mark.parametrize("suffix", ["", ".cpython-30-x86_64-linux-gnu.so", ".so"])
def test_does_without(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no such libraries, or they are another interpreter's, values are written all the same."""
    monkeypatch.setattr(json_library, "_write", None)
    for name in ("msgspec", "orjson"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit")
        (tmp_path / name / f"_core{suffix}").touch()

    assert not json_library.borrow(tmp_path)
    assert json_library.dump([datetime(2026, 1, 2), time(1), Decimal(1), 2**70, float("nan")]) == (  # noqa: DTZ001
        b'["2026-01-02T00:00:00","01:00:00","1",%d,null]' % 2**70
    )


def test_the_model_imports_its_own(tmp_path: Path) -> None:
    """After they were borrowed, packages of the same names are found where the model has its own."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(truss_server.__file__).parent.parent)!r})
from pathlib import Path
from truss_server.worker import json_library
assert json_library.borrow(Path({str(LIBRARIES)!r}))
for name in ("msgspec", "orjson"):
    try:
        __import__(name)
    except ImportError:
        pass
    else:
        raise AssertionError(name)
sys.path.insert(0, {str(LIBRARIES)!r})
import msgspec, orjson
class Point(msgspec.Struct):
    x: int
assert msgspec.json.decode(b'{{"x": 3}}', type=Point) == Point(3)
assert orjson.dumps(json_library.load(b"[1]")) == json_library.dump([1]) == b"[1]"
"""

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module", params=["3.11", "3.12"])
def edge(request: pytest.FixtureRequest, module_servers: Servers) -> Edge:
    """Run the model on the edge's own version of Python, which can use its library, and on another."""
    if request.param not in PYTHONS:
        pytest.skip(f"no Python {request.param}")
    return module_servers.start(MODEL, python=PYTHONS[request.param])


@pytest.mark.parametrize("size", [60_000, 70_000, 250_000, 300_000, 5_000_000])
def test_large_inputs_and_answers(edge: Edge, size: int) -> None:
    """Bodies of all sizes come and go exactly, on either side of each limit between the ways they take."""
    inputs = {
        "pad": "é" * (size // 2),
        "n": [2**70, -(2**63) - 1, 2**64 - 1, 0.1, 1e300, 0.00010010567253144888],
    }

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
