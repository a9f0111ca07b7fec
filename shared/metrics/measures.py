"""Counters and histograms of a process, as plain numbers: counting takes no lock, and another process can add its own.

They are read at each scrape by prometheus_client, whose own metrics take checks and a lock for each increment.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

MOST_VALUES = 100  # of a label in a process
OTHER = "other"

# Upper bounds of the buckets of histograms, in seconds.
CALLS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
JOBS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Family(NamedTuple):
    """A metric: its name without the suffix `_total`, its meaning and the names of its labels. `bounds`: the upper
    bounds of a histogram's buckets; empty for a counter."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


class BoundedValues:
    """The values of one label: those that came first, up to MOST_VALUES. Later ones become OTHER."""

    def __init__(self) -> None:
        self.known: set[str] = set()

    def bounded(self, value: str) -> str:
        """Return the value, or OTHER once there are too many."""
        if value not in self.known:
            if len(self.known) >= MOST_VALUES:
                return OTHER
            self.known.add(value)
        return value


class Count:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Distribution:
    """One series of a histogram: how often a value fell into each bucket, the last of which has no bound, and the sum
    of all values."""

    __slots__ = ("_bounds", "counts", "total")
    counts: list[int]
    total: float

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def add(self, counts: Sequence[int], total: float) -> None:
        """Add what another distribution with the same bounds has counted."""
        self.counts = [own + other for own, other in zip(self.counts, counts, strict=True)]
        self.total += total

    def clear(self) -> None:
        """Start again from 0."""
        self.counts = [0] * (len(self._bounds) + 1)
        self.total = 0.0


class Measures(Collector):
    """The counters and histograms of these families. One thread counts; any thread may collect."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = {family.name: family for family in families}
        self._values: defaultdict[str, BoundedValues] = defaultdict(BoundedValues)
        self._counts: dict[str, dict[tuple[str, ...], Count]] = {name: {} for name in self._families}
        self._distributions: dict[str, dict[tuple[str, ...], Distribution]] = {name: {} for name in self._families}

    def counter(self, name: str, *labels: str) -> Count:
        """Return the series of a counter, for callers that count often."""
        series, values = self._counts[name], self._bounded(name, labels)
        if values not in series:
            series[values] = Count()
        return series[values]

    def histogram(self, name: str, *labels: str) -> Distribution:
        """Return the series of a histogram, for callers that observe often."""
        series, values = self._distributions[name], self._bounded(name, labels)
        if values not in series:
            series[values] = Distribution(self._families[name].bounds)
        return series[values]

    def add(self, name: str, *labels: str, amount: float = 1) -> None:
        """Add to a counter."""
        self.counter(name, *labels).value += amount

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Add a value, in seconds, to a histogram."""
        self.histogram(name, *labels).observe(value)

    def counted(self, name: str) -> int:
        """Return what a counter has counted, over all labels."""
        return int(sum(count.value for count in self._counts[name].values()))

    def observed(self, name: str) -> tuple[int, float]:
        """Return how many values a histogram has, and their sum, over all labels."""
        found = self._distributions[name].values()
        return sum(sum(each.counts) for each in found), sum(each.total for each in found)

    def drain(self) -> dict[str, Any]:
        """Return everything counted so far, as JSON, and start again from 0."""
        drained: dict[str, Any] = {"counts": [], "distributions": []}
        for name, counts in self._counts.items():
            for labels, count in list(counts.items()):
                if count.value:
                    drained["counts"].append([name, labels, count.value])
                    count.value = 0.0
        for name, distributions in self._distributions.items():
            for labels, found in list(distributions.items()):
                if any(found.counts):
                    drained["distributions"].append([name, labels, found.counts, found.total])
                    found.clear()
        return drained

    def merge(self, drained: dict[str, Any]) -> None:
        """Add what another process has drained."""
        for name, labels, count in drained["counts"]:
            self.add(name, *labels, amount=count)
        for name, labels, counts, total in drained["distributions"]:
            self.histogram(name, *labels).add(counts, total)

    def collect(self) -> Iterator[Metric]:
        for family in self._families.values():
            yield self._histogram(family) if family.bounds else self._counter(family)

    def _counter(self, family: Family) -> Metric:
        found = CounterMetricFamily(family.name, family.meaning, labels=family.labels)
        if not family.labels:
            self.counter(family.name)
        for labels, count in dict(self._counts[family.name]).items():
            found.add_metric(labels, count.value)
        return found

    def _histogram(self, family: Family) -> Metric:
        found = HistogramMetricFamily(family.name, family.meaning, labels=family.labels)
        bounds = [*map(floatToGoString, family.bounds), "+Inf"]
        if not family.labels:
            self.histogram(family.name)
        for labels, each in dict(self._distributions[family.name]).items():
            found.add_metric(labels, [*zip(bounds, accumulate(each.counts), strict=True)], each.total)
        return found

    def _bounded(self, name: str, labels: tuple[str, ...]) -> tuple[str, ...]:
        names = self._families[name].labels
        return tuple(self._values[label].bounded(value) for label, value in zip(names, labels, strict=True))
