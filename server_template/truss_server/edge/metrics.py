"""What the edge counts and times, in Prometheus's text format."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from truss_server.edge.tallies import Counts, Durations

if TYPE_CHECKING:
    from collections.abc import Callable

    from truss_server.edge.admission import Slots

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
GAPS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)


class Metrics:
    """The edge's own metrics, in a registry of their own.

    Attributes:
        registry: Holds them.
        cancelled: Calls whose client left.
        rejected: Calls refused because too many were waiting.
        restarts: Starts of the worker after the first.
        generation: Number of the loaded version of the model's code.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        answered = Counts("truss_requests", "Answered calls of the model.", ["method", "status"])
        latency = Durations(
            "truss_request_seconds", "From a call's arrival to the end of its answer.", "method", SECONDS
        )
        text = "From a call's arrival to the first bytes of its stream."
        first = Durations("truss_first_chunk_seconds", text, "method", SECONDS)
        gap = Durations("truss_chunk_gap_seconds", "Between two writes to a stream.", "", GAPS)
        for collector in (answered, latency, first, gap):
            self.registry.register(collector)
        self.answered, self.latency, self.first, self.gap = answered.add, latency.add, first.add, gap.add
        self.cancelled = Counter("truss_cancelled", "Calls whose client left.", registry=self.registry)
        self.rejected = Counter(
            "truss_rejected", "Calls refused, the queue being full.", registry=self.registry
        )
        self.restarts = Counter(
            "truss_worker_restarts", "Starts of the worker after the first.", registry=self.registry
        )
        self.generation = Gauge(
            "truss_generation", "Loaded version of the model's code.", registry=self.registry
        )

    def watch_slots(self, slots: Slots) -> None:
        """Add gauges of who runs and who waits; their values are asked for when they are read."""
        self._watch("truss_running", "Calls the model is working on.", lambda: slots.running)
        self._watch("truss_queued", "Calls that wait for their turn.", lambda: slots.waiting)
        self._watch("truss_expected_wait_seconds", "How long a new call would wait.", slots.expected_wait)

    def _watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        Gauge(name, text, registry=self.registry).set_function(value)

    def render(self) -> bytes:
        """Return all of them as text."""
        return generate_latest(self.registry)

    def join(self, theirs: bytes) -> bytes:
        """Return all of them as text, and what the model's code registered under other names."""
        ours = self.render()
        names = {line.split()[2] for line in ours.splitlines() if line.startswith(b"# TYPE ")}
        names |= {
            name.removesuffix(b"_total") + b"_created" for name in names
        }  # which the library adds to theirs
        kept, keep = [], True
        for line in theirs.splitlines(keepends=True):
            if line.startswith((b"# HELP ", b"# TYPE ")):
                keep = line.split()[2] not in names
            if keep:
                kept.append(line)
        return ours + b"".join(kept)


class Stopwatch:
    """Times one call.

    Args:
        metrics: Where times go.
        method: Of the model.

    Attributes:
        first: Seconds until the first write to the stream, 0 before.
    """

    __slots__ = ("_last", "_metrics", "first", "method", "started")

    def __init__(self, metrics: Metrics, method: str) -> None:
        self._metrics = metrics
        self.method = method
        self.started = time.perf_counter()
        self._last = self.first = 0.0

    def chunk(self) -> None:
        """Note a write to the stream."""
        now = time.perf_counter()
        if self._last:
            self._metrics.gap(now - self._last)
        else:
            self.first = now - self.started
            self._metrics.first(self.first, self.method)
        self._last = now

    def end(self, status: int) -> float:
        """Note the end of the answer; return the seconds it took."""
        seconds = time.perf_counter() - self.started
        self._metrics.latency(seconds, self.method)
        self._metrics.answered(self.method, status)
        return seconds
