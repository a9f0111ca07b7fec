"""Logs of tests/data/conversations and the messages that a gateway makes of them.

A file holds `input`, `events` (id and body each, as in the log, without `job_id`) and `messages` (without `job_id`).
All events are those of one open job, `j1`. Epochs are small in the files and real in a log.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parents[1] / "data" / "conversations"
EPOCH = 1_700_000_000_000
JOB = "j1"


class Golden(NamedTuple):
    name: str
    events: list[tuple[str, dict[str, Any]]]
    messages: list[dict[str, Any]]


def golden() -> list[Golden]:
    """All of them, by name."""
    return [_read(path) for path in sorted(FOLDER.glob("*.json"))]


def _read(path: Path) -> Golden:
    stored = json.loads(path.read_text("utf-8"))
    events = [(_real(event_id), _with_real_ids(body, stored["input"])) for event_id, body in stored["events"]]
    return Golden(path.stem, events, [{**message, "job_id": JOB} for message in stored["messages"]])


def _with_real_ids(body: dict[str, Any], given: Any) -> dict[str, Any]:
    named: dict[str, Any] = {name: _real(body[name]) for name in ("prev", "discard_from") if name in body}
    started = {"input": given} if body["type"] == "job.started" else {}
    return {"job_id": JOB, **body, **named, **started}


def _real(event_id: str) -> str:
    epoch, _, seq = event_id.partition("-")
    return f"{EPOCH + int(epoch)}-{seq}"
