"""Models that cannot be loaded: one ERROR record that says why, with the author's own frames, and exit code 3.

Real supervisors and workers, but only one of the tests puts HTTP in front: it costs most of a second.
"""

from __future__ import annotations

from textwrap import dedent, indent
from typing import TYPE_CHECKING

import pytest

from tests.server.harness import Edge, supervise
from tests.server.releases import write_release

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a failed load not be tried again after a second."""
    monkeypatch.setenv("NUM_LOAD_RETRIES_TRUSS", "0")


PREDICT = "\n    def predict(self, x):\n        return x\n"
MODELS = {
    "load": "class Model:\n    def load(self):\n        self.weights = open('missing.bin')" + PREDICT,
    "async load": "class Model:\n    async def load(self):\n        {}['weights']" + PREDICT,
    "exit": "import sys\nclass Model:\n    def load(self):\n        sys.exit(0)" + PREDICT,
    "import": "import not_installed\n",
    "import in load": "class Model:\n    def load(self):\n        import helper" + PREDICT,
    "syntax": "class Model:\n    def predict(self, x)\n        return x\n",
    "no class": "class Modell:\n    pass\n",
    "no method": "class Model:\n    pass\n",
    "init": "class Model:\n    def __init__(self, gpu, config):\n        pass" + PREDICT,
    "init raises": "class Model:\n    def __init__(self):\n        1 / 0" + PREDICT,
    "huge": "raise ValueError('x' * 10_000_000)",
}


@pytest.mark.parametrize(
    ("model", "message", "trace"),
    [
        (
            "load",
            "FileNotFoundError: [Errno 2] No such file or directory: 'missing.bin'",
            'Traceback (most recent call last):\n  File "model/model.py", line 3, in load\n',
        ),
        ("async load", "KeyError: 'weights'", '  File "model/model.py", line 3, in load\n'),
        ("exit", "SystemExit: 0", '  File "model/model.py", line 4, in load\n'),
        (
            "import",
            "ModuleNotFoundError: No module named 'not_installed'",
            'Traceback (most recent call last):\n  File "model/model.py", line 1, in <module>\n    import not_',
        ),
        (
            "import in load",
            "NameError: name 'undefined' is not defined",
            '  File "packages/helper.py", line 2, in <mod',
        ),
        (
            "syntax",
            "SyntaxError: expected ':' (model.py, line 2)",
            '  File "model/model.py", line 2\n    def predict(self, x)\n',
        ),
        ("no class", "ModelDefinitionError: model/model.py has no class `Model`", ""),
        (
            "no method",
            "it has none of the methods predict, websocket, chat_completions, completions, embeddings, messages",
            "",
        ),
        (
            "init",
            "`Model.__init__` asks for gpu; it can have config, data_dir, secrets, environment, by these names",
            "",
        ),
        (
            "init raises",
            "ZeroDivisionError: division by zero",
            '  File "model/model.py", line 3, in __init__\n',
        ),
        ("huge", "ValueError: xxxxxx", '  File "model/model.py", line 1, in <module>\n'),
    ],
)
def test_why_a_model_cannot_be_loaded(tmp_path: Path, model: str, message: str, trace: str) -> None:
    """The record names the error and shows the author's own frames, with files as the package names them."""
    root = write_release(tmp_path / "release", MODELS[model], files={"packages/helper.py": "\nundefined\n"})

    code, records = supervise(root)

    assert code == 3
    (record,) = [r for r in records if r["levelname"] == "ERROR"]
    assert record["message"].startswith("the model could not be loaded: ")
    assert message in record["message"]
    assert trace in record["exc_info"]
    assert "truss_server/" not in record["exc_info"]
    assert "importlib" not in record["exc_info"]
    assert len(record["message"]) + len(record["exc_info"]) < 50_000


