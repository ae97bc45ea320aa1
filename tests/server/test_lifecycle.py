"""The server's life from outside: signals, the end of a drain, the command line, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.helpers import wait_until
from tests.server.raw_http import read_broken, read_error, read_until
from tests.server.releases import write_release

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.harness import Edge, Servers

EDGE = [sys.executable, "-m", "truss_server.edge"]

STREAMING = """
import signal
import subprocess
import sys
import multiprocessing
import os
import gates


def square(n):
    return n * n


class Model:
    def load(self):
        if gates.is_open("slow load"):
            gates.mark("loading")
            gates.wait("never")

    def predict(self, x):
        if x == "pool":
            with multiprocessing.get_context("fork").Pool(2) as pool:
                return pool.map(square, range(4))
        if x == "leave a child":
            if os.fork() == 0:
                os.setsid()
                gates.wait("end")
                os._exit(0)
            return "left"
        if x == "terminate":
            process = multiprocessing.get_context("fork").Process(target=gates.wait, args=("never",))
            process.start()
            process.terminate()
            process.join(10)
            return process.exitcode
        if x == "handlers":
            code = "import signal; print(signal.getsignal(15) == signal.SIG_DFL)"
            return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        return self.stream()

    def stream(self):
        yield "first"
        gates.mark("streaming")
        gates.wait("go on")
        yield "last"
"""


def test_sigterm_lets_a_stream_finish(servers: Servers) -> None:
    """After SIGTERM a running stream comes to its clean end, new connections are refused, and the exit code is 0."""
    edge = servers.start(STREAMING)

    with edge.stream("stream") as response:
        edge.gates.wait("streaming")
        edge.signal(signal.SIGTERM)
        wait_until(lambda: edge.readiness() != 200, what="the end of readiness")
        wait_until(lambda: refuses(edge), what="refused connections")
        edge.gates.open("go on")
        assert b"".join(response.iter_raw()) == b"firstlast"

    assert edge.wait_exit() == 0
    assert edge.processes() == []


def refuses(edge: Edge) -> bool:
    """Tell whether new connections are refused: nobody listens any more, the model's process neither."""
    try:
        with edge.connect():
            return False
    except ConnectionRefusedError:
        return True


def test_the_model_inherits_nothing(servers: Servers) -> None:
    """What the server was started with, a lock for example, ends with it, whatever the model leaves behind."""
    lock, held = os.pipe()
    edge = servers.start(STREAMING, inherited=[held])
    os.close(held)

    assert edge.call("leave a child") == "left"
    edge.signal(signal.SIGKILL)
    edge.wait_exit()

    assert select.select([lock], [], [], 10)[0] == [lock]
    os.close(lock)
    edge.gates.open("end")


DRAINED = """
import asyncio
import gates


class Model:
    async def predict(self, x):
        gates.mark(f"{x}-started")
        await gates.wait_async("never")

    async def chat_completions(self, x):
        yield {"n": 1}
        gates.mark("streaming")
        await gates.wait_async("never")
"""


def test_the_end_of_the_drain_is_told(servers: Servers) -> None:
    """Who cannot be waited for is told why, in the shape of its route; who only waited is told at once."""
    edge = servers.start(DRAINED, runtime={"drain_timeout": 1, "predict_concurrency": 2})

    with (
        ThreadPoolExecutor(2) as pool,
        edge.stream({}, "/v1/chat/completions") as stream,
    ):
        unary = pool.submit(edge.post, "/predict", "unary")
        edge.gates.wait("unary-started")
        edge.gates.wait("streaming")
        queued = pool.submit(edge.post, "/predict", "queued")
        wait_until(lambda: "truss_queued 1.0" in edge.http.get("/metrics").text, what="the queue")
        edge.signal(signal.SIGTERM)
        early = queued.result(0.9)
        late = unary.result()
        events = read_broken(stream)

    assert (early.status_code, read_error(early)) == (503, {"error": "the model is not ready: stopping"})
    assert (late.status_code, read_error(late)) == (503, {"error": "the server is stopping"})
    assert events.startswith(b'data: {"n":1}\n\ndata: {"error":{"message":"the server is stopping"')
    assert edge.wait_exit() == 0
    assert [record["status"] for record in edge.records if "duration_ms" in record] == [503, 503, 503]
    assert not any("Traceback" in record.get("exc_info", "") for record in edge.records)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(servers: Servers, second: int) -> None:
    """Whoever insists is obeyed: the stream breaks, and nothing is left."""
    edge = servers.start(STREAMING)

    with edge.stream("stream") as response:
        edge.gates.wait("streaming")
        edge.signal(signal.SIGTERM)
        wait_until(lambda: refuses(edge), what="refused connections")
        edge.signal(second)
        assert read_broken(response) == b"first"

    assert edge.wait_exit() == 0
    assert edge.processes() == []


