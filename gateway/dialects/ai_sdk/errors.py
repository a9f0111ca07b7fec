"""Errors as the AI SDK presents them: the text of the response becomes the message of `error` in `useChat`."""

from __future__ import annotations

from holdfast.gateway.errors import BodyInvalid, headers_of
from holdfast.shared.errors import HoldfastError, RequestInvalid
from starlette.responses import PlainTextResponse, Response


def error_response(error: HoldfastError) -> Response:
    """Return an error as plain text, with the headers that it has elsewhere."""
    return PlainTextResponse(_text(error), error.status, headers_of(error))


def about_messages(error: RequestInvalid) -> RequestInvalid:
    """Return an error about the input of a job as one about `messages`, of which the gateway has made it."""
    if _sent(error.field) == error.field:
        return error
    if isinstance(error, BodyInvalid):
        return BodyInvalid([(_sent(field), allowed) for field, allowed in error.problems])
    return RequestInvalid(_sent(error.field), str(error).removeprefix(f"{error.field}: "))


def _sent(field: str) -> str:
    return "messages" if field.partition(".")[0] == "input" else field


def _text(error: HoldfastError) -> str:
    if isinstance(error, BodyInvalid):
        return "\n".join(f"{field}: {allowed}" for field, allowed in error.problems)
    return str(error)
