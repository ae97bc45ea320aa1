"""Counts and durations by label, for Prometheus: an addition for each event, where the library's own take locks."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Counts(Collector):
    """How often something happened, by its labels. For one thread.

    Args:
        name: Of the metric, without `_total`.
        text: Describes it.
        labels: Their names.
    """

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self._named = name, text
        self._labels = labels
        self._counts: defaultdict[tuple[str | int, ...], int] = defaultdict(int)

    def add(self, *labels: str | int) -> None:
        """Count one."""
        self._counts[labels] += 1

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the metric; part of prometheus_client's collectors."""
        family = CounterMetricFamily(*self._named, labels=self._labels)
        for labels, count in self._counts.items():
            family.add_metric([str(label) for label in labels], count)
        yield family


class Durations(Collector):
    """How long something took, by its label. For one thread.

    Args:
        name: Of the metric.
        text: Describes it.
        label: Name of the label, empty for none.
        bounds: Of the buckets, in seconds, rising.
    """

    def __init__(self, name: str, text: str, label: str, bounds: Sequence[float]) -> None:
        self._named = name, text
        self._label = label
        self._bounds = bounds
        self._counts: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
        self._sums: defaultdict[str, float] = defaultdict(float)

    def add(self, seconds: float, label: str = "") -> None:
        """Count one."""
        self._counts[label][bisect_left(self._bounds, seconds)] += 1
        self._sums[label] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the metric; part of prometheus_client's collectors."""
        family = HistogramMetricFamily(*self._named, labels=[self._label] if self._label else [])
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for label, counts in self._counts.items():
            buckets = list(zip(names, map(float, accumulate(counts)), strict=True))
            family.add_metric([label] if self._label else [], buckets, self._sums[label])
        yield family
