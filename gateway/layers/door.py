"""Everything that a request has to pass before its route, in one pass over its header fields."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from holdfast.gateway.dialects.dialect import RESUME_REFUSAL, ResumeRefusal
from holdfast.gateway.dialects.registry import choose
from holdfast.gateway.errors import NotAcceptable, RateLimited, Unauthenticated, respond
from holdfast.gateway.layers.host_check import HostCheck, HostNotAllowed
from holdfast.gateway.layers.origin_check import OriginCheck, OriginNotAllowed
from holdfast.gateway.principal import Authenticate
from holdfast.gateway.stream.viewer import retry_ms
from holdfast.shared.errors import HoldfastError, RequestInvalid
from holdfast.shared.trace_context import TRACEPARENT, parse_traceparent
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

# Fields on which a check rests, and the error for a request that has one twice.
_SINGLE: dict[bytes, Callable[[], HoldfastError]] = {
    b"host": HostNotAllowed,
    b"origin": OriginNotAllowed,
    b"sec-fetch-site": OriginNotAllowed,
    b"authorization": Unauthenticated,
    b"holdfast-subject": partial(RequestInvalid, "Holdfast-Subject", "may be sent only once"),
}


class Door:
    """ASGI layer: check Host, origin and credentials, and put the caller's Principal into the scope.

    `scope["fields"]` has the header fields as a dict; of those that are repeated the last one.

    Args:
        authenticate: called once for each HTTP request, see Authenticate.
    """

    def __init__(
        self, app: ASGIApp, host_check: HostCheck, origin_check: OriginCheck, authenticate: Authenticate
    ) -> None:
        self.app = app
        self._host_check = host_check
        self._origin_check = origin_check
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                await self._enter(scope)
            except HoldfastError as error:
                await _refusal(scope, error)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _enter(self, scope: Scope) -> None:
        """Raises the error that refuses the request."""
        fields = scope["fields"] = dict(scope["headers"])
        TRACEPARENT.set(parse_traceparent(fields.get(b"traceparent")))
        if len(fields) < len(scope["headers"]):
            _check_single(scope)
        self._host_check.check(fields)
        self._origin_check.check(scope, fields)
        scope["principal"] = await self._authenticate(scope)
        if "ambient" in scope:
            self._origin_check.check_cookie(scope, fields)


def _check_single(scope: Scope) -> None:
    names = [name for name, _ in scope["headers"]]
    for name, error in _SINGLE.items():
        if names.count(name) > 1:
            raise error()


def _refusal(scope: Scope, error: HoldfastError) -> ASGIApp:
    """Return the response to an error. A stream is refused temporarily in its dialect: a browser gives up on others."""
    if error.status in (429, 503):
        pause_ms = 1000 * error.retry_after_s if isinstance(error, RateLimited) else 0
        refuse_resume: ResumeRefusal = scope.get(RESUME_REFUSAL, _refused_stream)
        try:
            return refuse_resume(scope, pause_ms + retry_ms()) or respond(scope, error)
        except NotAcceptable as unacceptable:
            return respond(scope, unacceptable)
    return respond(scope, error)


def _refused_stream(scope: Scope, retry_ms: int) -> Response | None:
    """Refuse a stream of a dialect that is chosen by Accept. Raises NotAcceptable."""
    if not scope["path"].endswith("/events"):
        return None
    refusal = choose(scope["fields"].get(b"accept", b"").decode("latin-1")).refusal(retry_ms)
    return refusal if refusal.status_code == 200 else None
