"""Rates of requests that all gateways count together, on the queue server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from holdfast.shared import keys
from holdfast.shared.redis.client import Redis
from holdfast.shared.scripts import Script, source

MICROS = 1_000_000


class Rate(NamedTuple):
    """A sustained rate, and how many requests may come at once after a pause.

    Args:
        interval_us: the time in which one request becomes available, in whole µs: sums of it are exact.
    """

    interval_us: int
    burst: int

    @property
    def size_us(self) -> int:
        """The time in which an empty bucket fills up."""
        return self.burst * self.interval_us


def rate(per_second: float, burst: int) -> Rate:
    """Return a rate of at most 1,000,000 requests per second, rounded to whole µs per request."""
    return Rate(round(MICROS / per_second), burst)


class Bucket(NamedTuple):
    """What requests are taken from. `name`: `tenant:…` or `address:…`."""

    name: str
    rate: Rate


class SharedBuckets:
    """The buckets of a deployment. Keys vanish when their bucket is full."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._script = Script(source("rate", "take", prelude=False))

    async def take(self, buckets: Sequence[Bucket]) -> tuple[int, str]:
        """Take one request from each bucket, or none at all if one of them has none left, in one round trip.

        Returns the µs until that one has, 0 if all had, and its name. Raises RedisError."""
        names = [f"{keys.RATE}{{{bucket.name}}}" for bucket in buckets]
        arguments = [time for bucket in buckets for time in (bucket.rate.interval_us, bucket.rate.size_us)]
        wait_us, place = await self._script.run(self._redis.call, names, arguments)
        return int(wait_us), buckets[int(place) - 1].name
