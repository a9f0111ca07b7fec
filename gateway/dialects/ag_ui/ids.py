"""The ids of AG-UI clients: threads, runs, interrupts, and the cursor in a stream."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from typing import NamedTuple

from holdfast.shared.errors import CursorInvalid, RequestInvalid
from holdfast.shared.ids import EventId, check_session_id, parse_cursor
from holdfast.shared.owner import public_id

MAX_ID = 512
_PLACE = re.compile(r"([0-9-]{3,40})\.([0-9]{1,5})")
_MESSAGE = re.compile(r"(?:message|input)-([A-Za-z0-9_-]{1,64})-[0-9]{1,6}|([A-Za-z0-9_-]{1,64})/.*", re.DOTALL)
_PAIR = re.compile(r"([A-Za-z0-9_-]{1,128})~([\x21-\x7e]{1,128})")


class Cursor(NamedTuple):
    """The last event that a client has received: the event of the log, and the part of it."""

    id: EventId
    part: int


def parse_event_id(text: str) -> Cursor:
    """Parse the id of an event from a client. Raises CursorInvalid."""
    found = _PLACE.fullmatch(text)
    if found is None:
        raise CursorInvalid
    return Cursor(parse_cursor(found[1]), int(found[2]))


def session_of(thread_id: str) -> str:
    """Return the id of a thread's session: the same, or a digest of one that is not a valid session id.

    Raises RequestInvalid if it is empty or too long."""
    if not 0 < len(thread_id) <= MAX_ID:
        raise RequestInvalid("threadId", f"1 to {MAX_ID} characters")
    try:
        return check_session_id(thread_id)
    except RequestInvalid:
        digest = sha256(thread_id.encode("utf-8", "surrogatepass")).digest()
        return f"thread-{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def run_key(run_id: str) -> str:
    """Return the idempotency key of a run. Raises RequestInvalid if its id is empty or too long."""
    if not 0 < len(run_id) <= MAX_ID:
        raise RequestInvalid("runId", f"1 to {MAX_ID} characters")
    return f"ag-ui-{sha256(run_id.encode('utf-8', 'surrogatepass')).hexdigest()}"


def job_run_id(session_id: str, job_id: str) -> str:
    """Return an id of a run that names its session, for clients that join a run by its id alone."""
    return f"{public_id(session_id)}~{job_id}"


def interrupt_id(job_id: str, question_id: str) -> str:
    """Return the id of the interrupt that a question becomes."""
    return f"{job_id}~{question_id}"


def job_of_message(message_id: str) -> str | None:
    """Return the job that the id of a message names: `{job}/…` in a run, `message-{job}-{n}` in a snapshot."""
    found = _MESSAGE.fullmatch(message_id)
    return None if found is None else found[1] or found[2]


def pair_of(text: str) -> tuple[str, str] | None:
    """Return the two ids of a `job_run_id` or an `interrupt_id`; None for another text."""
    found = _PAIR.fullmatch(text)
    return None if found is None else (found[1], found[2])
