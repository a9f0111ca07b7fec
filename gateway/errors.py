"""Maps every error to an `application/problem+json` response (RFC 9457) with a stable `code`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from holdfast.shared.errors import HoldfastError, LogUnavailable, RequestInvalid, SealBroken
from holdfast.shared.redis.errors import RedisError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
# Together they keep an error response below 16 KiB.
MAX_PROBLEMS = 20
MAX_FIELD_BYTES = 100
MAX_DETAIL_BYTES = 200
NOT_JSON = "nested too deeply: at most 200 levels; integers must fit in 64 bits"
_WORDS = {
    "dict_type": "should be an object",
    "extra_forbidden": "unknown field",
    "list_type": "should be an array",
    "missing": "is required",
    "model_type": "should be an object",
}


class BodyInvalid(RequestInvalid):
    """A body with invalid fields.

    Args:
        problems: (field, what is allowed) pairs, at least one. They are cut to the maximum size of an error response.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        shown = problems[:MAX_PROBLEMS]
        self.problems = [(_cut(field, MAX_FIELD_BYTES), _cut(allowed, MAX_DETAIL_BYTES)) for field, allowed in shown]
        super().__init__(*self.problems[0])


class RequestMalformed(HoldfastError):
    code = "malformed_request"
    status = 400
    title = "The HTTP request is malformed"


class RequestBehindStream(HoldfastError):
    code = "request_behind_stream"
    status = 400
    title = "A request for an event stream must be the last one on its connection"


class RouteUnknown(HoldfastError):
    code = "not_found"
    status = 404
    title = "No route matches this URL"


class Unauthenticated(HoldfastError):
    """The credential of a request is missing or not valid.

    Args:
        detail: why the credential is not valid, without a part of it; left out where there is none.
    """

    code = "unauthenticated"
    status = 401
    title = "The request needs a valid credential"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.is_invalid = detail != ""

    @property
    def challenge(self) -> str:
        """How to authenticate (RFC 6750, section 3.1): the code of an error only where a credential was sent."""
        return 'Bearer error="invalid_token"' if self.is_invalid else 'Bearer realm="holdfast"'


class MethodNotAllowed(HoldfastError):
    """`allow` lists the methods that the URL supports."""

    code = "method_not_allowed"
    status = 405
    title = "The method is not allowed for this URL"

    def __init__(self, allow: list[str]) -> None:
        super().__init__(f"Allowed: {', '.join(allow)}")
        self.allow = allow


class NotAcceptable(HoldfastError):
    """`media_types` lists those of event streams."""

    code = "not_acceptable"
    status = 406

    def __init__(self, media_types: Sequence[str]) -> None:
        self.title = f"Accept must allow {' or '.join(media_types)}"
        super().__init__()


class BodyTimeout(HoldfastError):
    code = "body_timeout"
    status = 408
    title = "The request body did not arrive in time"


class HeadTimeout(HoldfastError):
    code = "head_timeout"
    status = 408
    title = "The request line and header fields did not arrive in time"


class EventsTrimmed(HoldfastError):
    code = "events_trimmed"
    status = 410
    title = "The log no longer has the beginning of this job"


class MediaTypeUnsupported(HoldfastError):
    code = "unsupported_media_type"
    status = 415
    title = "Content-Type must be application/json, in UTF-8"


class CodingUnsupported(HoldfastError):
    code = "unsupported_media_type"
    status = 415
    title = "Content-Encoding must be identity or be left out: a compressed body is not accepted"


class UpgradeRequired(HoldfastError):
    """An address that speaks only WebSocket got a request of another kind (RFC 9110, section 15.5.22)."""

    code = "upgrade_required"
    status = 426
    title = "This address is a WebSocket of version 13 over HTTP/1.1"


