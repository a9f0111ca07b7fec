"""Finds the credentials of a request: the Authorization header, else the query's `ticket`, else a cookie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from holdfast.gateway.errors import Unauthenticated
from starlette.types import Scope

COOKIE = "__Host-holdfast"  # of a sign-in
TICKET_COOKIE = "__Host-holdfast-ticket"
MAX_TOKEN_BYTES = 8192
_SCHEME = b"bearer "
_TICKET = b"ticket="
_COOKIES = (TICKET_COOKIE.encode(), COOKIE.encode())


class Credential(NamedTuple):
    """A token. `ambient`: a browser sends it with every request, whichever page caused that."""

    token: str
    ambient: bool = False


def take_credential(scope: Scope, fields: Mapping[bytes, bytes]) -> Credential | None:
    """Return the credentials of a request, if any. A ticket is taken out of the query string, so that nothing behind
    this can log or repeat it. Raises Unauthenticated."""
    ticket = _take_ticket(scope) if b"ticket=" in scope["query_string"] else None
    given = fields.get(b"authorization")
    if given is not None:
        if given[:7].lower() != _SCHEME or len(given) > MAX_TOKEN_BYTES:
            raise Unauthenticated(f"Authorization must be `Bearer` and a token of at most {MAX_TOKEN_BYTES} bytes")
        return Credential(given[7:].strip().decode("latin-1"))
    if ticket is not None:
        return Credential(ticket)
    cookies = fields.get(b"cookie")
    return None if cookies is None else _in_cookies(cookies)


def _take_ticket(scope: Scope) -> str | None:
    query: bytes = scope["query_string"]
    if b"&" not in query and query.startswith(_TICKET):
        scope["query_string"] = b""
        ticket = query[len(_TICKET) :].decode("latin-1")
        return unquote(ticket) if "%" in ticket else ticket
    parts = query.split(b"&")
    tickets = [part for part in parts if part.startswith(_TICKET)]
    if len(tickets) > 1:
        raise Unauthenticated("only one ticket may be given")
    scope["query_string"] = b"&".join(part for part in parts if not part.startswith(_TICKET))
    return unquote(tickets[0][len(_TICKET) :].decode("latin-1")) if tickets else None


def _in_cookies(header: bytes) -> Credential | None:
    given = dict(part.strip().partition(b"=")[::2] for part in header.split(b";"))
    found = next((given[name] for name in _COOKIES if given.get(name)), None)
    return None if found is None else Credential(found.decode("latin-1"), ambient=True)
