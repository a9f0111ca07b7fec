# ruff: noqa: T201 - a script that prints
"""What is wrong with the events that were seen, and the lines that say so."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.scale_check import ENDED, TOKENS
from deploy.scale_check.viewer import Event


def lost(seen: Sequence[Event], log: Sequence[Event]) -> int:
    """How many events of the log were not seen."""
    return len(set(log) - set(seen))


def twice(seen: Sequence[Event]) -> int:
    """How many events were seen again."""
    return len(seen) - len({event.id for event in seen})


def faults(log: Sequence[Event]) -> list[str]:
    """What is wrong with the events of one job: gaps, holes, order, its end, or its text."""
    found = [f"gap: {event.data}" for event in log if event.type == "gap"]
    ids = [tuple(map(int, event.id.split("-"))) for event in log if event.id]
    for before, after in itertools.pairwise(ids):
        if after != (before[0], before[1] + 1) and not (after[0] > before[0] and after[1] == 1):
            found.append(f"{after} follows {before}")
    kinds = Counter(event.type for event in log if event.type.removeprefix("job.") in ENDED)
    if kinds != {"job.completed": 1} or log[-1].type != "job.completed":
        found.append(f"its ends: {dict(kinds)}")
    if text_of(log) != "".join(f"w{number} " for number in range(TOKENS)):
        found.append("the text of its last attempt is not what the agent said")
    return found


def text_of(log: Sequence[Event]) -> str:
    """The text of the latest attempt."""
    text = ""
    for body in (json.loads(event.data) for event in log):
        if body["type"] == "job.started":
            text = ""
        elif body["type"] == "text.delta":
            text += body["text"]
    return text


@dataclass
class Report:
    """Collects what was found, a line each."""

    failed: bool = False

    def check(self, held: bool, text: str) -> None:
        print(f"{'ok    ' if held else 'FAILED'} {text}")
        self.failed = self.failed or not held
