"""The session of a chat, and the run id that names one of its jobs."""

from __future__ import annotations

import base64
import re
from hashlib import sha256

from holdfast.shared.errors import RequestInvalid
from holdfast.shared.ids import check_session_id
from holdfast.shared.owner import public_id

MAX_CHAT_ID = 512
_RUN_ID = re.compile(r"([A-Za-z0-9_-]{1,128})~([A-Za-z0-9_-]{1,64})")


def session_of(chat_id: str) -> str:
    """Return the id of a chat's session: the same, or a digest of one that is not a valid session id.

    Raises RequestInvalid if it is empty, too long, or has the form of a run id."""
    if not 0 < len(chat_id) <= MAX_CHAT_ID:
        raise RequestInvalid("id", f"1 to {MAX_CHAT_ID} characters")
    if job_of_run(chat_id) is not None:
        raise RequestInvalid("id", "must not have the form of a run id, {session}~{job}")
    try:
        return check_session_id(chat_id)
    except RequestInvalid:
        digest = sha256(chat_id.encode("utf-8", "surrogatepass")).digest()
        return f"chat-{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def run_id(session_id: str, job_id: str) -> str:
    """Return the id of a run, from which `job_of_run` finds the job."""
    return f"{public_id(session_id)}~{job_id}"


def job_of_run(text: str) -> tuple[str, str] | None:
    """Return the session id and job id of a run id; None for another text."""
    found = _RUN_ID.fullmatch(text)
    return None if found is None else (found[1], found[2])
