"""The routes of event streams, without FastAPI's routing and resolution of parameters.

Resolving parameters takes longer than all other work for a new viewer, which counts in a reconnect storm. So endpoints
read the request themselves, and the parameters are described here for OpenAPI.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Request
from fastapi.routing import APIRoute
from holdfast.gateway.dependencies import address_of, named_session
from holdfast.gateway.dialects.dialect import Dialect
from holdfast.gateway.dialects.registry import choose
from holdfast.gateway.errors import body_invalid, refused
from holdfast.gateway.principal import principal_of
from holdfast.gateway.stream.viewer import StreamRequest
from holdfast.shared.errors import CursorInvalid
from holdfast.shared.ids import EventId, parse_cursor
from pydantic import BaseModel, Field, ValidationError, WithJsonSchema
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

MAX_CURSOR_BYTES = 64
_SUFFIXES = ("/events", "/ws")


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


class FastPath:
    """ASGI layer: pass requests for these routes directly to them, and all others to the app.

    FastAPI's routing would dominate the cost of a reconnect storm."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        self.routes = [route for route in routes if isinstance(route, Route)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith(_SUFFIXES):
            for route in self.routes:
                found = route.path_regex.match(scope["path"])
                if found is not None and scope["method"] in (route.methods or ()):
                    scope.update(route=route, path_params=found.groupdict())
                    await route.handle(scope, receive, send)
                    return
        await self.app(scope, receive, send)


class _Query(BaseModel):
    start: Annotated[Literal["now"] | None, WithJsonSchema({"type": "string", "enum": ["now"]})] = Field(
        None, alias="from", description="Only events from now on. Ignored if there is a cursor"
    )
    raw: bool = Field(False, description="Do not merge deltas while catching up")
    ping: Literal["comment", "event"] = Field(
        "comment",
        description='`event`: send pings as events `{"type":"ping","cursor":"<id>"}` without an id, which an '
        "EventSource also reports. Everything up to `cursor` has been sent",
    )
    wait: bool = Field(
        False,
        description="Wait for a session that does not exist yet, instead of 404. No effect on the stream of a job",
    )


_PLAIN = _Query()


def read_stream_request(request: Request, session_id: str, dialect: Dialect | None = None) -> StreamRequest:
    """Parse a stream request. `dialect`: instead of the one that the Accept header asks for.

    Raises SessionUnknown, CursorInvalid, NotAcceptable; BodyInvalid for a bad query."""
    query = _query(request) if request.scope["query_string"] else _PLAIN
    cursor = _cursor(request)
    from_now = query.start == "now" and cursor is None
    caller = principal_of(request.scope)
    return StreamRequest(
        named_session(session_id, caller, "read"),
        dialect or _dialect(request),
        cursor,
        from_now,
        query.raw,
        wait=query.wait and not caller.session_deleted,
        ping_events=query.ping == "event",
        deleted=caller.session_deleted,
        principal=caller,
        address=address_of(request.scope),
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
    return {"name": name, "in": place, "required": False, "description": description, "schema": schema}


PARAMETERS = [
    *(
        _parameter(
            name, "query", **{key: value for key, value in schema.items() if key != "title" and value is not None}
        )
        for name, schema in _Query.model_json_schema()["properties"].items()
    ),
    _parameter(
        "last_event_id",
        "query",
        "Same as Last-Event-ID, for clients that cannot set headers",
        type="string",
        example="1763683200123-2",
    ),
    _parameter(
        "Last-Event-ID", "header", "The id of the last event processed. Wins over `last_event_id`", type="string"
    ),
]
