"""What the server would refuse in a model's class is found without running it, and nothing else is."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath

import pytest

from truss.errors import PackageError
from truss.model_class import CALLED, check_class

PREDICT = "    def predict(self, x): ...\n"


def check(body: str, head: str = "class Model:") -> None:
    """Check a class."""
    text = f"{head}\n{body}"
    node = ast.parse(text).body[-1]
    assert isinstance(node, ast.ClassDef)
    check_class(PurePosixPath("model/model.py"), text, node)


def refused(body: str) -> PackageError:
    """Check a class that is wrong and return the error."""
    with pytest.raises(PackageError) as caught:
        check(body)
    return caught.value


@pytest.mark.parametrize("name", CALLED)
def test_one_method_is_enough(name: str) -> None:
    """Any method that a route calls makes a model."""
    check(f"    async def {name}(self, x): ...\n")


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("class Model(Base):", "    ...\n"),
        ("class Model(base.Base):", "    ...\n"),
        ("class Model(metaclass=Meta):", "    ...\n"),
        ("@served\nclass Model:", "    ...\n"),
        ("class Model(object):", "    predict = make()\n"),
        ("class Model:", "    predict: object = make()\n"),
        ("class Model:", "    if True:\n        def predict(self, x): ...\n"),
        ("class Model:", "    def __getattr__(self, name): ...\n"),
        ("class Model:", "    @cached\n    def predict(self, x): ...\n"),
    ],
)
def test_methods_from_elsewhere(head: str, body: str) -> None:
    """Where the method may come from elsewhere, only running it shows whether it is there."""
    check(body, head)


def test_misspelt_method() -> None:
    """A near name is shown at its line."""
    error = refused("    def load(self): ...\n    def predicts(self, x): ...\n")

    assert error.message == (
        "`Model` has no method to call: none of predict, websocket, chat_completions, completions, embeddings, "
        "messages, responses."
    )
    assert error.details.startswith("model/model.py:3:5: did you mean `predict`?\n")
    assert error.hint == "Rename it to `predict`."
    assert error.exit_code == 3


def test_no_method() -> None:
    """Where nothing is near, the class is shown and what to write."""
    error = refused("    def load(self): ...\n")

    assert error.details.startswith("model/model.py:1:1: this class\n")
    assert error.hint.startswith("Write `def predict(self, request):` into it")


@pytest.mark.parametrize(
    "parameters", ["self, path", "self, *, path", "self, a=1, *, path", "self, path, **more"]
)
def test_load_that_asks(parameters: str) -> None:
    """`load` is called without arguments."""
    error = refused(f"{PREDICT}    def load({parameters}): ...\n")

    assert error.message == "`load` gets no arguments, but asks for path."
    assert error.details.startswith("model/model.py:3:5: takes `self` only\n")


def test_init_that_asks() -> None:
    """`__init__` gets four things by name and no others."""
    error = refused(f"{PREDICT}    def __init__(self, config, path, *, secret): ...\n")

    assert error.message == "`__init__` asks for path, secret, which it does not get."
    assert error.details.startswith("model/model.py:3:5: asked for here\n")


@pytest.mark.parametrize(
    "method",
    [
        "__init__(self, config, data_dir, *, secrets, environment)",
        "__init__(self, **kwargs)",
        "__init__(self, path=1, *args, more=2)",
        "load(self)",
        "load(self, path=1, *args, more=2, **kwargs)",
        "load(*args)",
    ],
)
def test_what_is_given(method: str) -> None:
    """What can be called as the server calls it is right."""
    check(f"{PREDICT}    def {method}: ...\n")
