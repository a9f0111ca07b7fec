"""What crossings showed, and the table of it."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass
class Findings:
    """What the attempts showed. `times_s`: of a route, with the victim's ids and with those of nobody. `deliveries`:
    of webhooks, by whose they are. `forgeries`: of stored values, by what was forged."""

    attempts: Counter[str] = field(default_factory=Counter)
    statuses: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    times_s: defaultdict[str, tuple[list[float], list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: ([], []))
    )
    deliveries: Counter[str] = field(default_factory=Counter)
    forgeries: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return a table in Markdown."""
        table = ["| route | attempts | answers | time, victim's / nobody's |", "| --- | ---: | --- | ---: |"]
        for name in sorted(self.attempts):
            answers = ", ".join(f"{status} × {count}" for status, count in sorted(self.statuses[name].items()))
            ratio = "–"
            if self.times_s[name][0]:
                theirs, nobodys = map(statistics.median, self.times_s[name])
                ratio = f"{theirs / nobodys:.2f}"
            table.append(f"| `{name}` | {self.attempts[name]:,} | {answers} | {ratio} |")
        total = f"{sum(self.attempts.values()):,} attempts, {len(self.wrong)} wrong"
        webhooks = [f"{count:,} webhooks to {name}" for name, count in sorted(self.deliveries.items())]
        forged = [f"{count} forged: {name}" for name, count in sorted(self.forgeries.items())]
        return [*table, "", *webhooks, *forged, "", total, *self.wrong[:20]]
