"""A model's own modules are imported in development as plain Python does it, by however many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.helpers import wait_until
from tests.server.editing import MODEL, Session
from tests.server.interpreters import PYTHONS
from tests.server.raw_worker import RawWorker
from tests.server.releases import write_release

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.harness import Servers

POOL = {
    "model": """
import tools

class Model:
    def predict(self, x):
        return tools.WORDS
""",
    "tools": """
from concurrent.futures import ThreadPoolExecutor

def word(number):
    import other
    return other.WORD * number

with ThreadPoolExecutor() as pool:
    WORDS = list(pool.map(word, [1, 2]))
""",
    "other": "WORD = 'o'\n",
}

CROSSED = {
    "model": """
import importlib

class Model:
    def load(self):
        importlib.import_module("tools").thread.join()

    def predict(self, x):
        import tools
        return tools.WORDS
""",
    "tools": """
import sys
import threading
import time

WORDS = []

def second():
    import tools
    WORDS.extend(["o", tools.other.WORD * 2])

thread = threading.Thread(target=second, daemon=True)
thread.start()
while sys._current_frames()[thread.ident].f_code.co_filename != "<frozen importlib._bootstrap>":
    time.sleep(0.002)  # until it waits for this module
import other
""",
    "other": "WORD = 'o'\n",
}

LAZY = """
class Model:
    def predict(self, x):
        import lazy
        return ["VERSION", lazy.WORD]
"""
SLOWLY = "import gates\nprint('slowly')\ngates.wait('go')\nWORD = 'one'\n"


@pytest.mark.parametrize("python", sorted(PYTHONS))
@pytest.mark.parametrize("code", [POOL, CROSSED], ids=["pool", "crossed"])
def test_threads_that_import_wait_for_each_other(tmp_path: Path, code: dict[str, str], python: str) -> None:
    """A module may wait for threads that import others; one may be imported while another thread waits for it."""
    files = {f"packages/{name}.py": code[name] for name in ("tools", "other")}
    root = write_release(tmp_path / "release", code["model"], files=files)

    with RawWorker(
        PYTHONS[python], root, swaps=True
    ) as worker:  # which answers within 30 seconds, or it fails
        assert worker.call("predict", 1).value == ["o", "oo"]


def test_a_swap_waits_for_an_import_of_the_code_before(servers: Servers) -> None:
    """A call that is importing when a swap begins gets the module of its own version, and later ones the new one."""
    files = {"packages/lazy.py": SLOWLY, "gates/.keep": ""}
    edge = servers.start(LAZY.replace("VERSION", "one"), files=files, environment="development", control=True)

    with closing(Session(edge.control)) as session, ThreadPoolExecutor() as pool:
        call = pool.submit(edge.call, 1)
        edge.wait_log("slowly")
        edit = {MODEL: LAZY.replace("VERSION", "two"), "packages/lazy.py": "WORD = 'two'\n"}
        swap = pool.submit(session.edit, edge, edit, modules=[*edit])
        wait_until((edge.control / "versions/2").exists, 10, what="the edit")
        edge.gates.open("go")
        assert call.result() == ["one", "one"]
        assert swap.result()["how"] == "swap"
    assert edge.call(1) == ["two", "two"]
