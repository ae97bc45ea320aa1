"""Workers that die: an error for who was served, a new worker for who comes next, and an end to trying."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.server.harness import supervise
from tests.server.raw_http import read_broken, read_error
from tests.server.releases import write_release
from truss_server.edge.processes import describe_exit

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.harness import Servers

FRAGILE = """
import ctypes
import os
import signal
import subprocess
import sys
import gates


def die(how):
    print("last words of", how)
    if how == "exit":
        os._exit(7)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "segv":
        ctypes.string_at(0)
    if how == "children":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", os.getcwd()])
        if os.fork() == 0:
            os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)", os.getcwd()])
        os._exit(7)
    if how == "escaped":
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(3)", os.getcwd()], start_new_session=True
        )
        os._exit(7)


class Model:
    def load(self):
        if gates.is_open("block load"):
            gates.mark("loading again")
            gates.wait("load on")
        if gates.is_open("break load"):
            raise RuntimeError("no second time")

    def predict(self, x):
        if x["do"] == "pid":
            return os.getpid()
        if x["do"] == "wait":
            gates.mark(x["mark"])
            gates.wait("never")
        if x["do"] == "stream":
            return self.stream(x["how"])
        die(x["how"])

    def stream(self, how):
        yield "first"
        gates.wait(f"die {how}")
        die(how)

    async def chat_completions(self, x):
        yield {"n": 1}
        await gates.wait_async(f"die {x['how']}")
        die(x["how"])
"""

ENDS = {
    "exit": "the model's process ended with exit code 7",
    "kill": "the model's process was ended by SIGKILL (out of memory?)",
    "segv": "the model's process was ended by SIGSEGV",
    "children": "the model's process ended with exit code 7",
    "escaped": "the model's process ended with exit code 7",
}


@pytest.mark.parametrize("how", ["exit", "kill", "segv"])
def test_a_crash_is_an_error_for_those_in_flight(servers: Servers, how: str) -> None:
    """Calls in flight get an error, streams break, the server starts the model again and serves on."""
    edge = servers.start(FRAGILE)
    before = edge.call({"do": "pid"})

    with (
        ThreadPoolExecutor() as pool,
        edge.stream({"do": "stream", "how": how}) as raw,
        edge.stream({"how": "none"}, "/v1/chat/completions") as events,
    ):
        waiting = pool.submit(edge.post, "/predict", {"do": "wait", "mark": f"waits {how}"})
        edge.gates.wait(f"waits {how}")
        edge.gates.open(f"die {how}")
        unary = waiting.result()
        raw_body = read_broken(raw)
        event_body = read_broken(events).decode()

    assert unary.status_code == 500
    assert read_error(unary) == {"error": f"{ENDS[how]} while it was working on this request"}
    assert raw_body == b"first"
    assert event_body.startswith('data: {"n":1}\n\ndata: {"error":{"message":"the model\'s process')
    edge.wait_log(f"last words of {how}", source="model")
    edge.wait_log(f"{ENDS[how]}; starting it again in 0 s")
    if how == "segv":
        edge.wait_log("Segmentation fault")
        edge.wait_log('model/model.py", line', source="model")
    edge.wait_ready()
    after = edge.call({"do": "pid"})
    assert before != after
    assert edge.workers() == [after]


def test_children_of_a_dead_worker_hold_nothing_up(servers: Servers) -> None:
    """What a worker started does not outlive it, and what escaped its group delays the restart by seconds at most."""
    edge = servers.start(FRAGILE)

    for how in ("children", "escaped"):
        response = edge.post("/predict", {"do": "die", "how": how})
        assert read_error(response) == {"error": f"{ENDS[how]} while it was working on this request"}
        edge.wait_ready()
        pid = edge.call({"do": "pid"})
        if how == "children":
            assert sorted(edge.processes()) == sorted([edge.process.pid, pid])


def test_readiness_is_truthful_while_the_model_loads_again(servers: Servers) -> None:
    """Between a crash and the end of the next load the server is not ready; a load that fails is tried again."""
    edge = servers.start(FRAGILE)
    edge.gates.open("block load")

    edge.post("/predict", {"do": "die", "how": "exit"})

    edge.gates.wait("loading again")
    body = edge.http.get("/health/ready")
    assert (body.status_code, body.json()["status"]) == (503, "restarting")
    refused = edge.post("/predict", {"do": "pid"})
    assert (refused.status_code, read_error(refused)) == (
        503,
        {"error": "the model is not ready: restarting"},
    )
    edge.gates.open("break load")
    edge.gates.open("load on")
    failed = "the model could not be loaded: RuntimeError: no second time"
    assert "in load" in edge.wait_log(failed)["exc_info"]
    assert edge.http.get("/health/ready").json()["status"] in (failed, "restarting")
    edge.gates.close("break load")
    edge.wait_ready()
    assert edge.call({"do": "pid"}) == edge.workers()[0]


SHORT_LIVED = """
import os
import threading


class Model:
    def load(self):
        threading.Timer(0.1, os._exit, [9]).start()

    def predict(self, x):
        return x
"""


def test_a_crash_loop_is_given_up(tmp_path: Path) -> None:
    """A model that dies again and again is started a few times and then given up with exit code 4."""
    code, records = supervise(write_release(tmp_path / "release", SHORT_LIVED), backoff=(0.0, 0.01))

    assert code == 4
    death = "the model's process ended with exit code 9"
    assert [r["message"] for r in records] == [
        "ready: predict",
        f"{death}; starting it again in 0 s",
        "ready: predict",
        f"{death}; starting it again in 0.01 s",
        "ready: predict",
        f"giving up: {death}, 3 times in a row",
    ]


def test_ends_in_words() -> None:
    """Exit codes and signals, known and unknown, are named."""
    assert describe_exit(0) == "the model's process ended with exit code 0"
    assert describe_exit(-64).startswith("the model's process was ended by ")
    assert describe_exit(-200) == "the model's process was ended by signal 200"
