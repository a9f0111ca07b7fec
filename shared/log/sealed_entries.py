"""Seal the events of a log and open its entries. Pure.

The place of an event is the name of its entry's field and its id. That of a job's end lacks the id, since the script
that appends it may choose a later one, and since the job's record keeps the same value. `job.started` is written by a
script, which cannot encrypt: its event ends behind `"input":`, and the sealed input is a further field of the entry.
Scripts also write ends without content, see script_events.py. No other plain event is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from holdfast.shared.errors import SealBroken
from holdfast.shared.ids import EventId
from holdfast.shared.log.events import TERMINAL
from holdfast.shared.log.log_replies import Event
from holdfast.shared.log.script_events import is_end, is_start
from holdfast.shared.sealing import MARK, SessionSeal, is_sealed

_ENDS = tuple(f" {kind}".encode() for kind in TERMINAL)
_INPUT = b"input"
_PLAIN = 2  # the name and the event

Reply = Sequence[Sequence[Any]]


def sealed(seal: SessionSeal, first: EventId, events: Iterable[Event]) -> list[Event]:
    """Seal events whose ids follow each other from `first` on."""
    epoch, seq = first
    return [
        Event(kind, job_id, seal.seal(_place(f"{job_id} {kind}".encode(), b"%d-%d" % (epoch, number)), body))
        for number, (kind, job_id, body) in enumerate(events, seq)
    ]


def has_sealed(reply: Reply, anchor: bytes = b"") -> bool:
    """Return whether an entry, other than that with the id `anchor`, is sealed."""
    return any(
        is_sealed(fields[1]) or (len(fields) > _PLAIN and _INPUT in fields[2::2])
        for raw_id, fields in reply
        if raw_id != anchor
    )


def opened(seal: SessionSeal | None, reply: Reply, anchor: bytes = b"", *, plain: bool = False) -> Reply:
    """Open the entries of a reply. One that was changed, moved or forged is made foreign to readers. The entry with the
    id `anchor` is left as it is, and without a seal all that are sealed, which are foreign then.

    `plain`: whether to open events that are not sealed. Raises KeyUnknown."""
    return [(raw_id, fields if raw_id == anchor else _opened(seal, raw_id, fields, plain)) for raw_id, fields in reply]


def _opened(seal: SessionSeal | None, raw_id: bytes, fields: Sequence[bytes], plain: bool) -> Sequence[bytes]:
    name, body = fields[0], fields[1]
    try:
        if is_sealed(body):
            if seal is None:
                return fields
            body = seal.open(_place(name, raw_id), body)
        elif len(fields) > _PLAIN and _INPUT in fields[2::2]:
            if seal is None or not is_start(name, body):
                return _foreign(fields)
            job_id, _, _ = name.partition(b" ")
            body = body + seal.open(job_id + b" input", fields[fields.index(_INPUT, 2) + 1]) + b"}"
        elif not plain and not is_end(name, body):
            return _foreign(fields)
    except SealBroken:
        return _foreign(fields)
    return (name, body) if len(fields) == _PLAIN else (name, body, *fields[2:])


def _foreign(fields: Sequence[bytes]) -> Sequence[bytes]:
    """Return the fields of an entry that readers take for that of another program."""
    return (fields[0], MARK, *fields[2:])


def _place(name: bytes, raw_id: bytes) -> bytes:
    return name if name.endswith(_ENDS) else name + b" " + raw_id
