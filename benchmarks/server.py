"""The server under load, beside the bare application: requests, streams, memory, start-up, cancellation."""

from __future__ import annotations

import gc
import json
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import rates, workload
from benchmarks.figures import Figure, figure
from benchmarks.http_client import Answer, Connection, load, post
from benchmarks.machine import Cpus, Others, choose_cpus, memory, pinned
from benchmarks.serving import Server, bare_asgi, truss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUNS = 3
SECONDS = 3
"""Of one run under load."""

FOREIGN_LIMIT = 0.15
"""CPUs; a run during which other processes used more is taken again."""

TRIES = 4
STARTS = 5
CANCELS = 9

PROMPT = json.dumps({"prompt": "x" * 100}).encode()
NUMBERS = json.dumps([number * 0.7310585 + 0.001 for number in range(10_000)]).encode()

CHUNKS = 1000
PACED_CHUNKS = 50
PACE = 0.010
PACED_STREAMS = 64


class Pair(NamedTuple):
    """Both servers, running the same work."""

    ours: Server
    bare: Server


class Sample(NamedTuple):
    """What one run of one server gave.

    Attributes:
        value: What is compared.
        facts: What else is worth telling, by unit.
    """

    value: float
    facts: dict[str, float]


def measure() -> Iterator[Figure]:
    """Yield the figures of all workloads."""
    rates.advise()
    cpus = choose_cpus()
    gc.disable()  # of this process: stored answers are many, and a pause would be taken for the server's
    yield from _requests(cpus)
    yield from _streams(cpus)
    yield from _standing(cpus)
    yield from _cancellation(cpus)


@contextmanager
def _pair(cpus: Cpus, model: str) -> Iterator[Pair]:
    with pinned(cpus.servers):
        ours, bare = truss(model), bare_asgi(model)
        with ours as first, bare as second, pinned(cpus.clients):
            yield Pair(first, second)


# ---- requests


def _requests(cpus: Cpus) -> Iterator[Figure]:
    with _pair(cpus, "Echo") as pair:
        for connections, limit in ((1, 0.40), (16, 0.55), (64, 0.60)):
            name = f"W1 JSON echo, {connections} connection{'s' * (connections > 1)}"
            yield _ratio(name, pair, _rate(PROMPT, connections), limit, "requests/s")
    with _pair(cpus, "Numbers") as pair:
        yield _ratio("W2 10,000 floats, 8 connections", pair, _rate(NUMBERS, 8), 0.50, "requests/s")


def _rate(body: bytes, connections: int) -> Callable[[Server, float], Sample]:
    def take(server: Server, seconds: float) -> Sample:
        before = server.cpu_seconds()
        rate = rates.measure_rate(server.port, body, connections, max(1, round(seconds)))
        cpu = (server.cpu_seconds() - before) / rate.answers
        return Sample(rate.per_second, {"ms p99": rate.p99, "us of CPU": cpu * 1e6})

    return take


# ---- streams


def _streams(cpus: Cpus) -> Iterator[Figure]:
    with _pair(cpus, "Sync") as pair:
        for streams in (1, 16):
            name = f"W3 sync generator, {streams} stream{'s' * (streams > 1)}"
            yield _ratio(name, pair, _chunk_rate(streams), 2.0, "chunks/s")
    with _pair(cpus, "Async") as pair:
        for streams in (1, 16):
            name = f"W3a async generator, {streams} stream{'s' * (streams > 1)}"
            yield _ratio(name, pair, _chunk_rate(streams), 1.0, "chunks/s")
        yield from _paced(pair)


def _stream_request(n: int, pause: float = 0.0, probe: str | None = None) -> bytes:
    return post(rates.PATH, json.dumps({"n": n, "pause": pause, "probe": probe}).encode())


def _expected(n: int) -> list[bytes]:
    return [workload.chunk(number).encode() for number in range(n)]


def _chunk_rate(streams: int) -> Callable[[Server, float], Sample]:
    request, expected = _stream_request(CHUNKS), b"".join(_expected(CHUNKS))
    speed: dict[Server, float] = {}  # so that a run of either server takes as long

    def take(server: Server, seconds: float) -> Sample:
        count = max(1, round(seconds * speed.get(server, 0.0) / streams / CHUNKS))
        before = server.cpu_seconds()
        answers, spent = load(server.port, request, streams, count=count)
        cpu = (server.cpu_seconds() - before) / (len(answers) * CHUNKS)
        _check(answers, expected)
        speed[server] = len(answers) * CHUNKS / spent
        reads = statistics.mean(len(answer.parts) for answer in answers)
        return Sample(speed[server], {"reads a stream": reads, "us of CPU": cpu * 1e6})

    return take


