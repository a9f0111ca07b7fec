"""Find the job that the messages of a client continue, so that the agent reads what the user sees."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from holdfast.gateway.dependencies import State

MOST_NAMED = 100
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


async def job_to_follow(state: State, session_id: str, named: Iterable[str]) -> str | None:
    """Return the job of the session that the nearest of the messages before a new one names; None if none does.

    Args:
        named: what these messages name, the nearest first. Not all need be jobs.

    Raises:
        RedisError: the log server does not answer.
    """
    return await state["sessions"].nearest(session_id, list(islice(filter(_JOB_ID.fullmatch, named), MOST_NAMED)))
