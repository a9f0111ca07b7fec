"""The ids of responses, their items and completions. They name the session and the job, so nothing has to be stored."""

from __future__ import annotations

import re
from typing import NamedTuple

from holdfast.shared.errors import HoldfastError
from holdfast.shared.ids import EventId
from holdfast.shared.owner import public_id

RESPONSE, COMPLETION, CALL = "resp_", "chatcmpl-", "call_"
_RESPONSE_ID = re.compile(r"resp_([A-Za-z0-9_-]{1,128})([A-Za-z0-9_-]{16})")


class ResponseUnknown(HoldfastError):
    code = "response_not_found"
    status = 404
    title = "There is no such response"


class JobAddress(NamedTuple):
    session_id: str
    job_id: str


def response_id(session_id: str, job_id: str) -> str:
    return f"{RESPONSE}{public_id(session_id)}{job_id}"


def completion_id(session_id: str, job_id: str) -> str:
    return f"{COMPLETION}{public_id(session_id)}{job_id}"


def call_id(completion: str, question_id: str) -> str:
    """Return the id of the call that a question becomes in a completion."""
    return f"{CALL}{completion.removeprefix(COMPLETION)}:{question_id}"


def parse_call_id(text: str) -> tuple[JobAddress, str] | None:
    """Return the job and the question of a call, or None if it cannot be one of a completion."""
    job, _, question_id = text.partition(":")
    if not text.startswith(CALL) or not question_id:
        return None
    try:
        return parse_response_id(f"{RESPONSE}{job.removeprefix(CALL)}"), question_id
    except ResponseUnknown:
        return None


def parse_response_id(text: str) -> JobAddress:
    """Return the session and the job that an id names. Raises ResponseUnknown if it cannot be the id of a response."""
    found = _RESPONSE_ID.fullmatch(text)
    if found is None:
        raise ResponseUnknown
    return JobAddress(*found.groups())


def item_id(prefix: str, job: str, at: EventId, index: int) -> str:
    """Return the id of the item of a response that an event begins. `job`: the response's id without its prefix."""
    return f"{prefix}_{job}_{at.epoch}_{at.seq}_{index}"


def parse_item_id(text: str) -> JobAddress:
    """Return the session and the job of an item. Raises ResponseUnknown if it cannot be the id of one."""
    job = text.partition("_")[2].rsplit("_", 3)[0]
    return parse_response_id(f"{RESPONSE}{job}")