def _paced(pair: Pair) -> Iterator[Figure]:
    """W4: many slow streams at once."""
    request, chunks = _stream_request(PACED_CHUNKS, PACE), _expected(PACED_CHUNKS)

    def take(server: Server, _: float) -> Sample:
        answers, _ = load(server.port, request, PACED_STREAMS, count=3)
        _check(answers, b"".join(chunks))
        arrivals = [answer.arrivals(chunks) for answer in answers]
        gaps = [two - one for each in arrivals for one, two in pairwise(each)]
        return Sample(_p99([each[0] for each in arrivals]) * 1000, {"gap": _p99(gaps) * 1000})

    ours, bare = _alternate("W4", pair, take)
    for name, limit, value in (
        ("W4 64 paced streams, p99 of first chunk", 20, lambda sample: sample.value),
        ("W4 64 paced streams, p99 of gap", 13, lambda sample: sample.facts["gap"]),
    ):
        beside = f"{statistics.median(map(value, bare)):.3g} ms"
        yield figure(name, list(map(value, ours)), limit=limit, unit="ms", bare=beside)


def _check(answers: list[Answer], expected: bytes) -> None:
    for answer in answers:
        if not answer.ok or answer.body() != expected:
            raise SystemExit(f"a wrong answer: {b''.join(answer.parts)[:500]!r}")


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


# ---- standing still, and stopping


def _standing(cpus: Cpus) -> Iterator[Figure]:
    """W5 and W6."""
    resident, shared, seconds = [], [], []
    for _ in range(STARTS):
        _progress("W5, W6")
        with pinned(cpus.servers), truss("Echo") as server:
            time.sleep(0.5)  # what is left to do after readiness belongs to it
            rss, pss = memory(server.pids)
            resident.append(rss)
            shared.append(pss)
            seconds.append(server.started_in)
    note = f"{statistics.median(shared):.3g} MB with pages that the processes share counted once"
    yield figure("W5 idle memory", resident, limit=75, unit="MB", note=note)
    yield figure("W6 process start to ready", seconds, limit=0.60, unit="s")


def _cancellation(cpus: Cpus) -> Iterator[Figure]:
    """W7."""
    # A synchronous generator learns of it at its next chunk; a millisecond is what waking it may take.
    for model, limit in (("Async", 5), ("Sync", PACE * 1000 + 1)):
        _progress(f"W7 {model}")
        with pinned(cpus.servers), truss(model) as server, pinned(cpus.clients):
            values = [_leave(server) * 1000 for _ in range(CANCELS)]
        name = f"W7 client leaves, {model.lower()} generator closed"
        yield figure(name, values, limit=limit, unit="ms")


def _leave(server: Server) -> float:
    """Close the connection after three chunks; return the seconds until the generator has ended."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "ended"
        connection = Connection(server.port, _stream_request(CHUNKS, PACE, str(probe)))
        connection.send()
        while b"".join(connection.answer.parts).count(b"token") < 3:
            connection.receive()
        left = time.monotonic()
        connection.sock.close()
        while not probe.exists():
            if time.monotonic() > left + CHUNKS * PACE + 5:
                raise SystemExit("the generator never ended")
            time.sleep(0.001)
        (ended,) = workload.ENDED.unpack(probe.read_bytes())
        return float(ended) - left


# ---- comparing


def _ratio(name: str, pair: Pair, take: Callable[[Server, float], Sample], limit: float, unit: str) -> Figure:
    """Measure both servers in turns; the figure is the median of the ratios of neighbouring runs."""
    ours, bare = _alternate(name, pair, take)
    ratios = [one.value / two.value for one, two in zip(ours, bare, strict=True)]
    facts = [f"{_median(ours, key):.3g} {key} (bare {_median(bare, key):.3g})" for key in ours[0].facts]
    return figure(
        name,
        ratios,
        limit=limit,
        unit="x",
        at_least=True,
        ours=f"{statistics.median(one.value for one in ours):,.0f} {unit}",
        bare=f"{statistics.median(one.value for one in bare):,.0f} {unit}",
        note=", ".join(facts),
    )


def _median(samples: list[Sample], key: str) -> float:
    return statistics.median(sample.facts[key] for sample in samples)


def _alternate(
    name: str, pair: Pair, take: Callable[[Server, float], Sample]
) -> tuple[list[Sample], list[Sample]]:
    _progress(name)
    for server in pair:
        take(server, 0.5)  # warm-up
        take(server, 0.5)
    ours, bare = [], []
    for _ in range(RUNS):
        ours.append(_undisturbed(name, pair, lambda: take(pair.ours, SECONDS)))
        bare.append(_undisturbed(name, pair, lambda: take(pair.bare, SECONDS)))
    return ours, bare


def _undisturbed(name: str, pair: Pair, take: Callable[[], Sample]) -> Sample:
    """Take a run, again where other processes used too much CPU; keep the least disturbed."""
    samples = []
    for _ in range(TRIES):
        others = Others(lambda: sum(server.cpu_seconds() for server in pair))
        sample = take()
        share = others.share()
        samples.append((share, sample))
        if share <= FOREIGN_LIMIT:
            break
        _progress(f"{name}: other processes used {share:.0%} of a CPU, once more")
    return min(samples, key=lambda one: one[0])[1]


def _progress(text: str) -> None:
    sys.stderr.write(f"{text}\n")
