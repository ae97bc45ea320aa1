"""What one can see from outside: request ids, traces, the model's own output, metrics."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers import wait_until

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
import asyncio, logging, sys, time
import gates
from prometheus_client import Counter
from starlette.requests import Request

SEEN = Counter("model_seen", "Calls the model saw.", ["kind"])
log = logging.getLogger("my.model")


class Model:
    def predict(self, inputs, request: Request):
        kind = inputs["kind"]
        SEEN.labels(kind).inc()
        if kind == "headers":
            return dict(request.headers)
        if kind == "raise":
            raise ValueError("seen by the log")
        if kind == "talk":
            return self.talk(inputs["name"])
        if kind == "words":
            return self.words(inputs["count"])
        if kind == "sleep":
            gates.mark("asleep")
            gates.wait("wake")
        if kind == "flood":
            for at in range(inputs["count"]):
                print("x" * 1000)
        if kind == "parts":
            print("begun ", end="")
            print("and ended")
            print("one\\ntwo\\n\\nfour")
            sys.stderr.write("to stderr\\n")
            print("no end", end="", flush=True)
        return kind

    def talk(self, name):
        print(f"{name} prints in predict")
        for at in range(3):
            log.warning("%s logs %d", name, at)
            time.sleep(0.01)
            yield "x"

    def words(self, count):
        for at in range(count):
            yield "x"
            time.sleep(0.01)

    async def chat_completions(self, inputs):
        for at in range(3):
            print(f"{inputs['name']} prints {at}")
            await asyncio.sleep(0.01)
        await asyncio.to_thread(print, f"{inputs['name']} prints in a thread")
        try:
            raise KeyError("inner")
        except KeyError:
            log.exception("%s caught", inputs["name"])
        return inputs
"""

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve the model once for all tests."""
    return module_servers.start(MODEL)


@pytest.mark.parametrize("header", ["x-request-id", "x-baseten-request-id"])
def test_a_given_request_id(edge: Edge, header: str) -> None:
    """The client's id is in the response, the error, the access line and the model's traceback."""
    response = edge.post("/predict", {"kind": "raise"}, headers={header: f"id-{header}"})

    assert response.headers["x-request-id"] == f"id-{header}"
    assert response.json()["request_id"] == f"id-{header}"
    access = edge.wait_log("POST /predict 500", request_id=f"id-{header}")
    assert (access["status"], access["source"]) == (500, "edge")
    assert access["duration_ms"] > 0
    assert "seen by the log" in edge.wait_log("ValueError", request_id=f"id-{header}")["exc_info"]


def test_a_made_request_id(edge: Edge) -> None:
    """Without one the server makes an id, another for each request, in the same places."""
    responses = [edge.post("/predict", {"kind": "raise"}) for _ in range(2)]
    ids = [response.headers["x-request-id"] for response in responses]

    assert len(set(ids)) == 2
    assert [response.json()["request_id"] for response in responses] == ids
    for one in ids:
        edge.wait_log("POST /predict 500", request_id=one)


def test_errors_without_the_model_have_an_id(edge: Edge) -> None:
    """A bad request, a missing method and an unknown verb carry their id as well."""
    answers = [
        edge.post("/predict", content=b"{", headers={"x-request-id": "bad-1"}),
        edge.post("/v1/embeddings", 1, headers={"x-request-id": "bad-2"}),
        edge.http.get("/predict", headers={"x-request-id": "bad-3"}),
    ]

    assert [a.headers["x-request-id"] for a in answers] == ["bad-1", "bad-2", "bad-3"]
    assert [edge.wait_log("", request_id=f"bad-{at}")["status"] for at in (1, 2, 3)] == [400, 404, 405]


def test_traceparent(edge: Edge) -> None:
    """The trace of the caller reaches the model's request and every line of the log."""
    headers = {"traceparent": TRACE, "x-request-id": "traced"}
    seen = edge.post("/predict", {"kind": "headers"}, headers=headers).json()
    edge.post("/v1/chat/completions", {"name": "Tracy"}, headers=headers)

    assert seen["traceparent"] == TRACE
    assert edge.wait_log("POST /predict 200", request_id="traced")["traceparent"] == TRACE
    assert edge.wait_log("Tracy prints 0", request_id="traced")["traceparent"] == TRACE


def test_output_belongs_to_its_request(edge: Edge) -> None:
    """What many calls at once print and log, on threads and on the event loop, carries each one's id."""
    names = [f"caller-{at}-" for at in range(24)]

    def call(name: str) -> None:
        path = "/predict" if int(name.split("-")[1]) % 2 else "/v1/chat/completions"
        answer = edge.post(path, {"kind": "talk", "name": name}, headers={"x-request-id": name})
        assert answer.status_code == 200

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(call, names))
    for name in names:
        edge.wait_log(name, request_id=name)
        edge.wait_log("POST", request_id=name)
    lines = [r for r in edge.records if r["source"] == "model" and "caller-" in r["message"]]

    assert len(lines) == 12 * 4 + 12 * 5
    assert all(r["message"].startswith(r["request_id"]) for r in lines)


