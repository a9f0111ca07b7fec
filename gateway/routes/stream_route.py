"""The route class of event streams, without FastAPI's resolution of parameters.

Resolving parameters takes longer than all other work for a new viewer, which counts in a reconnect storm. So endpoints
read the request themselves, and the parameters are described here for OpenAPI.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import Request
from fastapi.routing import APIRoute
from holdfast.gateway.dependencies import known_session
from holdfast.gateway.dialects.dialect import Dialect
from holdfast.gateway.dialects.registry import choose
from holdfast.gateway.errors import body_invalid, refused
from holdfast.gateway.principal import principal_of
from holdfast.gateway.stream.viewer import StreamRequest
from holdfast.shared.errors import CursorInvalid
from holdfast.shared.ids import EventId, parse_cursor
from pydantic import BaseModel, Field, ValidationError
from starlette.types import Receive, Scope, Send

MAX_CURSOR_BYTES = 64


class StreamRoute(APIRoute):
    """Calls the endpoint with the request and its path parameters."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await self.endpoint(request, **scope["path_params"])
        except Exception as error:  # noqa: BLE001 - raised again unless it maps to a response
            response = await refused(request, error)
        await response(scope, receive, send)


class _Query(BaseModel):
    start: Literal["now"] | None = Field(None, alias="from")
    raw: bool = False
    wait: bool = False
    ping: Literal["comment", "event"] = "comment"


_PLAIN = _Query()


def read_stream_request(request: Request, session_id: str, dialect: Dialect | None = None) -> StreamRequest:
    """Parse a stream request. `dialect`: instead of the one that the Accept header asks for.

    Raises SessionUnknown, CursorInvalid, NotAcceptable; BodyInvalid for a bad query."""
    query = _query(request) if request.scope["query_string"] else _PLAIN
    cursor = _cursor(request)
    from_now = query.start == "now" and cursor is None
    return StreamRequest(
        known_session(session_id, principal_of(request.scope), "read"),
        dialect or _dialect(request),
        cursor,
        from_now,
        query.raw,
        wait=query.wait,
        ping_events=query.ping == "event",
    )


def _query(request: Request) -> _Query:
    try:
        return _Query.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise body_invalid(error.errors(), "request") from None


def _cursor(request: Request) -> EventId | None:
    given = _single(_header(request, b"last-event-id"))
    if not given and request.scope["query_string"]:
        given = _single(request.query_params.getlist("last_event_id"))
    return parse_cursor(given) if given else None


def _header(request: Request, name: bytes) -> list[str]:
    """Return the values of a header, as request.headers.getlist, but without building the Headers object."""
    return [value.decode("latin-1") for given, value in request.scope["headers"] if given == name]


def _single(values: list[str]) -> str:
    if not values:
        return ""
    if len(values) > 1 or len(values[0]) > MAX_CURSOR_BYTES:
        raise CursorInvalid
    return values[0]


def _dialect(request: Request) -> Dialect:
    return choose(next(iter(_header(request, b"accept")), ""))


def _parameter(name: str, place: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": False,
        "description": description,
        "schema": schema,
    }


PARAMETERS = [
    _parameter("from", "query", "Only events from now on. Ignored if there is a cursor", type="string", enum=["now"]),
    _parameter("raw", "query", "Do not merge deltas while catching up", type="boolean", default=False),
    _parameter(
        "ping",
        "query",
        '`event`: send pings as events `{"type":"ping","cursor":"<id>"}` without an id, which an EventSource also '
        "reports. Everything up to `cursor` has been sent",
        type="string",
        enum=["comment", "event"],
        default="comment",
    ),
    _parameter(
        "wait",
        "query",
        "Wait for a session that does not exist yet, instead of 404. No effect on the stream of a job",
        type="boolean",
        default=False,
    ),
    _parameter(
        "last_event_id",
        "query",
        "Same as Last-Event-ID, for clients that cannot set headers",
        type="string",
        example="1763683200123-2",
    ),
    _parameter(
        "Last-Event-ID",
        "header",
        "The id of the last event processed. Wins over `last_event_id`",
        type="string",
    ),
]
