"""Whether a model has types to tell of is seen in its source; where it cannot be seen, it may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import build_tree
from tests.plans import make_plan
from truss.model_types import may_be_typed

if TYPE_CHECKING:
    from pathlib import Path

IMPORTS = """\
from __future__ import annotations
import typing as t
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Optional
import fastapi
from fastapi import Request
from pydantic import BaseModel
from .types import Own

class In(BaseModel):
    x: int

"""


def ask(folder: Path, text: str, **config: Any) -> bool:
    """Return what is seen in a model's file."""
    build_tree(folder / "demo", {"model/model.py": text})
    plan = make_plan(folder / "demo", "demo", **config)
    return may_be_typed(plan.config, plan.files)


@pytest.mark.parametrize(
    "body",
    [
        "    def predict(self, request): ...",
        "    def predict(self, request: dict[str, Any]) -> Iterator[str]: ...",
        "    async def predict(self, inputs: t.Any, request: fastapi.Request) -> 'AsyncGenerator[bytes, None]': ...",
        "    def predict(self, request: Request) -> Optional[list]: ...",
        "    @torch.inference_mode()\n    def predict(self, request) -> str: ...",
        "    limit: int = 3\n    def helper(self, point: In) -> Own: ...\n    def predict(self, request): ...",
    ],
)
def test_types_that_have_no_schema(tmp_path: Path, body: str) -> None:
    """Builtins, `typing` and the request say nothing that a document could tell, and other methods none at all."""
    assert not ask(tmp_path, f"{IMPORTS}class Model:\n{body}\n")


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
    ],
)
def test_types_that_may_have_one(tmp_path: Path, body: str) -> None:
    """Any other name may be a pydantic model; methods that come from elsewhere may have them, too."""
    assert ask(tmp_path, f"{IMPORTS}class Model:\n{body}\n")


@pytest.mark.parametrize(
    "text",
    [
        "from elsewhere import Model\n",
        "class Model(Base):\n    def predict(self, inputs): ...\n",
        "class dict(Base): ...\nclass Model:\n    def predict(self, inputs: dict): ...\n",
        "class Model:\n    def predict(self, inputs): ...\nModel.predict = other\n",
    ],
)
def test_a_class_that_is_not_seen_whole(tmp_path: Path, text: str) -> None:
    """Only running it shows."""
    assert ask(tmp_path, text)


def test_a_server_of_ones_own(tmp_path: Path) -> None:
    """It has no methods."""
    server = {"start_command": "python x.py", "readiness_endpoint": "/"}

    assert not ask(tmp_path, "", docker_server=server)
