"""Finds steps of `fault_agents.climbs` that were finished and discarded nevertheless."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from shared.discards import Discards
from shared.entries import Entry


def discarded_steps(entries: Sequence[Entry]) -> list[str]:
    """The ends of finished sections that do not count. One is finished when its agent went on behind it in the same
    attempt: the text that comes next is emitted only once the step, or the section, is recorded."""
    discards = Discards()
    discards.learn(entries)
    found = []
    for at, entry in enumerate(entries):
        if entry.kind == "section.ended" and discards.covers(entry.job_id, entry.id):
            rest = [later for later in entries[at:] if later.id.epoch == entry.id.epoch]
            if any(_goes_on(later) for later in rest if later.job_id == entry.job_id):
                found.append(f"{entry.id} {orjson.loads(entry.body)['title']}")
    return found


def _goes_on(entry: Entry) -> bool:
    return entry.kind == "text.delta" and "agent" not in orjson.loads(entry.body)
