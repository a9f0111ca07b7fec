"""Find the job that the messages of a client continue, so that the agent reads what the user sees."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from holdfast.gateway.dependencies import State

MOST_NAMED = 100
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Continuation(NamedTuple):
    """The job that a new one follows, and what its input is.

    Args:
        after: None: a new conversation begins.
        first: the index of the first message of the input: behind the last message of the job `after`.
    """

    after: str | None = None
    first: int = 0


async def continued(state: State, session_id: str, named: Sequence[str | None]) -> Continuation:
    """Return how a new message continues the nearest job of the session that the messages before it name.

    A message without an answer names none. It is a part of the input, since its own job, if it has one, may have become
    the answer to a message that the user has edited since.

    Args:
        named: what each of the messages before the new one names, the oldest first. Not all need be jobs.

    Raises:
        RedisError: the log server does not answer.
    """
    nearest = ((name, index) for index, name in reversed(list(enumerate(named))) if name and _JOB_ID.fullmatch(name))
    firsts: dict[str, int] = {}
    for name, index in islice(nearest, MOST_NAMED):
        firsts.setdefault(name, index + 1)
    after = await state["sessions"].nearest(session_id, list(firsts))
    return Continuation() if after is None else Continuation(after, firsts[after])
