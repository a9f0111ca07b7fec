"""Counts over all sessions of a soak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from holdfast.shared.log.events import TERMINAL

from tests.support.history import Transcript


@dataclass
class Tally:
    """`fates` counts sessions by what became of them, `ends` jobs by their terminal event, `viewers` by their kind.
    `faults`: what chaos did. `deliveries`: events that viewers took. `violations`: what breaks a promise."""

    faults: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    viewers: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    deliveries: int = 0
    postponed: int = 0
    violations: list[str] = field(default_factory=list)

    def heard(self, transcripts: Iterable[Transcript]) -> None:
        """Add what these viewers took."""
        for transcript in transcripts:
            self.connections += transcript.connections
            self.deliveries += len(transcript.steps) + getattr(transcript, "folded", 0)

    def ended(self, kinds: Iterable[str]) -> None:
        """Add the ends among these types of events."""
        self.ends.update(kind for kind in kinds if kind in TERMINAL)

    def lines(self) -> list[str]:
        return [
            f"faults      {_listed(self.faults)}",
            f"sessions    {self.fates.total()}: {_listed(self.fates)}; postponed {self.postponed}",
            f"jobs        {self.jobs}; ends seen {_listed(self.ends)}",
            f"viewers     {self.viewers.total()}: {_listed(self.viewers)}",
            f"delivered   {self.deliveries} events over {self.connections} connections",
            f"violations  {len(self.violations)}",
            *(f"            {found}" for found in self.violations[:20]),
        ]


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"
