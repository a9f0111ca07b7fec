"""Authentication within the limits of rates."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.gateway.client_address import Network, client_address
from holdfast.gateway.errors import Unauthenticated
from holdfast.gateway.principal import Authenticate, Principal
from holdfast.gateway.request_rates import RateLimits
from starlette.types import Scope

READS = frozenset({"GET", "HEAD", "OPTIONS"})
PROBES = frozenset({"/livez", "/readyz"})  # a limited probe would restart a gateway that is busy


class RateLimitedAuthentication:
    """Authenticates a request and counts it, by the limits in the state of the process.

    Args:
        trusted: the networks of proxies.
    """

    def __init__(self, authenticate: Authenticate, trusted: Sequence[Network]) -> None:
        self._authenticate = authenticate
        self._trusted = trusted

    async def __call__(self, scope: Scope) -> Principal:
        """Return the caller. Raises RateLimited, and what authentication raises."""
        if scope["path"] in PROBES:
            return await self._authenticate(scope)
        limits: RateLimits = scope["state"]["rate_limits"]
        address = client_address(scope, self._trusted)
        limits.check_failures(address)
        try:
            principal = await self._authenticate(scope)
        except Unauthenticated as error:
            if error.is_invalid:
                limits.count_failure(address)
            limits.check("", address)
            raise
        tenant = "" if principal.owner is None else principal.owner.tenant
        if scope["method"] in READS:
            limits.check(tenant, address)
        else:
            await limits.check_write(tenant, address)
        return principal
