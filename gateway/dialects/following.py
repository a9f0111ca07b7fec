"""Find the job that the messages of a client continue, so that the agent reads what the user sees."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

from holdfast.gateway.dependencies import State

MOST_IDS = 100
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Continuation(NamedTuple):
    """The job that a new one follows, and what its input is.

    Args:
        after: None: a new conversation begins.
        first: the index of the first message of the input: behind the last message of the job `after`.
    """

    after: str | None = None
    first: int = 0


async def continued(state: State, session_id: str, ids: Sequence[str | None]) -> Continuation:
    """Return how a new message continues the nearest job of the session that a message before it is of.

    A message without an answer is of none. It is a part of the input, since its own job, if it has one, may have become
    the answer to a message that the user has edited since.

    Args:
        ids: the id that each of the messages before the new one has of its job, the oldest first. Not all need be
            those of jobs.

    Raises:
        RedisError: the log server does not answer.
    """
    nearest = ((found, index) for index, found in reversed(list(enumerate(ids))) if found and _JOB_ID.fullmatch(found))
    firsts: dict[str, int] = {}
    for job_id, index in islice(nearest, MOST_IDS):
        firsts.setdefault(job_id, index + 1)
    after = await state["sessions"].nearest(session_id, list(firsts))
    return Continuation() if after is None else Continuation(after, firsts[after])


def as_input(messages: list[dict[str, Any]]) -> str | dict[str, list[dict[str, Any]]]:
    """Return a text where all messages are texts of the user, since every agent accepts that."""
    if all(message["role"] == "user" and isinstance(message["content"], str) for message in messages):
        return "\n\n".join(message["content"] for message in messages)
    return {"messages": messages}
