"""What a model prints becomes records of the log, whatever it prints."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.helpers import wait_until
from tests.server.raw_http import read_error

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

PRINTING = """
import os
import subprocess
import sys
import gates


class Model:
    def load(self):
        print("loading")
        print("warnings", file=sys.stderr)
        sys.stdout.write("no end of line")
        gates.wait("loaded")

    def predict(self, x):
        if x == "binary":
            os.write(1, b"caf\\xe9 \\xff\\x00 end\\n")
        elif x == "split":
            data = "€\\n".encode()
            for at in range(len(data)):
                os.write(1, data[at:at + 1])
        elif x == "progress":
            for n in range(100):
                sys.stderr.write(f"\\r{n}%")
            sys.stderr.write("\\r100%\\n")
        elif x == "child":
            subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        elif x == "long":
            print("y" * 200_000)
        elif x == "much":
            line = "x" * 999 + "\\n"
            for _ in range(500):
                os.write(1, (line * 100).encode())
            print("that was much")
        return x
"""


@pytest.fixture(scope="module")
def printing(module_servers: Servers) -> Edge:
    """Serve PRINTING, not yet loaded."""
    return module_servers.start(PRINTING, ready=False)


def test_what_load_prints_is_logged_before_the_model_is_ready(printing: Edge) -> None:
    """Lines of load are seen while it runs, the beginning of a line too; the server is live and not ready."""
    for text in ("loading", "warnings", "no end of line"):
        assert printing.wait_log(text)["source"] == "model"
    wait_until(lambda: printing.readiness() == 503, 10, what="the answer 503")
    body = printing.http.get("/health/ready").json()
    assert (body["error"], body["status"]) == ("the model is not ready", "loading")
    assert printing.http.get("/health/live").status_code == 200
    response = printing.post("/predict", {})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert read_error(response) == {"error": "the model is not ready: loading"}

    printing.gates.open("loaded")
    printing.wait_ready()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("binary", "caf\ufffd \ufffd\x00 end"),
        ("split", "€"),
        ("progress", "100%"),
        ("child", "from a child"),
        ("long", "y" * 65536),
    ],
)
def test_whatever_is_printed_is_a_record(printing: Edge, what: str, message: str) -> None:
    """Foreign bytes, torn characters, progress bars, children and endless lines: all become records."""
    printing.gates.open("loaded")
    printing.wait_ready()

    assert printing.call(what) == what
    record = printing.wait_log(message)
    assert (record["message"], record["source"]) == (message, "model")


def test_fifty_megabytes_in_no_time(printing: Edge) -> None:
    """A flood of lines is logged whole, in order, while other requests are answered."""
    printing.gates.open("loaded")
    printing.wait_ready()

    with ThreadPoolExecutor() as pool:
        flood = pool.submit(printing.call, "much")
        assert printing.call("quick") == "quick"
        assert flood.result() == "much"
    printing.wait_log("that was much")
    assert sum(r["message"] == "x" * 999 for r in printing.records) == 50_000
