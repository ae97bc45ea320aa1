"""What the server says of its health: the model's own word, a stuck event loop, start, and the way out."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.helpers import wait_until

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

READY = ["/health/ready", "/v1/models/tested"]
LOADED = ["/v1/models/tested/loaded", "/ping"]
LIVE = ["/", "/health/live"]

MODEL = """
import gates


class Model:
    {kind}def is_healthy(self):
        state = (gates.FOLDER / "health").read_text()
        if state == "raise":
            raise ValueError("no idea how I am")
        return {{"yes": True, "no": False, "none": None, "one": 1, "list": []}}[state]

    def predict(self, x):
        return x
"""


def statuses(edge: Edge, paths: list[str]) -> set[int]:
    """Return the statuses of some paths."""
    return {edge.http.get(path).status_code for path in paths}


def say(edge: Edge, state: str, expected: int) -> None:
    """Have the model be in a state, and wait for the server to tell."""
    (edge.root / "gates" / "health").write_text(state)
    wait_until(lambda: statuses(edge, READY) == {expected}, 20, what=f"{expected} for {state}")


@pytest.mark.parametrize("kind", ["", "async "])
def test_is_healthy(servers: Servers, kind: str) -> None:
    """Readiness is the truth of what `is_healthy` returns; predict and the other probes do not ask it."""
    edge = servers.start(MODEL.format(kind=kind), files={"gates/health": "yes"})

    for state, expected in [
        ("no", 503),
        ("one", 200),
        ("none", 503),
        ("yes", 200),
        ("raise", 503),
        ("list", 503),
    ]:
        say(edge, state, expected)
        assert statuses(edge, LOADED + LIVE) == {200}
        assert edge.call(1) == 1
    edge.wait_log("`is_healthy` failed", source="worker")
    unhealthy = edge.http.get("/health/ready").json()
    say(edge, "yes", 200)

    assert (unhealthy["error"], unhealthy["status"]) == ("the model is not ready", "unhealthy")
    assert edge.http.get("/health/ready").json()["status"] == "ready"


def test_probes_are_cheap(servers: Servers) -> None:
    """Many probes at once ask the model once a second at most."""
    edge = servers.start(
        "class Model:\n    asked = 0\n    def is_healthy(self):\n        self.asked += 1\n        return True\n"
        "    def predict(self, x):\n        return self.asked\n"
    )
    before = edge.call(0)
    for _ in range(50):
        assert edge.readiness() == 200

    assert edge.call(0) - before <= 6


STUCK = """
import time
import gates


class Model:
    async def predict(self, x):
        if x == "stick":
            gates.mark("stuck")
            gates.wait("free")
        return x
"""


def test_a_stuck_event_loop(servers: Servers) -> None:
    """A model that blocks its event loop is not ready while the server lives, and recovers when it does."""
    edge = servers.start(STUCK)
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(edge.call, "stick")
        edge.gates.wait("stuck")
        wait_until(lambda: edge.readiness() == 503, 20, what="not ready")
        live = statuses(edge, LIVE + LOADED)
        edge.gates.open("free")
        answer = stuck.result()
    edge.wait_ready()

    assert live == {200}
    assert answer == "stick"


def test_is_healthy_that_hangs(servers: Servers) -> None:
    """A model that does not answer is asked once, however often one probes, and again when it has answered."""
    edge = servers.start(
        "import os, gates\nclass Model:\n    asked = 0\n"
        "    def load(self):\n        os.mkfifo(gates.FOLDER / 'pipe')\n"
        "    def is_healthy(self):\n        self.asked += 1\n        gates.mark('asked', self.asked)\n"
        "        if not gates.is_open('answer'):\n            open(gates.FOLDER / 'pipe').close()  # in C\n"
        "        return True\n"
        "    def predict(self, x):\n        return x\n",
        ready=False,
    )
    wait_until(lambda: edge.readiness() == 503 and edge.gates.has("asked"), 20, what="a question in vain")
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        assert edge.readiness() == 503
    asked = edge.gates.read("asked")
    edge.gates.open("answer")
    (edge.root / "gates" / "pipe").open("w").close()
    edge.wait_ready()

    assert asked == "1"


def test_is_healthy_with_arguments_is_refused(servers: Servers) -> None:
    """A signature that cannot be called is found at load."""
    edge = servers.start(
        "class Model:\n    def is_healthy(self, x):\n        return x\n    def predict(self, x):\n        return x\n",
        ready=False,
    )

    assert edge.wait_exit() == 3
    assert "takes no argument but `self`" in edge.log_text()


def test_startup(servers: Servers) -> None:
    """The startup probe succeeds once and for all when the model was loaded, whatever becomes of it."""
    edge = servers.start(
        "import os, gates\nclass Model:\n"
        "    def load(self):\n        gates.mark('loading')\n        gates.wait('load')\n"
        "    def predict(self, x):\n        os._exit(1)\n",
        ready=False,
    )
    edge.gates.wait("loading")
    loading = edge.http.get("/health/startup"), edge.http.get("/health/ready")
    edge.gates.open("load")
    edge.wait_ready()
    (edge.root / "gates" / "load").unlink()
    (edge.root / "gates" / "loading").unlink()
    died = edge.post("/predict", 1)
    edge.gates.wait("loading")
    restarting = edge.http.get("/health/ready")

    assert [r.status_code for r in loading] == [503, 503]
    assert loading[1].json()["status"] == "loading"
    assert died.status_code == 500
    assert edge.http.get("/health/startup").status_code == 200
    assert (restarting.status_code, restarting.json()["status"]) == (503, "restarting")
    assert edge.post("/predict", 1).status_code == 503
    edge.gates.open("load")
    edge.wait_ready()


def test_drain(servers: Servers) -> None:
    """After SIGTERM nobody new is let in, what runs is finished, and the server ends with 0."""
    edge = servers.start(
        "import gates\nclass Model:\n    def predict(self, x):\n        gates.mark('in')\n        gates.wait('go')\n"
        "        return x\n"
    )
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(edge.call, "kept")
        edge.gates.wait("in")
        edge.signal(signal.SIGTERM)
        wait_until(lambda: edge.readiness() != 200, what="not ready")
        edge.gates.open("go")
        answer = running.result()

    assert answer == "kept"
    assert edge.wait_exit() == 0
