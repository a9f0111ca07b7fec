"""Parts of a request that a dialect ignores, named in a field of the response."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from urllib.parse import quote

from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "Holdfast-Ignored"
MAX_NAMES = 20
MAX_NAME_CHARACTERS = 64
_EMPTY: tuple[object, ...] = (None, [], {})


def unknown_fields(body: BaseModel, value: dict[str, object]) -> tuple[str, ...]:
    """Return the fields of a body's JSON value that its model does not have, without empty ones: the first few."""
    known = type(body).model_fields
    unknown = (name for name, given in value.items() if name not in known and given not in _EMPTY)
    return tuple(islice(unknown, MAX_NAMES))


def naming(ignored: Iterable[str], app: ASGIApp) -> ASGIApp:
    """Return a response that names what was ignored, percent-encoded and separated by commas.

    At most MAX_NAMES names of MAX_NAME_CHARACTERS characters: they come from the client."""
    names = [quote(name[:MAX_NAME_CHARACTERS], safe="/[]") for name in islice(ignored, MAX_NAMES)]
    if not names:
        return app
    field = HEADER.lower().encode(), ", ".join(names).encode()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), field]
            await send(message)

        await app(scope, receive, send_named)

    return answer
