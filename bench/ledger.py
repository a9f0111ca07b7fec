"""Checks that every viewer got each event once and in order, by the counts of the load generator. Pure."""

from __future__ import annotations

from dataclasses import dataclass


class InvalidRun(Exception):
    """The figures of this run are invalid."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The counts of all viewers. `behind`: events published but not received in time."""

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
        """Raise InvalidRun unless every viewer received each event once and in order."""
        if self.complaints():
            raise InvalidRun(", ".join(self.complaints()))
