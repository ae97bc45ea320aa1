"""Output from where nobody expects it: forked children, signal handlers, finalizers, in the midst of other output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.server.interpreters import PYTHONS
from tests.server.raw_http import read_error
from tests.server.raw_worker import RawWorker
from tests.server.releases import write_release
from truss_server import wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.server.harness import Servers

MODEL = """
import gc
import logging
import multiprocessing
import os
import signal
import threading

import gates


def child(n):
    for k in range(200):
        print(f"child {n} line {k} " + "x" * 200)
    logging.warning("child %d logs", n)
    logging.getLogger().handlers[0].flush()


def noise(stop):
    while not stop.is_set():
        print("noise " + "y" * 5000)


class Talking:
    def __del__(self):
        print("finalized")


class Model:
    def predict(self, x):
        return getattr(self, x)()

    def forks(self):
        stop = threading.Event()
        threads = [threading.Thread(target=noise, args=[stop]) for _ in range(3)]
        for thread in threads:
            thread.start()
        fork = multiprocessing.get_context("fork")
        codes = []
        for n in range(10):
            process = fork.Process(target=child, args=[n])
            process.start()
            process.join(10)
            codes.append(process.exitcode)
            process.kill()
        stop.set()
        for thread in threads:
            thread.join()
        return codes

    def leaves_a_child(self):
        if os.fork() == 0:
            os.setsid()
            gates.wait("let the child go")
            os._exit(0)
        os._exit(7)

    async def signals(self):
        def on_alarm(*_):
            ticks.append(1)
            print("tick")

        ticks = []
        signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        try:
            while len(ticks) < 3000:
                print("main")
                print("begun", end="")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return "done"

    def chatter(self):
        while True:
            print("chatter " + "z" * 100)

    def logs(self):
        while True:
            logging.warning("chatter")

    def fine(self):
        logging.warning("fine")
        return "fine"

    def finalizers(self):
        gc.set_threshold(1)
        try:
            for _ in range(3000):
                circle = [Talking()]
                circle.append(circle)
                del circle
                print("main")
        finally:
            gc.set_threshold(700)
        return "done"
"""


BY_AGE = sorted(PYTHONS, key=lambda version: int(version.split(".")[1]))


@pytest.fixture(params=sorted({BY_AGE[0], BY_AGE[-1]}))
def worker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RawWorker]:
    """Run MODEL on the oldest Python and on the newest: from 3.12 on finalizers run between any two instructions."""
    with RawWorker(PYTHONS[request.param], write_release(tmp_path / "release", MODEL)) as started:
        yield started


@pytest.mark.parametrize("what", ["signals", "finalizers"])
def test_output_in_the_midst_of_output(worker: RawWorker, what: str) -> None:
    """A signal handler or a finalizer that prints while its thread is printing holds nothing up."""
    assert worker.call("predict", what).value == "done"


@pytest.mark.parametrize("what", ["chatter", "logs"])
def test_an_interrupted_print_leaves_nothing_behind(worker: RawWorker, what: str) -> None:
    """A sync call that is interrupted while it prints or logs, again and again, takes nobody else's output along."""
    for _ in range(300):
        chatter = worker.open("predict", what)
        while worker.next_frame()[0] != wire.LOG:
            pass
        beside = worker.open("predict", "fine")
        worker.cancel(chatter)
        assert worker.finish(chatter).error["status"] == 499
        assert worker.finish(beside).value == "fine"


def test_forked_children_print(servers: Servers) -> None:
    """A child that is forked while threads print is not stuck, and what it prints is logged and breaks nothing."""
    edge = servers.start(MODEL)

    assert edge.call("forks") == [0] * 10

    for n in range(10):
        edge.wait_log(f"child {n} line 199 ", source="model")
        edge.wait_log(f"child {n} logs", source="model")
    assert edge.call("forks") == [0] * 10


def test_a_forked_child_does_not_keep_the_connection(servers: Servers) -> None:
    """The end of a worker is noticed at once although a child that left its group lives on."""
    edge = servers.start(MODEL)

    response = edge.post("/predict", "leaves_a_child")

    assert read_error(response) == {
        "error": "the model's process ended with exit code 7 while it was working on this request"
    }
    edge.gates.open("let the child go")
