"""The server's life from outside: signals, the end of a drain, the command line, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.helpers import wait_until
from tests.server.raw_http import read_broken, read_until
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
    """Tell whether new connections are refused; one that is accepted at the last moment is closed."""
    try:
        with edge.connect() as sock:
            sock.settimeout(5)
            return sock.recv(1) == b""
    except ConnectionError:
        return True


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


def test_what_the_model_forks_can_be_ended(servers: Servers) -> None:
    """A pool of forked processes and a terminated process end: they do not inherit the worker's deafness."""
    edge = servers.start(STREAMING)

    assert edge.call("pool") == [0, 1, 4, 9]
    assert edge.call("terminate") == -signal.SIGTERM
    assert edge.call("handlers") == "True\n"


def test_the_worker_survives_signals_that_are_the_edges(servers: Servers) -> None:
    """SIGTERM to the worker alone, as a supervisor of process groups sends it, does not end calls."""
    edge = servers.start(STREAMING)

    with edge.stream("stream") as response:
        edge.gates.wait("streaming")
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(edge.workers()[0], number)
        edge.gates.open("go on")
        assert b"".join(response.iter_raw()) == b"firstlast"


# ---- the command line


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
