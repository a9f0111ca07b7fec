"""Finds out who sends a request."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from urllib.parse import unquote

from holdfast.gateway.authentication import tickets
from holdfast.gateway.authentication.auth_watch import AuthWatch
from holdfast.gateway.authentication.claims import Claims
from holdfast.gateway.authentication.credentials import take_credential
from holdfast.gateway.authentication.current import current
from holdfast.gateway.authentication.jwt import JwtVerifier
from holdfast.gateway.errors import Unauthenticated
from holdfast.gateway.principal import RIGHTS, Principal, Right
from holdfast.shared.auth_store import AuthState, parse_key
from holdfast.shared.errors import LogUnavailable, RequestInvalid
from holdfast.shared.log.ticket_series import TicketSeries
from holdfast.shared.owner import Owner, check_subject
from holdfast.shared.redis.errors import RedisError
from starlette.types import Scope

REMEMBERED = 10_000
PUBLIC = frozenset({"/", "/console", "/livez", "/readyz", "/openapi.json"})
USER_RIGHTS = RIGHTS - {"observe", "operate"}
NOBODY = Principal(rights=frozenset())
_SUBJECT = b"holdfast-subject"

Fields = dict[bytes, bytes]


class Authenticator:
    """Authenticates by API keys, JWTs and tickets, and remembers the callers of valid tokens.

    Args:
        keys: whether API keys are accepted.
        jwt: verifies JWTs; None if they are not accepted.
    """

    def __init__(self, watch: AuthWatch, *, keys: bool, jwt: JwtVerifier | None) -> None:
        self._watch = watch
        self._keys = keys
        self._jwt = jwt
        self._known: dict[tuple[str, bytes], Principal] = {}
        self._of: AuthState | None = None

    async def __call__(self, scope: Scope) -> Principal:
        """Return the caller of a request. Raises Unauthenticated, RequestInvalid, and LogUnavailable while keys cannot
        be read."""
        if scope["path"] in PUBLIC or scope["path"].startswith("/web/"):
            return NOBODY
        fields: Fields = scope["fields"]
        credential = take_credential(scope, fields)
        if credential is None:
            raise Unauthenticated
        subject = fields.get(_SUBJECT, b"")
        known = self._known.get((credential.token, subject)) if self._watch.last is self._of else None
        principal = known or await self._learn(credential.token, subject)
        if principal.expires_at <= time.time():
            raise Unauthenticated("the credentials have expired")
        if principal.session is not None:
            principal = await _with_session(principal, principal.session, scope["state"]["ticket_series"])
        if credential.ambient:
            scope["ambient"] = True
        return principal

    async def _learn(self, token: str, subject: bytes) -> Principal:
        state = self._watch.last or await self._watch.state()
        if state is not self._of:
            self._of, self._known = state, {}
        key = parse_key(token) if self._keys else None
        if key is not None:
            principal = await self._key(*key, _subject(subject), state)
        elif subject:
            raise RequestInvalid("Holdfast-Subject", "is allowed with an API key only")
        elif token.startswith(tickets.PREFIX):
            principal = tickets.principal_with(tickets.read_ticket(state.secret, token))
        elif self._jwt is not None:  # which remembers tokens by itself, as long as the issuer's keys stay
            return _as_of(_bearer(await self._jwt.verify(token)), state)
        else:
            raise Unauthenticated("the token is none that is accepted here")
        return self._remember(token, subject, _as_of(principal, await self._watch.state()))

    def _remember(self, token: str, subject: bytes, principal: Principal) -> Principal:
        if len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[token, subject] = principal
        return principal

    async def _key(self, key_id: str, secret: str, subject: str, state: AuthState) -> Principal:
        if key_id not in state.keys:
            state = await self._watch.fresh()
        key = state.keys.get(key_id)
        if key is None or not key.matches(secret):
            raise Unauthenticated("the API key is unknown or was revoked")
        expires_at = math.inf if key.expires_at is None else key.expires_at / 1000
        rights: frozenset[Right] = RIGHTS.intersection(key.rights)
        return Principal(Owner(key.tenant, subject), rights, expires_at, key_id=key_id)


def _bearer(claims: Claims) -> Principal:
    """Return the caller of a JWT. One whose claims say nothing about rights has those of a user."""
    rights = USER_RIGHTS if claims.rights is None else claims.rights
    return Principal(Owner(claims.tenant, claims.subject), rights, claims.expires_at)


def _as_of(principal: Principal, state: AuthState) -> Principal:
    """Return the caller as of these credentials. Raises Unauthenticated."""
    found = current(principal, state)
    if found is None:
        raise Unauthenticated("the credentials were revoked")
    return found


async def _with_session(principal: Principal, session_id: str, series: TicketSeries) -> Principal:
    """Return the caller of a ticket, with the right to read alone if its session was deleted within the last minute.

    Raises Unauthenticated if the ticket was revoked, or its session is gone; LogUnavailable."""
    try:
        found = await series.current(session_id)
        if found == principal.series:
            return principal
        if found is None and await series.of_deleted(session_id) == principal.series:
            return replace(principal, rights=principal.rights & {"read"}, session_deleted=True)
    except RedisError:
        raise LogUnavailable from None
    raise Unauthenticated("the ticket was revoked, or its session has ended")


def _subject(value: bytes) -> str:
    """Return the subject that a header names, percent-encoded if it has other characters than ASCII."""
    try:
        return check_subject(unquote(value.decode("ascii"), errors="strict"))
    except UnicodeDecodeError:
        raise RequestInvalid("Holdfast-Subject", "must be ASCII; percent-encode other characters") from None
    except RequestInvalid as error:
        raise RequestInvalid("Holdfast-Subject", error.detail.removeprefix("subject: ")) from None
