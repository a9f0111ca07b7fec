"""Score cards: what each check found on each server, as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum


class Outcome(Enum):
    PASSED = "pass"
    FAILED = "FAIL"
    LEFT_OUT = "–"


@dataclass(frozen=True, slots=True)
class Result:
    """`reason`: one line; empty where nothing needs to be said."""

    title: str
    outcome: Outcome
    reason: str = ""

    def line(self) -> str:
        return f"{self.outcome.value:5}{self.title}" + (f": {self.reason}" if self.reason else "")


@dataclass(slots=True)
class Card:
    """The results of one server, in the order of the checks."""

    name: str
    results: list[Result] = field(default_factory=list)

    def count(self, outcome: Outcome) -> int:
        return sum(result.outcome is outcome for result in self.results)

    @property
    def score(self) -> str:
        carried_out = len(self.results) - self.count(Outcome.LEFT_OUT)
        return f"{self.count(Outcome.PASSED)} of {carried_out}"

    def markdown(self) -> str:
        """A table with a row for each check, under the server's name and its score."""
        lines = ["| check | result | |", "| --- | --- | --- |"]
        lines += [f"| {result.title} | {result.outcome.value} | {_cell(result.reason)} |" for result in self.results]
        return "\n".join([f"### {self.name}: {self.score}", "", *lines])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


BEGIN, END = "<!-- score cards -->", "<!-- /score cards -->"


def place(document: str, cards: Sequence[Card]) -> str:
    """The document with these cards between its markers. Raises ValueError when it has none."""
    before, began, rest = document.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not began or not ended:
        raise ValueError(f"no place for the score cards: {BEGIN} … {END}")
    tables = "\n\n".join(card.markdown() for card in cards)
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"
