"""Tickets: short-lived credentials for one session, for clients that cannot keep a key, or cannot send a header.

A ticket is `hft_<payload>.<signature>`, both base64url: a JSON array, and its HMAC-SHA256. Nothing is stored for it but
the series of its session, see shared/log/ticket_series.py.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

import orjson
from holdfast.gateway.errors import Unauthenticated
from holdfast.gateway.principal import RIGHTS, Principal, Right
from holdfast.shared.owner import Owner

PREFIX = "hft_"
MAX_BYTES = 2048
_LABEL = b"ticket\0"


class Ticket(NamedTuple):
    """What a ticket says. Times are in seconds since 1970.

    Args:
        session: the complete id of its session; empty for a sign-in, which is for all sessions of the owner.
        tenant, subject: the owner, of whom no session need exist.
        until: up to when the ticket may be renewed.
        key_id: the API key that it was made with; empty for other credentials.
        series: that of its session; empty for a sign-in.
    """

    session: str
    tenant: str
    subject: str
    rights: list[Right]
    issued_at: float
    expires_at: float
    until: float
    key_id: str = ""
    series: str = ""


def write_ticket(secret: bytes, ticket: Ticket) -> str:
    """Return the text of a ticket."""
    payload = urlsafe_b64encode(orjson.dumps([*ticket])).rstrip(b"=")
    return f"{PREFIX}{payload.decode()}.{_signature(secret, payload).decode()}"


def read_ticket(secret: bytes | None, text: str) -> Ticket:
    """Return a ticket that was signed with the secret; without one, no ticket is.

    The signature is compared as text, so that a ticket has only one. Raises Unauthenticated; the expiry is not
    checked."""
    payload, _, signature = text.removeprefix(PREFIX).encode("ascii", "replace").rpartition(b".")
    if secret is None or len(text) > MAX_BYTES or not hmac.compare_digest(signature, _signature(secret, payload)):
        raise Unauthenticated("the ticket is not one of this deployment")
    try:
        return Ticket(*orjson.loads(urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))))
    except (ValueError, TypeError):
        raise Unauthenticated("the ticket is malformed") from None


def principal_with(ticket: Ticket) -> Principal:
    """Return the caller that presents a ticket."""
    owner = Owner(ticket.tenant, ticket.subject) if ticket.tenant else None
    return Principal(
        owner,
        RIGHTS.intersection(ticket.rights),
        ticket.expires_at,
        ticket.session or None,
        ticket.key_id or None,
        ticket.issued_at,
        ticket.until,
        series=ticket.series,
    )


def _signature(secret: bytes, payload: bytes) -> bytes:
    return urlsafe_b64encode(hmac.digest(secret, _LABEL + payload, "sha256")).rstrip(b"=")
