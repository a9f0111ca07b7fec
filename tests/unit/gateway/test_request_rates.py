"""The rates that one gateway limits in its memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from holdfast.gateway import request_rates
from holdfast.gateway.errors import RateLimited, problem
from holdfast.gateway.request_rates import LocalBuckets, RateLimits
from holdfast.gateway.settings import GatewaySettings
from holdfast.shared.redis.errors import RedisConnectionError
from holdfast.shared.request_rates import Bucket, Rate, rate
from hypothesis import given
from hypothesis import strategies as st


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Shared:
    """Redis, which counts what it is asked for, and answers with a wait."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.wait_us = 0
        self.away = False

    async def take(self, buckets: Sequence[Bucket]) -> tuple[int, str]:
        self.asked.update(bucket.name for bucket in buckets)
        if self.away:
            raise RedisConnectionError
        return self.wait_us, buckets[0].name


def limits(**rates: Rate) -> tuple[RateLimits, Shared, Time]:
    shared, time = Shared(), Time()
    return RateLimits(shared, **rates, clock=time), shared, time  # type: ignore[arg-type]


async def admitted(subject: RateLimits, tenant: str = "", address: str = "", *, writes: bool = False) -> int:
    """How many requests in a row are admitted."""
    for count in range(1000):
        try:
            if writes:
                await subject.check_write(tenant, address)
            else:
                subject.check(tenant, address)
        except RateLimited:
            return count
    return 1000


class TestRates:
    async def test_a_burst_is_admitted_and_then_the_rate(self) -> None:
        subject, _, time = limits(address=rate(2, 6))
        assert await admitted(subject, address="192.0.2.1") == 6
        time.now += 1
        assert await admitted(subject, address="192.0.2.1") == 2
        time.now += 0.5
        assert await admitted(subject, address="192.0.2.1") == 1
        time.now += 3600
        assert await admitted(subject, address="192.0.2.1") == 6

    @given(
        per_second=st.floats(0.1, 1000),
        burst=st.integers(1, 50),
        pauses=st.lists(st.floats(0, 3), max_size=60),
    )
    def test_never_more_than_the_burst_and_the_rate_are_admitted(
        self, per_second: float, burst: int, pauses: list[float]
    ) -> None:
        time = Time()
        subject, allowed = LocalBuckets(time), rate(per_second, burst)
        tokens, last_us = burst * allowed.interval_us, int(time.now * 1e6)  # a token bucket, the model
        for pause in pauses:
            time.now += pause
            now_us = int(time.now * 1e6)
            tokens = min(tokens + now_us - last_us, allowed.size_us)
            last_us = now_us
            wait_us, _ = subject.take([Bucket("address:a", allowed)])
            assert (wait_us == 0) is (tokens >= allowed.interval_us)
            if wait_us == 0:
                tokens -= allowed.interval_us
            else:
                assert wait_us == allowed.interval_us - tokens

    async def test_a_refusal_takes_from_neither_bucket(self) -> None:
        subject, _, _ = limits(tenant=rate(1, 10), address=rate(1, 2))
        assert await admitted(subject, "acme", "192.0.2.1") == 2
        assert await admitted(subject, "acme", "192.0.2.2") == 2
        assert await admitted(subject, "acme", "") == 6

    async def test_tenants_and_addresses_have_buckets_of_their_own(self) -> None:
        subject, _, _ = limits(tenant=rate(1, 3), address=rate(1, 5))
        assert await admitted(subject, "acme", "192.0.2.1") == 3
        assert await admitted(subject, "globex", "192.0.2.2") == 3
        assert await admitted(subject, "", "192.0.2.3") == 5
        assert await admitted(subject, "", "2001:db8::1") == 5
        assert await admitted(subject, "", "2001:db8::ffff:2") == 0

    async def test_nothing_is_limited_or_asked_without_a_limit(self) -> None:
        subject, shared, _ = limits()
        assert await admitted(subject, "acme", "192.0.2.1", writes=True) == 1000
        assert not shared.asked

    async def test_the_refusal_says_when_to_try_again(self) -> None:
        subject, _, time = limits(tenant=rate(0.25, 1), address=rate(1000, 1))
        subject.check("acme", "192.0.2.1")
        time.now += 0.1
        with pytest.raises(RateLimited, match="This tenant") as raised:
            subject.check("acme", "192.0.2.1")
        assert problem(raised.value).headers["retry-after"] == "4"
        time.now += 3.9
        subject.check("", "192.0.2.1")
        with pytest.raises(RateLimited, match="This address") as raised:
            subject.check("", "192.0.2.1")
        assert raised.value.retry_after_s == 1

    def test_memory_is_bounded_and_the_quietest_bucket_goes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(request_rates, "MAX_BUCKETS", 3)
        time = Time()
        subject, once = LocalBuckets(time), rate(0.1, 2)
        for name in ("a", "b", "c", "a", "d"):
            subject.take([Bucket(name, once)])
        assert len(subject) == 3
        assert subject.take([Bucket("a", once)])[0] > 0
        assert subject.wait_us(Bucket("b", once)) <= 0


class TestWrites:
    async def test_only_what_writes_is_counted_in_redis(self) -> None:
        subject, shared, _ = limits(tenant=rate(1, 20), address=rate(1, 20))
        subject.check("acme", "192.0.2.1")
        assert not shared.asked
        await subject.check_write("acme", "192.0.2.1")
        assert shared.asked == {"tenant:acme": 1, "address:192.0.2.1": 1}

    async def test_the_other_gateways_count(self) -> None:
        subject, shared, _ = limits(tenant=rate(1, 20))
        shared.wait_us = 2_000_001
        with pytest.raises(RateLimited) as raised:
            await subject.check_write("acme", "")
        assert raised.value.retry_after_s == 3

    async def test_a_flood_does_not_reach_redis(self) -> None:
        subject, shared, _ = limits(tenant=rate(1, 5))
        for _ in range(3):
            await admitted(subject, "acme", writes=True)
        assert shared.asked["tenant:acme"] == 5

    async def test_without_redis_the_limit_of_the_gateway_remains(self) -> None:
        subject, shared, _ = limits(tenant=rate(1, 5))
        shared.away = True
        assert await admitted(subject, "acme", writes=True) == 5


class TestFailures:
    def test_an_address_with_too_many_failures_is_refused_for_a_while(self) -> None:
        subject, _, time = limits(failures=rate(3 / 60, 3))
        for _ in range(3):
            subject.check_failures("192.0.2.1")
            subject.count_failure("192.0.2.1")
        for _ in range(5):
            with pytest.raises(RateLimited) as raised:
                subject.check_failures("192.0.2.1")
            assert raised.value.retry_after_s == 20
        subject.check_failures("192.0.2.2")
        time.now += 20
        subject.check_failures("192.0.2.1")

    def test_failures_are_not_limited_by_default(self) -> None:
        subject, _, _ = limits()
        for _ in range(1000):
            subject.count_failure("192.0.2.1")
        subject.check_failures("192.0.2.1")


async def test_the_settings_make_the_limits() -> None:
    settings = GatewaySettings(tenant_requests_per_second=50, address_requests_per_second=1, address_requests_burst=3)
    subject = RateLimits.of(settings, Shared())  # type: ignore[arg-type]
    assert await admitted(subject, "acme") in range(100, 110)
    assert await admitted(subject, "", "192.0.2.1") == 3
