"""Streams of one job in a translation, for the routes of mounted dialects."""

from __future__ import annotations

from collections.abc import Hashable

from fastapi import Request
from holdfast.gateway.coding import stream_coding
from holdfast.gateway.dependencies import State, address_of
from holdfast.gateway.dialects.translation import Numbered, Translation
from holdfast.gateway.errors import EventsTrimmed
from holdfast.gateway.principal import principal_of
from holdfast.gateway.stream.response import EventStream
from holdfast.gateway.stream.viewer import StreamRequest
from holdfast.shared.errors import LogUnavailable
from holdfast.shared.job_record import JobState


def check_room(request: Request, session_id: str) -> None:
    """Refuse a stream while the process stops or a limit of viewers is reached, and a job whose stream would be refused
    before it is accepted. Raises LogUnavailable."""
    state: State = request.scope["state"]
    if not state["hub"].admits(session_id, address_of(request.scope)):
        state["hub"].counters.refused += 1
        raise LogUnavailable


async def stream_job(
    request: Request, state: State, job: JobState, translation: Translation, cursor: Hashable = None
) -> EventStream:
    """Stream a job from its first event on, without the events up to the client's cursor.

    Raises EventsTrimmed if the log no longer has the job's beginning, RedisError, and LogUnavailable as
    check_room."""
    if job.before is not None:
        page = await state["log"].read(job.session_id, job.before, 1)
        if page.gap is not None and page.gap.reason == "trimmed" and page.gap.foreign is None:
            raise EventsTrimmed
    check_room(request, job.session_id)
    viewer = StreamRequest(
        job.session_id,
        Numbered(translation, cursor),
        raw=True,
        job=job,
        principal=principal_of(request.scope),
        address=address_of(request.scope),
    )
    return EventStream(
        state["hub"],
        viewer,
        coding=stream_coding(request.scope["headers"], state["settings"].compress, ends=job.end is not None),
    )
