"""What `POST /predict` answers for each way to write `predict`."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = '''
import asyncio
import dataclasses
import enum
import math
import os
import threading


class Color(str, enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


@dataclasses.dataclass
class Slotted:
    __slots__ = ("x", "y")
    x: int
    y: list


class Array:
    """Looks like numpy's and torch's."""

    def __init__(self, items):
        self.items = items

    def tolist(self):
        return self.items


class Pydantic:
    def model_dump(self):
        return {"text": "dumped", "items": (1, 2)}


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


VALUES = {
    "enum": lambda: {"color": Color.RED, "size": Size.BIG, Color.RED: 1},
    "dataclass": lambda: Slotted(1, [Slotted(2, [])]),
    "array": lambda: {"logits": Array([0.5, 1.5]), "rows": [Array([1]), Array([2])]},
    "pydantic": lambda: Pydantic(),
    "tuple": lambda: (1, (2, {"a": (3,)})),
    "keys": lambda: {0: "a", True: "b", None: "c", 2.5: "d", "e": {7: 8}},
    "nan": lambda: [math.nan, math.inf, 1.0],
    "big": lambda: {"n": 2**80, "m": -(2**63)},
    "surrogate": lambda: "half \\ud83d of it",
    "set": lambda: {4},
    "nested": lambda: nested(100),
    "none": lambda: None,
}


class Model:
    def __init__(self, config, data_dir, environment, secrets):
        self.made = [config["model_name"], data_dir.name, environment["name"]]
        self.loaded = False

    async def load(self):
        await asyncio.sleep(0)
        self.loaded = True

    def predict(self, x):
        return getattr(self, "_" + x.pop("do"))(**x)

    def _echo(self, value):
        return value

    def _value(self, name):
        return VALUES[name]()

    def _facts(self):
        return {
            "made": self.made,
            "loaded": self.loaded,
            "thread": threading.current_thread() is threading.main_thread(),
            "cwd": os.getcwd(),
            "environment": os.environ["TRUSS_ENVIRONMENT"],
        }

    async def _coroutine(self, value):
        await asyncio.sleep(0)
        return ["from a coroutine", value]

    def _text(self, size):
        return "x" * size
'''


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve MODEL."""
    return module_servers.start(MODEL, environment="staging")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1.5,
        "",
        "räksmörgås \U0001f980",
        [],
        {},
        [1, "a", None, {"b": [2.5]}],
        {"a": {"": [[]]}},
    ],
    ids=repr,
)
def test_returns_what_predict_returns(edge: Edge, value: Any) -> None:
    """Any JSON value reaches predict, and what it returns comes back, as JSON."""
    response = edge.post("/predict", {"do": "echo", "value": value})

    assert (response.status_code, response.json()) == (200, value)
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("enum", {"color": "red", "size": 3, "red": 1}),
        ("dataclass", {"x": 1, "y": [{"x": 2, "y": []}]}),
        ("array", {"logits": [0.5, 1.5], "rows": [[1], [2]]}),
        ("pydantic", {"text": "dumped", "items": [1, 2]}),
        ("tuple", [1, [2, {"a": [3]}]]),
        ("keys", {"0": "a", "true": "b", "null": "c", "2.5": "d", "e": {"7": 8}}),
        ("nan", [None, None, 1.0]),
        ("big", {"n": 2**80, "m": -(2**63)}),
        ("surrogate", "half \ud83d of it"),
        ("set", [4]),
        ("none", None),
    ],
)
def test_converts_common_objects(edge: Edge, name: str, expected: Any) -> None:
    """Arrays, enums, dataclasses, pydantic models and odd keys become JSON without help by the author."""
    response = edge.post("/predict", {"do": "value", "name": name})

    assert expected == json.loads(response.content.decode("utf-8"))


def test_deep_nesting_survives(edge: Edge) -> None:
    """A value a hundred levels deep comes back as deep."""
    value, depth = edge.call({"do": "value", "name": "nested"}), 0
    while value:
        value, depth = value[0], depth + 1

    assert depth == 100


def test_sync_code_runs_beside_the_loop(edge: Edge) -> None:
    """`__init__` gets what it declares, an async load is awaited, and a sync predict leaves the main thread free."""
    assert edge.call({"do": "facts"}) == {
        "made": ["tested", "data", "staging"],
        "loaded": True,
        "thread": False,
        "cwd": str(edge.root),
        "environment": "staging",
    }


def test_awaits_what_a_sync_predict_returns(edge: Edge) -> None:
    """A sync predict may return a coroutine."""
    assert edge.call({"do": "coroutine", "value": 1}) == ["from a coroutine", 1]


def test_twenty_megabytes_both_ways_several_at_once(edge: Edge) -> None:
    """Large inputs and outputs cross the wire whole, also when several do so together."""
    texts = [letter * 20_000_000 for letter in "abc"]

    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda text: edge.call({"do": "echo", "value": text}), texts))

    assert answers == texts


def test_an_answer_around_the_window_is_whole(edge: Edge) -> None:
    """Sizes around a piece and around the window of the wire make no difference."""
    sizes = [65534, 65535, 65536, 65537, 262_139, 262_144, 262_145, 327_680]

    assert sizes == [len(edge.call({"do": "text", "size": size})) for size in sizes]


STAGES = """
class Model:
    {pre}def preprocess(self, x):
        return x + ["pre"]

    {main}def predict(self, x):
        return x + ["predict"]

    {post}def postprocess(self, x):
        return x + ["post"]
"""


@pytest.mark.parametrize("kinds", ["sss", "asa", "sas"])
def test_runs_all_stages_in_order(servers: Servers, kinds: str) -> None:
    """preprocess, predict and postprocess pass their results on, sync and async in any mixture."""
    pre, main, post = ("async " if kind == "a" else "" for kind in kinds)
    edge = servers.start(STAGES.format(pre=pre, main=main, post=post))

    assert edge.call([]) == ["pre", "predict", "post"]


ASYNC = """
import asyncio
import gates


class Model:
    async def predict(self, x):
        if x == "open":
            gates.mark("opened")
            return "opened"
        await gates.wait_async("opened")
        return asyncio.get_running_loop() is not None
"""


def test_async_calls_run_together(servers: Servers) -> None:
    """An async predict that waits does not hold up the next one."""
    edge = servers.start(ASYNC)

    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(edge.call, "wait") for _ in range(5)]
        opened = edge.call("open")

        assert opened == "opened"
        assert [future.result() for future in waiting] == [True] * 5


def test_predict_without_arguments(servers: Servers) -> None:
    """A predict that takes nothing is called whatever the body is."""
    edge = servers.start("class Model:\n    def predict(self):\n        return 'called'\n")

    assert edge.post("/predict", content=b"\xff no JSON").json() == "called"
    assert edge.post("/predict").json() == "called"


def test_a_class_and_file_of_another_name(servers: Servers) -> None:
    """config.yaml's names of folder, file and class are respected; relative imports and `packages/` work."""
    edge = servers.start(
        "",
        config={
            "model_module_dir": "src/served",
            "model_class_filename": "main.py",
            "model_class_name": "Served",
            "bundled_packages_dir": "vendor",
        },
        files={
            "src/served/main.py": "from .helper import K\nimport bundled\n\n\n"
            "class Served:\n    def predict(self, x):\n        return [x, K, bundled.L]\n",
            "src/served/helper.py": "K = 1\n",
            "vendor/bundled.py": "L = 2\n",
        },
    )

    assert edge.call(0) == [0, 1, 2]
