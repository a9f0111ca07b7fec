"""What clients lost and got twice over connections that were cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Self


@dataclass
class CutCounts:
    """`items`: the events, chunks or words that were compared. `wrong`: what else differs from the log."""

    cuts: int = 0
    items: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, cuts: int, received: Sequence[Hashable], expected: Sequence[Hashable]) -> Self:
        """Compare what a client received with what one receives that is never cut."""
        lost, doubled = Counter(expected) - Counter(received), Counter(received) - Counter(expected)
        wrong = ["another order"] if not (lost or doubled) and list(received) != list(expected) else []
        return cls(cuts, len(expected), lost.total(), doubled.total(), wrong)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)

    def add(self, other: CutCounts) -> None:
        self.cuts += other.cuts
        self.items += other.items
        self.lost += other.lost
        self.doubled += other.doubled
        self.wrong += other.wrong