def test_every_wrong_signature_is_named(tmp_path: Path) -> None:
    """All rules that a class breaks are listed at once, each with file and line."""
    root = write_release(
        tmp_path / "release",
        """
        import fastapi

        class Model:
            def preprocess(self, inputs, second):
                return inputs

            def predict(self, request: fastapi.Request):
                return 1

            def postprocess(self, request: fastapi.Request):
                return 1

            def completions(self, request: fastapi.Request, inputs):
                return 1

            async def messages(self, *, inputs):
                return 1

            def responses(self, inputs, request: fastapi.Request, /):
                return 1

            async def websocket(self):
                pass

            def is_healthy(self, how):
                return True

            embeddings = 5
        """,
    )

    code, records = supervise(root)

    text = records[-1]["message"]
    assert code == 3
    assert text.startswith("the model could not be loaded: ModelDefinitionError: `Model` cannot be served:\n")
    assert [line.split(": ")[0] for line in text.splitlines()[1:]] == [
        "  model/model.py:5",
        "  model/model.py:14",
        "  model/model.py:4",
        "  model/model.py:17",
        "  model/model.py:20",
        "  model/model.py:23",
        "  model/model.py:26",
        "  model/model.py:11",
    ]
    for part in (
        "`preprocess(inputs, second)` needs 2 arguments besides the request (inputs, second)",
        "the request first; the request must be the second argument",
        "takes its inputs by keyword only",
        "takes the request by position only; drop the `/`",
        "`websocket()` must take one argument besides `self`, the websocket",
        "`is_healthy` takes no argument but `self`",
        "`embeddings` is of type int and no method",
        "`postprocess` takes only the request, so the result of `predict` would be lost",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (
            """
            def preprocess(self, x):
                return x
            def predict(self, request: fastapi.Request):
                return 1
            """,
            "model/model.py:5: `predict` takes only the request, so the result of `preprocess` would be lost",
        ),
        (
            """
            def postprocess(self, x):
                return x
            """,
            "model/model.py:3: `postprocess` without `predict` is never called",
        ),
        (
            """
            async def websocket(self, socket, more):
                return 1
            """,
            "model/model.py:3: `websocket(socket, more)` must take one argument besides `self`, the websocket",
        ),
        (
            """
            load = "weights.bin"
            def predict(self, x):
                return x
            """,
            "model/model.py:2: `load` is of type str and no method",
        ),
    ],
    ids=["preprocess", "postprocess", "websocket", "hook"],
)
def test_methods_that_do_not_fit(tmp_path: Path, methods: str, message: str) -> None:
    """A stage whose result nobody takes or that is never called, and what cannot be called, is refused."""
    model = "import fastapi\nclass Model:" + indent(dedent(methods), "    ")

    code, records = supervise(write_release(tmp_path / "release", model))

    assert code == 3
    assert message in records[-1]["message"]


def test_a_worker_that_dies_while_it_loads(tmp_path: Path) -> None:
    """A model that never was ready is not tried again: the server ends at once and names the signal."""
    code, records = supervise(write_release(tmp_path / "release", "import os\nos.kill(os.getpid(), 9)\n"))

    assert code == 3
    assert (records[-1]["message"], records[-1]["exc_info"]) == (
        "the model could not be loaded: the model's process was ended by SIGKILL (out of memory?)",
        "",
    )


TALKATIVE = """
import threading


def talk():
    while True:
        print("x" * 60_000)


class Model:
    def load(self):
        for _ in range(4):
            threading.Thread(target=talk, daemon=True).start()
        raise ValueError("in all that noise")

    def predict(self, x):
        return x
"""


def test_a_load_that_fails_amid_noise(tmp_path: Path) -> None:
    """Why a model could not be loaded is not lost in what its threads print."""
    for n in range(2):
        code, records = supervise(write_release(tmp_path / f"release-{n}", TALKATIVE))
        assert code == 3
        assert any(r["message"].endswith("ValueError: in all that noise") for r in records)


def test_the_server_says_why_and_ends(tmp_path: Path) -> None:
    """The whole server ends with exit code 3, nothing on stderr, and no process left."""
    edge = Edge(write_release(tmp_path / "release", MODELS["load"]))

    assert edge.wait_exit() == 3
    assert "missing.bin" in edge.records[-1]["message"]
    edge.end()


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    """A missing interpreter is named."""
    edge = Edge(write_release(tmp_path / "release", ""), python="/nowhere/python")

    assert edge.wait_exit() == 3
    assert edge.records[-1]["message"] == (
        "the model could not be loaded: /nowhere/python cannot be started: No such file or directory"
    )
    edge.end()
