"""The jobs behind the ids that a caller names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.gateway.dependencies import State, known_session
from holdfast.gateway.dialects.openai.response_ids import JobAddress, ResponseUnknown
from holdfast.gateway.principal import Principal, Right
from holdfast.shared.errors import JobUnknown, SessionUnknown
from holdfast.shared.job_record import JobState


def known_to(caller: Principal, address: JobAddress, *rights: Right) -> JobAddress:
    """Return a job that an id names, with its complete session id.

    Raises ResponseUnknown, also without the first of the rights to its session; Forbidden without another one."""
    try:
        complete = [known_session(address.session_id, caller, right) for right in rights]
    except SessionUnknown:
        raise ResponseUnknown from None
    return JobAddress(complete[0], address.job_id)


async def job_of(state: State, address: JobAddress) -> JobState:
    """Return the record of a job. Raises ResponseUnknown, RedisError."""
    with unknown_jobs():
        return await state["sessions"].job(*address)


@contextmanager
def unknown_jobs() -> Iterator[None]:
    """Raise ResponseUnknown for a job that does not exist, within the block."""
    try:
        yield
    except (SessionUnknown, JobUnknown):
        raise ResponseUnknown from None
