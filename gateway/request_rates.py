"""Limits the rate of requests, per tenant and per address of clients."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache

from holdfast.gateway.client_address import limited_address
from holdfast.gateway.errors import RateLimited
from holdfast.gateway.settings import GatewaySettings
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.request_rates import MICROS, Bucket, Rate, SharedBuckets, rate

MAX_BUCKETS = 10_000
MIN_BURST = 20  # the files of a web page
BURST_S = 2

Clock = Callable[[], float]


class LocalBuckets:
    """The buckets of this process: the algorithm of shared/scripts/rate/take.lua, in memory.

    At most MAX_BUCKETS are kept; the one that was used longest ago is dropped, which fills it.

    Args:
        clock: monotonic time in seconds.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._full_at: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, buckets: Sequence[Bucket]) -> tuple[int, str]:
        """Take one request from each bucket, or none at all if one of them has none left.

        Returns the µs until that one has, and its name; 0 and no name if all had."""
        known = self._full_at  # all in one function, without calls: this is done for every new viewer
        now_us = int(self._clock() * MICROS)
        free_at_us, refusing, filled = now_us, "", []
        for name, (interval_us, burst) in buckets:
            full_at = max(known.get(name, now_us), now_us) + interval_us
            filled.append((name, full_at))
            if full_at - burst * interval_us > free_at_us:
                free_at_us, refusing = full_at - burst * interval_us, name
        if refusing:
            return free_at_us - now_us, refusing
        for name, full_at in filled:
            known.pop(name, None)  # the newest use goes to the end
            known[name] = full_at
        while len(known) > MAX_BUCKETS:
            del known[next(iter(known))]
        return 0, ""

    def wait_us(self, bucket: Bucket) -> int:
        """Return the µs until the bucket has a request; 0 or less if it has one."""
        now_us = int(self._clock() * MICROS)
        full_at = max(self._full_at.get(bucket.name, now_us), now_us) + bucket.rate.interval_us
        return full_at - bucket.rate.size_us - now_us


class RateLimits:
    """The rates of requests of a tenant and of an address.

    A gateway limits all requests in its own memory, and those that write in Redis too, together with all gateways.
    While Redis is unavailable, its own limit remains.

    Args:
        tenant: None: no limit.
        address: None: no limit.
        failures: the rate of failed authentications of an address. None: no limit.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        shared: SharedBuckets,
        tenant: Rate | None = None,
        address: Rate | None = None,
        failures: Rate | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._shared = shared
        self._tenant = tenant
        self._address = address
        self._failures = failures
        self._buckets = lru_cache(MAX_BUCKETS)(self._new_buckets)
        self._local = LocalBuckets(clock)
        self._failed = LocalBuckets(clock)

    @classmethod
    def of(cls, settings: GatewaySettings, shared: SharedBuckets) -> RateLimits:
        """Return the limits that are set."""
        per_minute = settings.address_auth_failures_per_minute
        return cls(
            shared,
            _rate(settings.tenant_requests_per_second, settings.tenant_requests_burst),
            _rate(settings.address_requests_per_second, settings.address_requests_burst),
            None if per_minute is None else rate(per_minute / 60, per_minute),
        )

    def check(self, tenant: str, address: str) -> tuple[Bucket, ...]:
        """Count a request that changes nothing. Returns the buckets that it was taken from.

        Args:
            tenant: empty without authentication.
            address: of `client_address`.

        Raises:
            RateLimited: the request exceeds a limit. It is not counted then.
        """
        buckets = self._buckets(tenant, address)
        if buckets:
            wait_us, name = self._local.take(buckets)
            if wait_us > 0:
                raise _refusal(wait_us, name)
        return buckets

    async def check_write(self, tenant: str, address: str) -> None:
        """Count a request that may change something, here and together with all gateways. As `check`."""
        buckets = self.check(tenant, address)
        if buckets:
            try:
                wait_us, name = await self._shared.take(buckets)
            except RedisError:
                return
            if wait_us > 0:
                raise _refusal(wait_us, name)

    def check_failures(self, address: str) -> None:
        """Raise RateLimited, before a credential is checked, while too many of this address were not valid."""
        if self._failed and self._failures is not None and address:
            bucket = self._failure(address, self._failures)
            if (wait_us := self._failed.wait_us(bucket)) > 0:
                raise _refusal(wait_us, bucket.name)

    def count_failure(self, address: str) -> None:
        """Count a credential that is not valid."""
        if self._failures is not None and address:
            self._failed.take([self._failure(address, self._failures)])

    def _new_buckets(self, tenant: str, address: str) -> tuple[Bucket, ...]:
        buckets = []
        if self._tenant is not None and tenant:
            buckets.append(Bucket(f"tenant:{tenant}", self._tenant))
        if self._address is not None and address:
            buckets.append(Bucket(f"address:{limited_address(address)}", self._address))
        return tuple(buckets)

    @staticmethod
    def _failure(address: str, rate: Rate) -> Bucket:
        return Bucket(f"address:{limited_address(address)}", rate)


def _refusal(wait_us: int, name: str) -> RateLimited:
    return RateLimited(name.partition(":")[0], math.ceil(wait_us / MICROS))


def _rate(per_second: float | None, burst: int | None) -> Rate | None:
    if per_second is None:
        return None
    return rate(per_second, burst or max(MIN_BURST, math.ceil(BURST_S * per_second)))
