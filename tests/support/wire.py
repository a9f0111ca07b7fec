"""Golden files of dialects: the logs in tests/data/logs, and the bytes that each dialect makes of them.

    python -m tests.support.wire

writes the bytes anew. A changed file is a change of that protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson
from holdfast.gateway.dialects.ai_sdk.translation import UiMessageStream
from holdfast.gateway.dialects.dialect import CUT, Dialect
from holdfast.gateway.dialects.translation import Numbered
from holdfast.shared.ids import parse_id
from holdfast.shared.log.discards import Discard
from holdfast.shared.log.entries import Entry

DATA = Path(__file__).resolve().parents[1] / "data"
LOGS = sorted(path.stem for path in (DATA / "logs").glob("*.ndjson"))


def log(name: str) -> list[Entry]:
    """Read the log of this name. Each line is an event in the form of the NDJSON dialect."""
    return [_entry(line) for line in (DATA / "logs" / f"{name}.ndjson").read_bytes().splitlines()]


def _entry(line: bytes) -> Entry:
    event = orjson.loads(line)
    event_id = parse_id(event.pop("id"))
    prev = parse_id(event["prev"]) if "prev" in event else None
    return Entry(event_id, event["type"], event.get("job_id", ""), orjson.dumps(event), prev)


def takeovers(entries: Sequence[Entry]) -> tuple[Discard, ...]:
    """Return what the starts in a log discarded."""
    starts = [(entry, orjson.loads(entry.body)) for entry in entries if entry.kind == "job.started"]
    found = [(entry, body["discard_from"]) for entry, body in starts if "discard_from" in body]
    return tuple(Discard(entry.job_id, parse_id(first), entry.id) for entry, first in found)


def wire(dialect: Dialect, entries: Sequence[Entry]) -> bytes:
    """Return what a viewer of this log receives, with a last line that says so if the stream is cut."""
    data, state = dialect.frames(dialect.initial_state, entries)
    return dialect.opening + data + (b"CUT\n" if state is CUT else b"")


def ai_sdk(name: str) -> dict[str, bytes]:
    """Return the golden files of the AI SDK for this log, by name. `resumed` and `workflow`: what a client of either
    version, and one that counts chunks, reads if it connects after the takeovers."""
    entries, known = log(name), takeovers(log(name))
    files = {}
    for version in (6, 7):
        files[f"{name}.v{version}.txt"] = wire(Numbered(UiMessageStream("s1", "j1", version)), entries)
    if known:
        for kind, counted in (("resumed", False), ("workflow", True)):
            resumed = UiMessageStream("s1", "j1", 7, counted, discards=known)
            files[f"{name}.{kind}.txt"] = wire(Numbered(resumed), entries)
    return files


def main() -> None:
    for name in LOGS:
        for file, data in ai_sdk(name).items():
            (DATA / "ai_sdk" / file).write_bytes(data)


if __name__ == "__main__":
    main()
