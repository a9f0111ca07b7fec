"""Routes of tickets, and of the sign-in of a browser."""

from __future__ import annotations

import time
from typing import Literal

from fastapi import APIRouter
from holdfast.gateway.authentication.credentials import COOKIE, TICKET_COOKIE
from holdfast.gateway.authentication.tickets import Ticket, write_ticket
from holdfast.gateway.dependencies import Caller, GatewayState, OptionalJsonBody, State, TicketedSession
from holdfast.gateway.errors import NO_STORE, body_invalid
from holdfast.gateway.principal import Forbidden, Principal, Right
from holdfast.gateway.routes.schemas import SignInAnswer, TicketAnswer, json_response, problems
from holdfast.shared.errors import LogUnavailable, SessionUnknown
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

router = APIRouter(tags=["access"])

TicketRight = Literal["submit", "read", "stop", "answer"]


class TicketBody(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    rights: list[TicketRight] = Field(["read"], min_length=1, max_length=4, description="The caller must have them")
    expires_in_s: int | None = Field(None, ge=1, le=3600, description="Default: HOLDFAST_TICKET_SECONDS")
    renewable: bool = Field(True, description="Send a new ticket in open streams before this one expires")
    cookie: bool = Field(False, description=f"Also set the ticket as the cookie {TICKET_COOKIE}")


@router.post(
    "/v1/sessions/{session_id}/tickets",
    status_code=201,
    response_model=TicketAnswer,
    responses=problems(404, 413, 415, 422, 503),
)
async def create_ticket(
    state: GatewayState, caller: Caller, session_id: TicketedSession, body: OptionalJsonBody
) -> Response:
    """Create a short-lived ticket for one session, for a browser or another client without credentials of its own.

    It is sent as `Authorization: Bearer`, as `?ticket=` or as a cookie."""
    try:
        wanted = TicketBody.model_validate({} if body is None else body.value)
    except ValidationError as error:
        raise body_invalid(
            error.errors(include_url=False, include_context=False, include_input=False), "body"
        ) from None
    for right in wanted.rights:
        caller.check(right)
    series = await state["ticket_series"].begun(session_id)
    now = time.time()
    until = min(caller.expires_at, now + state["settings"].sign_in_seconds)
    expires_at = min(now + (wanted.expires_in_s or state["settings"].ticket_seconds), until)
    ticket = _ticket(caller, session_id, list(wanted.rights), expires_at, until if wanted.renewable else 0, series)
    text = write_ticket(await _secret(state), ticket)
    headers = {"Set-Cookie": cookie(TICKET_COOKIE, text, expires_at - now)} if wanted.cookie else {}
    return json_response({"ticket": text, "expires_at": int(expires_at * 1000)}, 201, headers)


@router.delete("/v1/sessions/{session_id}/tickets", status_code=204, responses=problems(404, 503), response_model=None)
async def revoke_tickets(state: GatewayState, session_id: TicketedSession) -> Response:
    """Revoke all tickets of a session. Streams that were opened with them end."""
    if await state["log"].presence(session_id) != "there":
        raise SessionUnknown
    await state["ticket_series"].end(session_id)
    await state["auth_store"].announce_revocation(session_id)
    return Response(status_code=204, headers=NO_STORE)


@router.post("/v1/sign-in", response_model=SignInAnswer, responses=problems(503))
async def sign_in(state: GatewayState, caller: Caller) -> Response:
    """Exchange the credentials of this request for a cookie that scripts cannot read, for a browser.

    The cookie has the rights of the credentials."""
    if caller.session is not None:
        raise Forbidden("A ticket for one session cannot sign in: an API key or a JWT is needed")
    now = time.time()
    expires_at = min(caller.expires_at, now + state["settings"].sign_in_seconds)
    text = write_ticket(await _secret(state), _ticket(caller, "", sorted(caller.rights), expires_at, 0))
    headers = {"Set-Cookie": cookie(COOKIE, text, expires_at - now)}
    return json_response(_sign_in_json(caller, expires_at), 200, headers)


@router.get("/v1/sign-in", response_model=SignInAnswer)
async def get_sign_in(caller: Caller) -> Response:
    """Tell whose credentials this request has."""
    return json_response(_sign_in_json(caller, caller.expires_at))


@router.delete("/v1/sign-in", status_code=204, response_model=None)
async def sign_out() -> Response:
    """Delete the cookie."""
    return Response(status_code=204, headers=NO_STORE | {"Set-Cookie": cookie(COOKIE, "", 0)})


def cookie(name: str, value: str, max_age_s: float) -> str:
    """Return a Set-Cookie field (RFC 6265bis): sent over TLS or to loopback only, never to scripts or other sites."""
    return f"{name}={value}; Max-Age={int(max_age_s)}; Path=/; Secure; HttpOnly; SameSite=Strict"


def _ticket(
    caller: Principal, session_id: str, rights: list[Right], expires_at: float, until: float, series: str = ""
) -> Ticket:
    tenant, subject = caller.owner or ("", "")
    return Ticket(session_id, tenant, subject, rights, time.time(), expires_at, until, caller.key_id or "", series)


def _sign_in_json(caller: Principal, expires_at: float) -> dict[str, object]:
    owner = caller.owner
    return {
        "tenant": owner and owner.tenant,
        "subject": owner and owner.subject,
        "rights": sorted(caller.rights),
        "expires_at": None if expires_at == float("inf") else int(expires_at * 1000),
    }


async def _secret(state: State) -> bytes:
    """Return what signs tickets. Raises LogUnavailable without it."""
    secret = (await state["auth_watch"].state()).secret
    if secret is None:
        raise LogUnavailable
    return secret
