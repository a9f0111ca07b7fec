"""Whether the viewers got each event once and in order. The load generator keeps the books. Pure."""

from __future__ import annotations

from dataclasses import dataclass


class Void(Exception):
    """A run whose figures do not count."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The sum of all viewers' books. `behind`: published but not there when all had time to come."""

    lost: int
    doubled: int
    disordered: int
    closed: int
    refused: int
    behind: int = 0

    def complaints(self) -> list[str]:
        words = {
            "lost": self.lost,
            "doubled": self.doubled,
            "out of order": self.disordered,
            "closed by the server": self.closed,
            "refused": self.refused,
            "never came": self.behind,
        }
        return [f"{count} {word}" for word, count in words.items() if count]

    def check(self) -> None:
        """Raises Void unless each event came once and in order to every viewer."""
        if self.complaints():
            raise Void(", ".join(self.complaints()))
