"""Event ids, cursors and the names of sessions and jobs.

An event id is `<epoch>-<seq>`, and is the id of its Redis Stream entry as well. Ids compare as two integers. Untrusted
text is parsed strictly, because Redis itself accepts `$`, `01-02` or `5` as ids.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

from holdfast.shared.errors import CursorInvalid, RequestInvalid

SESSION_ID_PATTERN = r"^[A-Za-z0-9_-]{1,128}$"
MAX_EPOCH = 2**53
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_CURSOR = re.compile(r"0-0|[1-9][0-9]{12,15}-[1-9][0-9]{0,9}")


class EventId(NamedTuple):
    """The id of one event: the epoch of its claim, and its sequence number within the epoch, from 1."""

    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    def next(self) -> EventId:
        return EventId(self.epoch, self.seq + 1)


ORIGIN = EventId(0, 0)
_MIN_EPOCH = 10**12  # as in the grammar of a cursor
_MAX_SEQ = 10**10 - 1
# Skips NamedTuple's Python-level constructor: a third of the cost.
new_id: Callable[[tuple[int, int]], EventId] = partial(cast("Any", tuple.__new__), EventId)


def parse_cursor(text: str) -> EventId:
    """Parse a cursor from a client. Raises CursorInvalid for anything outside the grammar of docs/protocol.md."""
    if _CURSOR.fullmatch(text) is None:
        raise CursorInvalid
    cursor = parse_id(text)
    if cursor.epoch >= MAX_EPOCH:
        raise CursorInvalid
    return cursor


def parse_id(text: str | bytes) -> EventId:
    """Parse an id from a Redis reply."""
    epoch, _, seq = text.partition("-") if isinstance(text, str) else text.partition(b"-")
    return new_id((int(epoch), int(seq)))


def is_event_id(found: EventId) -> bool:
    """Return whether an entry id can be that of an event. Redis also accepts ids that no cursor can name."""
    return 0 < found.seq <= _MAX_SEQ and _MIN_EPOCH <= found.epoch < MAX_EPOCH


def as_cursor(found: EventId) -> EventId:
    """Return the newest valid cursor that is not above an id: the id itself, if it is that of an event."""
    if is_event_id(found) or found == ORIGIN:
        return found
    if found.epoch >= MAX_EPOCH:
        return EventId(MAX_EPOCH - 1, _MAX_SEQ)
    below = EventId(found.epoch, _MAX_SEQ) if found.seq else EventId(found.epoch - 1, _MAX_SEQ)
    return below if below.epoch >= _MIN_EPOCH else ORIGIN


def follows(cursor: EventId, entry: EventId, prev: EventId | None) -> bool:
    """Return whether the entry is the direct successor of the cursor. `prev`: the predecessor that an entry with seq 1
    names."""
    if entry.seq == 1:
        return prev == cursor
    return entry.epoch == cursor.epoch and entry.seq == cursor.seq + 1


def check_session_id(session_id: str) -> str:
    """Return the session id. Raises RequestInvalid when it is not 1 to 128 of `A-Z a-z 0-9 _ -`."""
    if _SESSION_ID.fullmatch(session_id) is None:
        raise RequestInvalid("session_id", "1 to 128 characters of A-Z, a-z, 0-9, '_' and '-'")
    return session_id


def new_session_id() -> str:
    """Return an unguessable session id of 128 random bits."""
    return secrets.token_urlsafe(16)


def new_job_id() -> str:
    """Return a job id of 96 random bits."""
    return secrets.token_urlsafe(12)