def test_the_drain_has_an_end(servers: Servers) -> None:
    """A stream that does not finish in time is broken off, and the server ends with 0 all the same."""
    edge = servers.start(STREAMING, runtime={"drain_timeout": 1.0})

    with edge.stream("stream") as response:
        edge.gates.wait("streaming")
        edge.signal(signal.SIGTERM)
        assert read_broken(response) == b"first"

    assert edge.wait_exit() == 0


def test_sigterm_while_loading(servers: Servers) -> None:
    """A server that is still loading ends at once: there is nothing to finish."""
    edge = servers.start(STREAMING, ready=False, files={"gates/slow load": ""})
    edge.gates.wait("loading")

    edge.signal(signal.SIGTERM)

    assert edge.wait_exit(4) == 0
    assert edge.processes() == []


def test_sigterm_right_after_the_start(servers: Servers) -> None:
    """A signal that comes before anything is up ends the server too, and no worker is left."""
    edge = servers.start(STREAMING, ready=False)
    wait_until(edge.workers, what="the worker")

    edge.signal(signal.SIGTERM)

    assert edge.wait_exit(6) == 0
    assert edge.processes() == []


def test_a_killed_edge_takes_the_worker_along(servers: Servers) -> None:
    """A worker whose edge is gone ends by itself, in the middle of a call and of a load."""
    edge = servers.start(STREAMING)
    loading = servers.start(STREAMING, ready=False, files={"gates/slow load": ""})
    loading.gates.wait("loading")

    with edge.stream("stream") as response:
        edge.gates.wait("streaming")
        edge.signal(signal.SIGKILL)
        loading.signal(signal.SIGKILL)
        assert b"first".startswith(read_broken(response))

    wait_until(lambda: not edge.processes() and not loading.processes(), what="the end of both workers")


def test_signals_are_for_the_edge_and_for_what_the_model_starts(servers: Servers) -> None:
    """SIGTERM to the worker alone ends no call, and what the model forks or starts does not inherit this deafness."""
    edge = servers.start(STREAMING)

    with edge.stream("stream") as response:
        edge.gates.wait("streaming")
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(edge.workers()[0], number)
        edge.gates.open("go on")
        assert b"".join(response.iter_raw()) == b"firstlast"
    assert edge.call("pool") == [0, 1, 4, 9]
    assert edge.call("terminate") == -signal.SIGTERM
    assert edge.call("handlers") == "True\n"


def run_edge(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the server's command to its end."""
    return subprocess.run(
        [*EDGE, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_folder_that_is_no_release(tmp_path: Path) -> None:
    """A folder without a manifest, or with another one, is refused with exit code 2 in one line."""
    missing = run_edge("--release", str(tmp_path), "--python", sys.executable)
    (tmp_path / "release.json").write_text('{"model": "m"}')
    other = run_edge("--release", str(tmp_path), "--python", sys.executable)

    assert (missing.returncode, other.returncode) == (2, 2)
    assert missing.stderr.splitlines()[-1].startswith(f"truss_server.edge: error: {tmp_path} is no release: ")
    assert other.stderr.splitlines()[-1].endswith("is no release: release.json lacks 'digest'")


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """A taken port is one ERROR record and exit code 1; no worker is started."""
    root = write_release(tmp_path / "release", "")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_edge("--release", str(root), "--python", sys.executable, "--port", port)

    assert (done.returncode, done.stderr) == (1, "")
    (record,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (record["levelname"], record["source"]) == ("ERROR", "edge")
    assert record["message"] == f"cannot listen on 127.0.0.1:{port}: Address already in use"


def test_a_port_of_its_own(tmp_path: Path) -> None:
    """Without an inherited socket the server binds host and port itself."""
    root = write_release(tmp_path / "release", "class Model:\n    def predict(self, x):\n        return x\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(
        [
            *EDGE,
            "--release",
            str(root),
            "--python",
            sys.executable,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ],
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert b"ready: predict" in process.stdout.readline()
            wait_until(lambda: answers(port), what="an answer")
        finally:
            process.terminate()
        assert process.wait(20) == 0


def answers(port: int) -> bool:
    """Tell whether a server answers on a port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            return b" 200 " in read_until(sock, b"\r\n")
    except ConnectionError:
        return False
