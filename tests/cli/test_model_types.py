"""What the OpenAPI document of a model depends on is seen in its source; where it cannot be seen, nothing is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import build_tree
from tests.plans import make_plan
from truss.model_types import shape_of

if TYPE_CHECKING:
    from pathlib import Path

IMPORTS = """\
from __future__ import annotations
import typing as t
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Optional
import fastapi
import torch
from fastapi import Request
from pydantic import BaseModel
from .types import Own
from model.helpers import typed

class In(BaseModel):
    x: int

"""


def ask(folder: Path, text: str, **config: Any) -> str | None:
    """Return what is seen in a model's file."""
    build_tree(folder / "demo", {"model/model.py": text})
    plan = make_plan(folder / "demo", "demo", **config)
    return shape_of(plan.config, plan.files)


@pytest.mark.parametrize(
    "body",
    [
        "    def predict(self, request): ...",
        "    def predict(self, request: dict[str, Any]) -> Iterator[str]: ...",
        "    async def predict(self, inputs: t.Any, request: fastapi.Request) -> 'AsyncGenerator[bytes, None]': ...",
        "    def predict(self, request: Request) -> Optional[list]: ...",
        "    @torch.inference_mode()\n    def predict(self, request) -> str: ...",
        "    @staticmethod\n    def predict(request): ...",
        "    limit: int = 3\n    def helper(self, point: In) -> Own: ...\n    def predict(self, request): ...",
    ],
)
def test_types_that_have_no_schema(tmp_path: Path, body: str) -> None:
    """Builtins, `typing` and the request say nothing that a document could tell, and other methods none at all."""
    assert ask(tmp_path, f"{IMPORTS}class Model:\n{body}\n")


@pytest.mark.parametrize(
    "body",
    [
        "    def predict(self, inputs: In): ...",
        "    def predict(self, inputs: 'Optional[In]'): ...",
        "    def predict(self, inputs) -> Iterator['In']: ...",
        "    async def chat_completions(self, inputs, *, own: Own = None): ...",
        "    @checked\n    def predict(self, inputs: In): ...",
        "    def preprocess(self, inputs: t.Annotated['In', 1]): ...",
        "    def predict(self, inputs: 'no type'): ...",
        "    predict = make()",
        "    if True:\n        def predict(self, inputs): ...",
        "    def __getattr__(self, name): ...",
        "    @helper\n    def predict(self, inputs): ...",
        "    @typed\n    def predict(self, inputs): ...",
        "    @(lambda f: f)\n    def predict(self, inputs): ...",
    ],
)
def test_types_that_may_have_one(tmp_path: Path, body: str) -> None:
    """Any other name may be a pydantic model; methods that come from elsewhere may have them, too."""
    assert ask(tmp_path, f"{IMPORTS}class Model:\n{body}\n") is None


@pytest.mark.parametrize(
    "text",
    [
        "from elsewhere import Model\n",
        "class Model(Base):\n    def predict(self, inputs): ...\n",
        "class dict(Base): ...\nclass Model:\n    def predict(self, inputs: dict): ...\n",
        "class Model:\n    def predict(self, inputs): ...\nModel.predict = other\n",
        "from typing import *\nclass Model:\n    def predict(self, inputs: dict): ...\n",
    ],
)
def test_a_class_that_is_not_seen_whole(tmp_path: Path, text: str) -> None:
    """Only running it shows."""
    assert ask(tmp_path, text) is None


BEFORE = """
import torch
from typing import Any
class Model:
    @torch.no_grad()
    def predict(self, x: Any) -> str:
        return x
    def load(self): ...
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return x", "return x + 1"),
        ("def load(self): ...", "def load(self, *, y: Own = None):\n        yield 1"),
        ("import torch", "import torch, numpy"),
        ("return x", "def inner():\n            yield x\n        return [*inner()]"),
    ],
)
def test_edits_that_leave_the_shape(tmp_path: Path, old: str, new: str) -> None:
    """What a method does, what is imported for it and what other methods are is no part of the document."""
    assert ask(tmp_path, BEFORE) == ask(tmp_path, BEFORE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return x", "yield x"),
        ("return x", "if x:\n            x = yield from x"),
        ("x: Any", "x: Any, request"),
        ("-> str", "-> int"),
        ("def predict", "async def predict"),
        ("def predict", "def completions"),
        ("no_grad()", "inference_mode()"),
        ("import torch", "import jax as torch"),
        ("import Any", "import Iterator as Any"),
    ],
)
def test_edits_that_change_the_shape(tmp_path: Path, old: str, new: str) -> None:
    """Names, arguments, annotations, decorators and what those names stand for may show in the document."""
    before = ask(tmp_path, BEFORE)
    after = ask(tmp_path, BEFORE.replace(old, new))

    assert before is not None
    assert after is not None
    assert before != after
