"""What became of the steps of `fault_agents.climbs`, and of what was said, over all attempts at a job."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from holdfast.shared.log.discards import Discards
from holdfast.shared.log.entries import Entry

Texts = dict[str | None, str]  # by who says them


@dataclass
class StepCounts:
    """Of all jobs: steps and sections that were finished, runs of steps, runs that were cut before they were recorded,
    takeovers that kept something and that kept nothing, further starts, and discarded events."""

    finished: int = 0
    runs: int = 0
    cut: int = 0
    resumed: int = 0
    began_again: int = 0
    diverged: int = 0
    discarded: int = 0

    def line(self) -> str:
        return (
            f"{self.finished} finished, {self.runs} runs of which {self.cut} were cut before they were recorded; "
            f"takeovers: {self.resumed} behind a step, {self.began_again} from the start, {self.diverged} diverged; "
            f"{self.discarded} events discarded"
        )

    def count(self, entries: Sequence[Entry]) -> None:
        """Count what a session's log tells."""
        discards = Discards()
        discards.learn(entries)
        kept = discards.kept(entries)
        self.finished += sum(entry.kind == "section.ended" for entry in kept)
        self.discarded += len(entries) - len(kept)
        first: dict[str, Entry] = {}
        attempts: set[tuple[str, int]] = set()
        for entry in entries:
            if entry.kind == "job.started":
                body = orjson.loads(entry.body)
                attempt = entry.job_id, body["attempt"]
                begin = first.setdefault(entry.job_id, entry)
                if attempt in attempts:
                    self.diverged += 1
                elif begin is not entry:
                    again = body["discard_from"] == str(begin.id)
                    self.began_again += again
                    self.resumed += not again
                attempts.add(attempt)

    def count_runs(self, job_id: str, lines: Sequence[str]) -> list[str]:
        """Count the runs of a job's steps, as fault_agents.Runs has noted them. Returns those that were wrong."""
        times = Counter(line.split()[0] for line in lines)
        self.runs += len(lines)
        self.cut += len(lines) - len(times)
        return [f"P5 job {job_id}: {line} was run though it was finished" for line in lines if line.endswith(" 1")]


def texts_of(entries: Sequence[Entry]) -> dict[str, Texts]:
    """The text of each job that counts in the end."""
    discards = Discards()
    discards.learn(entries)
    texts: defaultdict[str, defaultdict[str | None, str]] = defaultdict(lambda: defaultdict(str))
    for entry in discards.kept(entries):
        if entry.kind == "text.delta":
            event = orjson.loads(entry.body)
            texts[entry.job_id][event.get("agent")] += event["text"]
    return {job_id: dict(by_agent) for job_id, by_agent in texts.items()}


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
