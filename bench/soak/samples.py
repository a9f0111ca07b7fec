"""Samples of resource usage during a soak, and the check for growth. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.figures import median, slope
from bench.soak.vitals import Vitals

TENTHS = 10
WARM_UP = 1 / 3
GROWTH = 0.05
NOISE_MIB = 4.0
Pick = Callable[["Sample"], float]


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample. `at_s`: seconds since the start; `jobs`: open jobs."""

    at_s: float
    gateway: Vitals
    worker: Vitals
    redis_mib: float
    viewers: float
    jobs: float


COLUMNS: dict[str, Pick] = {
    "gateway RSS": lambda sample: sample.gateway.rss_mib,
    "PSS": lambda sample: sample.gateway.pss_mib,
    "files": lambda sample: sample.gateway.files,
    "to Redis": lambda sample: sample.gateway.redis,
    "worker RSS": lambda sample: sample.worker.rss_mib,
    "PSS ": lambda sample: sample.worker.pss_mib,
    "files ": lambda sample: sample.worker.files,
    "to Redis ": lambda sample: sample.worker.redis,
    "Redis": lambda sample: sample.redis_mib,
    "viewers": lambda sample: sample.viewers,
    "jobs": lambda sample: sample.jobs,
}
MEMORY = {"gateway": COLUMNS["gateway RSS"], "worker": COLUMNS["worker RSS"]}


@dataclass(frozen=True, slots=True)
class Trend:
    """RSS of one process after the warm-up. `growth_mib`: what the slope comes to over that time."""

    name: str
    level_mib: float
    growth_mib: float
    end_mib: float

    @property
    def allowed_mib(self) -> float:
        return self.level_mib * GROWTH + NOISE_MIB

    @property
    def flat(self) -> bool:
        return self.growth_mib <= self.allowed_mib and self.end_mib <= self.level_mib + self.allowed_mib

    def line(self) -> str:
        return (
            f"{self.name:<11} {'flat' if self.flat else 'NOT FLAT'}: {self.level_mib:.1f} MiB after the warm-up, "
            f"trend {self.growth_mib:+.1f} MiB, when all had gone {self.end_mib - self.level_mib:+.1f} MiB; "
            f"allowed {self.allowed_mib:+.1f} MiB"
        )


@dataclass(frozen=True, slots=True)
class Samples:
    """`base`: before anybody came; `during`, oldest first; `end`: when all had gone."""

    base: Sample
    during: Sequence[Sample]
    end: Sample

    def trends(self) -> list[Trend]:
        seconds = self.during[-1].at_s
        rest = [sample for sample in self.during if sample.at_s >= seconds * WARM_UP]
        return [self._trend(name, pick, rest) for name, pick in MEMORY.items()]

    def left_behind(self) -> list[str]:
        return left_behind(self.base, self.end)

    def markdown(self) -> str:
        """Medians by tenths of the time, in MiB."""
        head = ["", *(title.strip() for title in COLUMNS)]
        rows = [["before", *_cells([self.base])], *self._tenths(), ["all gone", *_cells([self.end])]]
        rule = ["---", *("---:" for _ in COLUMNS)]
        return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])

    def _trend(self, name: str, pick: Pick, rest: Sequence[Sample]) -> Trend:
        points = [(sample.at_s, pick(sample)) for sample in rest]
        growth = slope(points) * (points[-1][0] - points[0][0])
        return Trend(name, median([mib for _, mib in points]), growth, pick(self.end))

    def _tenths(self) -> Iterator[list[str]]:
        seconds = self.during[-1].at_s
        for tenth in range(TENTHS):
            begin_s, end_s = seconds * tenth / TENTHS, seconds * (tenth + 1) / TENTHS
            found = [sample for sample in self.during if begin_s < sample.at_s <= end_s]
            if found:
                yield [f"{begin_s / 60:.1f} to {end_s / 60:.1f} min", *_cells(found)]


def left_behind(base: Sample, end: Sample) -> list[str]:
    """Return what did not return to its initial value. Connections to Redis are bounded by settings instead."""
    pairs = {
        "files of the gateway": (base.gateway.files, end.gateway.files),
        "files of the worker": (base.worker.files, end.worker.files),
        "viewers": (0, end.viewers),
        "jobs": (0, end.jobs),
    }
    return [f"{name}: {after:g} instead of {before:g}" for name, (before, after) in pairs.items() if after > before]


def _cells(samples: Sequence[Sample]) -> list[str]:
    return [_short(median([pick(sample) for sample in samples])) for pick in COLUMNS.values()]


def _short(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"
