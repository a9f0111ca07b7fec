"""Golden files of AG-UI: what its clients receive of the logs in tests/data/logs.

    python -m tests.support.ag_ui_golden

writes them anew. A changed file is a change of the protocol.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from holdfast.gateway.dialects.ag_ui.history import History
from holdfast.gateway.dialects.ag_ui.ids import Cursor
from holdfast.gateway.dialects.ag_ui.translation import AgUiStream, Progress
from holdfast.gateway.dialects.dialect import CUT, END, Dialect
from holdfast.gateway.dialects.translation import Numbered
from holdfast.shared.ids import EventId, parse_id
from holdfast.shared.log.entries import Entry

DATA = Path(__file__).resolve().parents[1] / "data"
LOGS = sorted(path.stem for path in (DATA / "logs").glob("*.ndjson"))
EPOCH = 1763683200123
HISTORY = History.of([{"id": "m1", "role": "user", "content": "Hello"}])


def log(name: str) -> list[Entry]:
    """Read the log of this name. Each line is an event in the form of the NDJSON dialect."""
    return [_entry(line) for line in (DATA / "logs" / f"{name}.ndjson").read_bytes().splitlines()]


def _entry(line: bytes) -> Entry:
    event = orjson.loads(line)
    event_id = parse_id(event.pop("id"))
    prev = parse_id(event["prev"]) if "prev" in event else None
    return Entry(event_id, event["type"], event.get("job_id", ""), orjson.dumps(event), prev)


def stream(**fields: Any) -> AgUiStream:
    return AgUiStream(**{"thread_id": "t1", "run_id": "r1", "job_id": "j1", "history": HISTORY, **fields})


def joined(**fields: Any) -> AgUiStream:
    """The stream of a client that joins a job that has ended."""
    return stream(**{"snapshot": True, "answered": None, **fields})


def wire(dialect: Dialect, entries: list[Entry]) -> bytes:
    """Return what a viewer of this log receives, with a last line that says how the stream ends early."""
    data, state = dialect.frames(dialect.initial_state, entries)
    return dialect.opening + data + {CUT: b"CUT\n", END: b"END\n"}.get(state, b"")


def golden(name: str) -> dict[str, bytes]:
    """Return the golden files of a log: of a client from the start, and of one that joins at the end."""
    entries = log(name)
    files = {f"{name}.sse": wire(Numbered(stream()), entries)}
    rest = wire(Numbered(joined()), entries)
    opening = Numbered(stream(snapshot=True)).opening
    if rest != opening + files[f"{name}.sse"].removeprefix(Numbered(stream()).opening):
        files[f"{name}.joined.sse"] = rest
    if name == "question":
        files["question.continued.sse"] = wire(Numbered(stream(run_id="r2", after_question="q1")), entries)
    return files


def frames(data: bytes) -> list[bytes]:
    return [frame for frame in data.split(b"\n\n") if frame.startswith(b"id: ")]


def events(data: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(frame.partition(b"data: ")[2]) for frame in data.split(b"\n\n") if b"data: " in frame]


def types(data: bytes) -> list[str]:
    return [event["type"] for event in events(data)]


def entry(seq: int, kind: str, epoch: int = EPOCH, **fields: object) -> Entry:
    body = orjson.dumps({"type": kind, "job_id": "j1", **fields})
    return Entry(EventId(epoch, seq), kind, "j1", body, None)


def cursor_of(frame: bytes) -> Cursor:
    place, _, part = frame.partition(b"\n")[0].removeprefix(b"id: ").decode().partition(".")
    epoch, _, seq = place.partition("-")
    return Cursor(EventId(int(epoch), int(seq)), int(part))


def progress(entries: list[Entry]) -> Progress:
    state: object = stream().initial
    for one in entries:
        assert isinstance(state, Progress)
        state = stream().translate(state, one)[1]
    assert isinstance(state, Progress)
    return state


def main() -> None:
    folder = DATA / "ag_ui"
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*"):
        path.unlink()
    for name in LOGS:
        for file, data in golden(name).items():
            (folder / file).write_bytes(data)


if __name__ == "__main__":
    main()