def test_what_lines_say(edge: Edge) -> None:
    """Print is INFO, logging keeps level, logger and traceback; a line is a line however it was written."""
    edge.post("/v1/chat/completions", {"name": "Logan"}, headers={"x-request-id": "logan"})
    caught = edge.wait_log("Logan caught", request_id="logan")
    printed = edge.wait_log("Logan prints 1", request_id="logan")
    edge.post("/predict", {"kind": "parts"}, headers={"x-request-id": "parts"})
    edge.wait_log("POST /predict 200", request_id="parts")
    parts = [r["message"] for r in edge.records if r.get("request_id") == "parts" and r["source"] == "model"]

    assert (caught["levelname"], caught["logger"]) == ("ERROR", "my.model")
    assert "KeyError: 'inner'" in caught["exc_info"]
    assert printed["levelname"] == "INFO"
    assert parts == ["begun and ended", "one", "two", "", "four", "to stderr", "no end"]


@pytest.mark.parametrize(("asked", "shown"), [(True, ["DEBUG", "INFO"]), (False, ["INFO"])])
def test_debug_logs(servers: Servers, *, asked: bool, shown: list[str]) -> None:
    """What the model says at level DEBUG is shown where `runtime.enable_debug_logs` asks for it."""
    model = """
    import logging

    class Model:
        def predict(self, inputs):
            logging.getLogger("a.library").debug("quietly")
            logging.getLogger("a.library").info("aloud")
    """
    edge = servers.start(model, runtime={"enable_debug_logs": asked})
    edge.post("/predict", {})
    edge.wait_log("aloud")

    assert [r["levelname"] for r in edge.records if r.get("logger") == "a.library"] == shown


def samples(edge: Edge) -> dict[str, float]:
    """Return every sample of the metrics."""
    pairs = (line.rsplit(" ", 1) for line in edge.http.get("/metrics").text.splitlines() if line[0] != "#")
    return {name: float(value) for name, value in pairs}


def test_metrics_of_known_traffic(servers: Servers) -> None:
    """Requests, latencies, chunks, gauges and the model's own counters add up to what was sent."""
    edge = servers.start(MODEL, runtime={"predict_concurrency": 1, "max_queue": 0})
    for _ in range(3):
        edge.post("/predict", {"kind": "plain"})
    edge.post("/predict", {"kind": "raise"})
    edge.post("/predict", content=b"{")
    edge.post("/predict", {"kind": "words", "count": 20})
    edge.post("/v1/chat/completions", {"name": "x"})
    edge.post("/v1/embeddings", {})
    with edge.asking({"kind": "sleep"}):
        edge.gates.wait("asleep")
        busy = samples(edge)
        rejected = edge.post("/predict", {"kind": "plain"})
    wait_until(lambda: samples(edge)["truss_running"] == 0, what="a free slot")
    idle = samples(edge)

    assert (busy["truss_running"], rejected.status_code) == (1, 429)
    statuses = {"200": 4, "400": 1, "429": 1, "499": 1, "500": 1}
    for status, count in statuses.items():
        assert idle[f'truss_requests_total{{method="predict",status="{status}"}}'] == count, status
    assert idle['truss_requests_total{method="chat_completions",status="200"}'] == 1
    assert idle['truss_requests_total{method="embeddings",status="404"}'] == 1
    assert idle['truss_request_seconds_count{method="predict"}'] == 8
    assert idle['truss_first_chunk_seconds_count{method="predict"}'] == 1
    assert 5 <= idle["truss_chunk_gap_seconds_count"] <= 19
    assert idle["truss_cancelled_total"] == idle["truss_rejected_total"] == 1
    assert idle["truss_worker_restarts_total"] == idle["truss_queued"] == 0
    assert idle["truss_generation"] == 1
    assert idle['model_seen_total{kind="plain"}'] == 3
    assert edge.http.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
    assert samples(edge).keys() == idle.keys()


def test_a_name_that_the_model_takes_too(servers: Servers) -> None:
    """A metric that the model registers under a name of the server's is left out: each name is described once."""
    edge = servers.start(
        "from prometheus_client import Counter, Gauge\nCounter('truss_requests', 'Mine.').inc()\n"
        "Gauge('mine', 'Mine, too.').set(7)\nclass Model:\n    def predict(self, x):\n        return x\n"
    )
    edge.call(1)
    lines = edge.http.get("/metrics").text.splitlines()

    described = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(described) == len(set(described))
    assert "mine 7.0" in lines
    assert not [line for line in lines if "Mine." in line]


def test_restarts_are_counted(servers: Servers) -> None:
    """A worker that died counts as a restart; the generation of the code stays what it was."""
    edge = servers.start("import os\nclass Model:\n    def predict(self, x):\n        os._exit(1)\n")
    edge.post("/predict", 1)
    edge.wait_log("starting it again")
    edge.wait_ready()

    assert (samples(edge)["truss_worker_restarts_total"], samples(edge)["truss_generation"]) == (1, 1)


def memory(pid: int) -> int:
    """Return the resident bytes of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) * 1024


def test_an_output_flood_is_bounded(edge: Edge) -> None:
    """A model that prints 50 MB slows nobody down for long and does not fill the edge's memory."""
    before = memory(edge.process.pid)
    with ThreadPoolExecutor(1) as pool:
        flood = pool.submit(edge.call, {"kind": "flood", "count": 50_000})
        peak = before
        while not flood.done():
            assert edge.call({"kind": "plain"}) == "plain"
            peak = max(peak, memory(edge.process.pid))

        assert flood.result() == "flood"
    assert peak - before < 60_000_000
    assert edge.readiness() == 200
