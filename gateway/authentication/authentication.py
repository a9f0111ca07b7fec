"""The authentication of a gateway process, as its settings say."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace

import orjson
from holdfast.gateway.authentication.auth_watch import AuthWatch
from holdfast.gateway.authentication.authenticator import Authenticator
from holdfast.gateway.authentication.current import current
from holdfast.gateway.authentication.jwt import JwtVerifier, claim_rules
from holdfast.gateway.authentication.ticket_watch import TicketWatch
from holdfast.gateway.authentication.tickets import Ticket, write_ticket
from holdfast.gateway.hosts import is_loopback
from holdfast.gateway.principal import Authenticate, Principal, anonymous
from holdfast.gateway.settings import GatewaySettings
from holdfast.gateway.stream.access import Access, Renewal
from holdfast.shared.auth_store import AuthState, AuthStore
from holdfast.shared.background import repeat
from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.log.ticket_series import TicketSeries
from holdfast.shared.redis.client import connect

REDIS_TIMEOUT_S = 5.0


def check_authentication(settings: GatewaySettings) -> None:
    """Raise SettingsInvalid if the gateway would be open to a network without the operator having said so, or lacks a
    setting that HOLDFAST_AUTH needs."""
    if settings.accepts_jwt:
        claim_rules(settings)
    if settings.auth is None and not is_loopback(settings.host):
        raise SettingsInvalid(
            f"HOLDFAST_AUTH is not set, and HOLDFAST_HOST is {settings.host}, which others can reach: "
            "set keys, jwt or keys,jwt, or off behind a service that authenticates"
        )


class Authentication:
    """The authentication of one gateway process.

    Args:
        authenticate: instead of what the settings say.
    """

    def __init__(self, settings: GatewaySettings, authenticate: Authenticate | None = None) -> None:
        self._redis = connect(settings.redis_url, max_connections=1, socket_timeout_s=REDIS_TIMEOUT_S)
        self._settings = settings
        self.store = AuthStore(self._redis)
        self.watch = AuthWatch(self.store)
        self._jwt = JwtVerifier(settings) if settings.accepts_jwt else None
        self.authenticate: Authenticate = authenticate or self._of_settings()

    def _of_settings(self) -> Authenticate:
        if not self._settings.authenticates:
            return anonymous
        return Authenticator(self.watch, keys=self._settings.accepts_keys, jwt=self._jwt)

    def start(self, access: Access, series: TicketSeries) -> list[asyncio.Task[None]]:
        """Start polling for changes, and end the streams of revoked credentials. Returns the tasks to cancel."""
        if not self._settings.authenticates:
            return []
        self.watch.on_change = lambda _: access.update()
        access.current, access.renew = self._current, self._renew
        polls = {"authentication": self.watch.poll, "tickets": TicketWatch(self.store, series, access).poll}
        return [asyncio.create_task(repeat(name, poll)) for name, poll in polls.items()]

    async def aclose(self) -> None:
        """Close the connections to Redis and to the issuer of JWTs."""
        await self._redis.aclose()
        if self._jwt is not None:
            await self._jwt.aclose()

    def _current(self, principal: Principal) -> Principal | None:
        state = self.watch.last
        return principal if state is None else current(principal, state)

    def _renew(self, principal: Principal) -> Renewal | None:
        """Return a ticket for as long as the caller's was made for."""
        state: AuthState | None = self.watch.last
        if state is None or state.secret is None or principal.owner is None or principal.session is None:
            return None
        now, lifetime_s = time.time(), principal.expires_at - principal.issued_at
        expires_at = min(now + lifetime_s, principal.renewable_until)
        ticket = Ticket(
            principal.session,
            *principal.owner,
            sorted(principal.rights),
            now,
            expires_at,
            principal.renewable_until,
            principal.key_id or "",
            principal.series,
        )
        text = write_ticket(state.secret, ticket)
        event = {"type": "ticket", "ticket": text, "expires_at": math.floor(expires_at * 1000)}
        return Renewal(orjson.dumps(event), replace(principal, issued_at=now, expires_at=expires_at))