class RateLimited(HoldfastError):
    """A tenant or an address sends too many requests, or too many credentials that are not valid.

    Args:
        whose: "tenant" or "address".
        retry_after_s: whole seconds until a request is accepted again, at least 1.
    """

    code = "rate_limited"
    status = 429
    title = "Too many requests"

    def __init__(self, whose: str, retry_after_s: int) -> None:
        super().__init__(f"This {whose} sends too many requests: try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class HeadTooLarge(HoldfastError):
    code = "head_too_large"
    status = 431
    title = "The request line and header fields are too large"


class AuthenticationUnavailable(HoldfastError):
    """Whether a credential is valid cannot be found out at the moment."""

    code = "authentication_unavailable"
    status = 503
    title = "Credentials cannot be checked at the moment"
    retry_after_s = 2


class NotReady(HoldfastError):
    """`reasons` lists what prevents the gateway from serving."""

    code = "not_ready"
    status = 503
    title = "The gateway is not ready"
    retry_after_s = 2

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


def problem(error: HoldfastError) -> Response:
    """Return the response to an error, with the additional members and headers of its class."""
    body = orjson.dumps({"type": "about:blank", **problem_members(error)})
    return Response(body, error.status, headers_of(error), media_type=MEDIA_TYPE)


def headers_of(error: HoldfastError) -> dict[str, str]:
    """Return the headers of the response to an error, in whatever form its body is."""
    headers = dict(NO_STORE)
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allow)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = error.challenge
    if isinstance(error, UpgradeRequired):
        headers |= {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    return headers


def problem_members(error: HoldfastError) -> dict[str, Any]:
    """Return what an error says, in the members of RFC 9457 without `type`, and those of its class."""
    content: dict[str, Any] = {
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
    }
    if isinstance(error, RequestInvalid):
        content["field"] = error.field
    if isinstance(error, BodyInvalid):
        content["errors"] = [{"field": field, "detail": allowed} for field, allowed in error.problems]
    if isinstance(error, LogUnavailable) and error.job_id is not None:
        content["job_id"] = error.job_id
    if isinstance(error, NotReady):
        content["reasons"] = error.reasons
    return content


ErrorResponse = Callable[[HoldfastError], Response]
"""How a dialect presents an error."""

NO_STORE = {"Cache-Control": "no-store"}  # a cache may store a 404 or a 204 by itself (RFC 9110, section 15.1)

ERROR_RESPONSE = "holdfast.error_response"  # the key in the scope of a request to a dialect that has its own


def respond(scope: Scope, error: HoldfastError) -> Response:
    """Return the response to an error in the form that the clients of this path expect."""
    error_response: ErrorResponse = scope.get(ERROR_RESPONSE, problem)
    return error_response(error)


def limit_unknown_fields(model: type[BaseModel], value: Any) -> Any:
    """Drop the unknown fields of a value beyond the first MAX_PROBLEMS: pydantic would build a report for each."""
    if not isinstance(value, dict):
        return value
    unknown = islice((name for name in value if name not in model.model_fields), MAX_PROBLEMS)
    return {name: value[name] for name in (*model.model_fields, *unknown) if name in value}


def body_invalid(errors: Any, root: str) -> BodyInvalid:
    """Convert pydantic's errors to BodyInvalid. `root` names the value itself, where an error has no field."""
    return BodyInvalid([(_field(error["loc"], root), _allowed(error)) for error in errors[:MAX_PROBLEMS]])


def _field(loc: tuple[int | str, ...], root: str) -> str:
    return ".".join(str(part) for part in loc) or root


def _cut(text: str, max_bytes: int) -> str:
    """Cut a text that may come from a client, and replace control characters, which JSON escapes to six bytes each."""
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:max_bytes])
    return printable.encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")


def _allowed(error: Any) -> str:
    """Return what is allowed, in terms of JSON instead of the Python types that pydantic names."""
    if error["type"] in _WORDS:
        return _WORDS[error["type"]]
    message: str = error["msg"].removeprefix("Value error, ").partition(" after validation")[0]
    for subject in ("Input ", "String ", "List "):
        message = message.removeprefix(subject)
    return message


def allowed_methods(request: Request) -> list[str]:
    """Return the methods that a route supports at the path of this request."""
    return [method for method in METHODS if any(_answers(route, request, method) for route in request.app.routes)]


def _answers(route: BaseRoute, request: Request, method: str) -> bool:
    match, _ = route.matches({**request.scope, "method": method})
    return match is Match.FULL


async def _holdfast_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HoldfastError)
    if error.status == 500 and not isinstance(error, SealBroken):  # which was logged where it was found
        return _unexpected(request.scope, error)
    return respond(request.scope, error)


async def _redis_error(request: Request, error: Exception) -> Response:
    logger.warning("redis unavailable; request answered with 503", path=request.url.path, error=repr(error))
    return respond(request.scope, LogUnavailable())


async def _parameters_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [{**one, "loc": one["loc"][1:]} for one in error.errors()[:MAX_PROBLEMS]]
    return respond(request.scope, body_invalid(problems, "request"))


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return respond(request.scope, RouteUnknown())
    if error.status_code == 405:
        return respond(request.scope, MethodNotAllowed(allowed_methods(request)))
    other = HoldfastError(HTTPStatus(error.status_code).phrase)
    other.status = error.status_code
    other.code = HTTPStatus(error.status_code).name.lower()
    other.title = other.detail
    return respond(request.scope, other)


def _unexpected(scope: Scope, error: Exception) -> Response:
    """Log the error with its traceback, and return a response without details."""
    logger.error("unexpected error", method=scope.get("method"), path=scope.get("path"), exc_info=error)
    return respond(scope, HoldfastError())


class UnexpectedErrors:
    """ASGI layer: log each unexpected error once and answer it with a problem without details."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientDisconnect:
            return  # no client is left to respond to
        except Exception as error:  # noqa: BLE001 - the outermost handler
            response = _unexpected(scope, error)
            if not started:
                await response(scope, receive, send)


def presentable(error: Exception, **where: Any) -> HoldfastError:
    """Return the error that a client is shown for this one. Unexpected errors are logged, and shown without details."""
    if isinstance(error, HoldfastError) and error.status != 500:
        return error
    if isinstance(error, RedisError):
        logger.warning("redis unavailable; message answered with an error", **where, error=repr(error))
        return LogUnavailable()
    logger.error("unexpected error", **where, exc_info=error)
    return HoldfastError()


_HANDLERS = {
    HoldfastError: _holdfast_error,
    RedisError: _redis_error,
    RequestValidationError: _parameters_invalid,
    HTTPException: _http_exception,
}


def add_handlers(app: FastAPI) -> None:
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)


async def refused(request: Request, error: Exception) -> Response:
    """Return the response to an error of a route outside FastAPI. Raises the error itself if no handler matches."""
    for kind, handler in _HANDLERS.items():
        if isinstance(error, kind):
            return await handler(request, error)
    raise error
