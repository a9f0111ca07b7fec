"""Decides what the viewer of a session gets: its stream, a stream that waits for it, or a refusal."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from holdfast.gateway.dependencies import State
from holdfast.gateway.errors import NO_STORE
from holdfast.gateway.stream.viewer import StreamRequest, retry_ms
from holdfast.shared.errors import SessionUnknown, UnreadableHere
from holdfast.shared.ids import ORIGIN
from holdfast.shared.log.event_log import Entry, Page, Presence
from holdfast.shared.log.events import DELETED
from holdfast.shared.redis.errors import RedisError
from starlette.responses import Response
from starlette.types import ASGIApp

NO_CONTENT = Response(status_code=204, headers=NO_STORE)


class Begin(Protocol):
    """Return the response that streams this request. `first`: the page after its cursor, if it has been read."""

    def __call__(self, request: StreamRequest, first: Page | None = None) -> ASGIApp: ...


async def open_session(
    state: State, request: StreamRequest, begin: Begin, nothing_follows: ASGIApp = NO_CONTENT
) -> ASGIApp:
    """Return the response to a request for a session's stream, or a temporary refusal.

    Args:
        nothing_follows: the response if no event follows the cursor.

    Raises SessionUnknown.
    """
    try:
        presence, first = await state["subscriber"].subscribe(request)
        if presence != "there" or request.deleted:
            return await without_session(state, request, presence, begin, nothing_follows)
    except (RedisError, UnreadableHere):
        return request.dialect.refusal(retry_ms())
    return begin(request, first)


async def without_session(
    state: State, request: StreamRequest, presence: Presence, begin: Begin, nothing_follows: ASGIApp = NO_CONTENT
) -> ASGIApp:
    """Return the response for a session that does not exist or is deleted.

    That is `session.deleted`, as long as the log has it, or a stream that waits for the session. Raises SessionUnknown
    if neither applies, and RedisError."""
    last = await state["log"].last(request.session_id)
    if request.cursor in (None, ORIGIN) and request.wait:
        return _waiting(request, presence, last, begin)
    if request.cursor is None or (last is None and not request.wait):
        raise SessionUnknown
    if last is not None and last.kind == DELETED and request.cursor >= last.id:
        return nothing_follows
    deleted = presence == "deleting" or (last is not None and last.kind == DELETED)
    if not deleted and not request.wait:
        raise SessionUnknown
    return begin(replace(request, deleted=deleted))


def _waiting(request: StreamRequest, presence: Presence, last: Entry | None, begin: Begin) -> ASGIApp:
    """Return a stream that waits for a new session. It begins after the rest of a deleted one with the same id."""
    if presence == "deleting":
        return request.dialect.refusal(retry_ms())
    return begin(replace(request, cursor=None if last is None else last.id, from_now=False))
