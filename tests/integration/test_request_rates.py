"""Rates of requests, with real gateways and a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from holdfast.shared.redis.client import Redis, connect
from holdfast.shared.redis.users import GATEWAY, user_rules
from holdfast.shared.request_rates import Bucket, SharedBuckets, rate

from tests.support.served import Served, served
from tests.support.sse import SseStream
from tests.support.tokens import hs256, with_secret
from tests.support.websocket_client import open_socket, request

SLOW = 0.1  # per second: nothing comes back during a test
JOB = {"agent": "scripted", "input": "hi"}


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    redis = connect(redis_url, max_connections=8)
    yield redis
    await redis.aclose()


class TestScript:
    async def test_a_burst_is_admitted_and_no_more_however_many_ask_at_once(self, redis: Redis) -> None:
        shared, bucket = SharedBuckets(redis), Bucket("tenant:acme", rate(SLOW, 7))
        waits = [wait_us for wait_us, _ in await asyncio.gather(*(shared.take([bucket]) for _ in range(30)))]
        assert waits.count(0) == 7
        assert all(0 < wait_us <= 10_000_000 for wait_us in waits if wait_us)

    async def test_one_empty_bucket_refuses_for_both_and_takes_from_neither(self, redis: Redis) -> None:
        shared = SharedBuckets(redis)
        tenant, address = Bucket("tenant:acme", rate(SLOW, 3)), Bucket("address:a", rate(SLOW, 1))
        assert await shared.take([tenant, address]) == (0, "tenant:acme")
        for _ in range(5):
            wait_us, name = await shared.take([tenant, address])
            assert wait_us > 0
            assert name == "address:a"
        assert [(await shared.take([tenant]))[0] == 0 for _ in range(3)] == [True, True, False]

    async def test_a_bucket_fills_again_and_its_key_vanishes_when_it_is_full(self, redis: Redis) -> None:
        shared, bucket = SharedBuckets(redis), Bucket("tenant:acme", rate(SLOW, 10))
        for _ in range(10):
            await shared.take([bucket])
        key = "holdfast:rate:{tenant:acme}"
        assert await redis.keys("*") == [key.encode()]
        assert 0 < await redis.pttl(key) <= 100_000
        earlier = int(await redis.get(key)) - 40_000_000
        await redis.set(key, earlier)  # as if 40 s had passed
        waits = [(await shared.take([bucket]))[0] for _ in range(6)]
        assert waits.count(0) == 4

    async def test_a_clock_that_was_set_back_costs_one_bucket_at_most(self, redis: Redis) -> None:
        shared, bucket = SharedBuckets(redis), Bucket("tenant:acme", rate(SLOW, 10))
        await shared.take([bucket])
        await redis.incrby("holdfast:rate:{tenant:acme}", 3600 * 1_000_000)
        wait_us, _ = await shared.take([bucket])
        assert 0 < wait_us <= 10_000_000

    async def test_the_user_of_gateways_may_run_it(self, redis: Redis, redis_url: str) -> None:
        await redis.execute_command("ACL", "SETUSER", *user_rules(GATEWAY, ["word"]).split(" (")[0].split())
        for selector in user_rules(GATEWAY, []).split(" (")[1:]:
            await redis.execute_command("ACL", "SETUSER", "gateway", f"({selector}")
        own = connect(redis_url.replace("//", "//gateway:word@"), max_connections=1)
        try:
            buckets = [Bucket("tenant:acme", rate(SLOW, 3)), Bucket("address:a", rate(SLOW, 3))]
            assert (await SharedBuckets(own).take(buckets))[0] == 0
        finally:
            await own.aclose()
            await redis.execute_command("ACL", "DELUSER", "gateway")


def limited(redis_url: str) -> AbstractAsyncContextManager[Served]:
    return served(redis_url, trusted_proxies="127.0.0.0/8", address_requests_per_second=SLOW, address_requests_burst=5)


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    """A gateway that admits 5 requests of each address."""
    async with limited(redis_url) as gateway:
        await gateway.offer("scripted")
        yield gateway


def by(address: str, **headers: str) -> dict[str, str]:
    return {"X-Forwarded-For": address, **headers}


async def use_up(gateway: Served, address: str, count: int = 5) -> None:
    for _ in range(count):
        assert (await gateway.client.get("/v1/agents", headers=by(address))).status_code == 200


class TestGateway:
    async def test_the_response_is_429_with_a_time(self, gateway: Served) -> None:
        await use_up(gateway, "192.0.2.1")
        response = await gateway.client.get("/v1/agents", headers=by("192.0.2.1"))
        assert response.status_code == 429
        assert response.json()["code"] == "rate_limited"
        assert 1 <= int(response.headers["retry-after"]) <= 10
        await use_up(gateway, "192.0.2.2")
        assert (await gateway.client.get("/livez", headers=by("192.0.2.1"))).status_code == 200

    async def test_an_event_source_is_told_when_to_come_again_with_a_200(self, gateway: Served) -> None:
        await use_up(gateway, "192.0.2.1")
        for accept, status in (("text/event-stream", 200), ("application/x-ndjson", 429), ("text/csv", 406)):
            response = await gateway.client.get("/v1/sessions/s/events", headers=by("192.0.2.1", Accept=accept))
            assert response.status_code == status
            if status == 200:
                assert 2000 <= int(response.text.strip().removeprefix("retry: ")) <= 15_000

    async def test_the_limit_has_the_form_of_each_dialect(self, gateway: Served) -> None:
        await use_up(gateway, "192.0.2.1")
        response = await gateway.client.get("/openai/v1/models", headers=by("192.0.2.1"))
        assert response.status_code == 429
        assert response.json()["error"]["code"] == "rate_limited"
        assert "retry-after" in response.headers

    async def test_messages_of_a_websocket_count(self, gateway: Served) -> None:
        async with open_socket(gateway.port, query="?wait=true", additional_headers=by("192.0.2.1")) as socket:
            for _ in range(4):
                assert (await request(socket, type="cancel", job_id="unknown"))["code"] != "rate_limited"
            refused = await request(socket, type="job", ref="7", agent="scripted", input="hi")
        assert refused["code"] == "rate_limited"
        assert refused["ref"] == "7"
        assert 1 <= refused["retry_after_s"] <= 10

    async def test_gateways_count_writes_together_and_reads_alone(self, redis_url: str, gateway: Served) -> None:
        async with limited(redis_url) as other:
            both = [gateway.client, other.client] * 4
            statuses = Counter(
                [await post(client, f"s{number}") for number, client in enumerate(both)],
            )
            assert statuses == {202: 5, 429: 3}
            await use_up(gateway, "192.0.2.2")
            await use_up(other, "192.0.2.2")


async def post(client: httpx2.AsyncClient, session_id: str) -> int:
    response = await client.post(f"/v1/sessions/{session_id}/jobs", json=JOB, headers=by("192.0.2.1"))
    return response.status_code


def signed_in(redis_url: str, **limits: float) -> AbstractAsyncContextManager[Served]:
    """A gateway for users with tokens."""
    values: dict[str, Any] = with_secret().model_dump(include={"jwt_secret", "jwt_issuer", "jwt_audience"})
    return served(redis_url, auth="jwt", trusted_proxies="127.0.0.0/8", **(values | limits))


def of(tenant: str, subject: str, address: str = "192.0.2.1", expires_in_s: float = 600) -> dict[str, str]:
    token = hs256(tenant=tenant, sub=subject, exp=time.time() + expires_in_s)
    return by(address, Authorization=f"Bearer {token}")


class TestTenants:
    async def test_the_users_of_a_tenant_share_its_rate(self, redis_url: str) -> None:
        async with signed_in(redis_url, tenant_requests_per_second=SLOW, tenant_requests_burst=4) as gateway:
            users = [of("acme", "ada"), of("acme", "bo", "192.0.2.2"), of("globex", "ada")]
            answers = [await gateway.client.get("/v1/agents", headers=user) for _ in range(6) for user in users]
        limited = Counter(answer.request.headers["authorization"] for answer in answers if answer.status_code == 429)
        assert limited[users[0]["Authorization"]] + limited[users[1]["Authorization"]] == 8
        assert limited[users[2]["Authorization"]] == 2

    async def test_the_viewers_of_a_tenant_are_limited(self, redis_url: str) -> None:
        async with signed_in(redis_url, tenant_max_viewers=1) as gateway:
            url = f"{gateway.url}/v1/sessions/s/events?wait=true"
            async with SseStream(url, headers=of("acme", "ada")) as stream:
                assert await anext(stream.chunks()) == b"retry: 1000\n\n"
                async with SseStream(url, headers=of("acme", "bo")) as refused:
                    assert [frame async for frame in refused] == []
                async with SseStream(url, headers=of("globex", "ada")) as other:
                    assert await anext(other.chunks()) == b"retry: 1000\n\n"


class TestFailures:
    async def test_an_address_with_invalid_credentials_is_refused_for_a_while(self, redis_url: str) -> None:
        async with signed_in(redis_url, address_auth_failures_per_minute=3) as gateway:
            expired = of("acme", "ada", expires_in_s=-1)
            answers = [await gateway.client.get("/v1/agents", headers=expired) for _ in range(4)]
            assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
            assert (await gateway.client.get("/v1/agents", headers=of("acme", "ada"))).status_code == 429
            assert (await gateway.client.get("/livez", headers=by("192.0.2.1"))).status_code == 200
            assert (await gateway.client.get("/v1/agents", headers=of("acme", "ada", "192.0.2.2"))).status_code == 200

    async def test_a_request_without_a_credential_is_no_failure(self, redis_url: str) -> None:
        async with signed_in(redis_url, address_auth_failures_per_minute=1) as gateway:
            for _ in range(3):
                assert (await gateway.client.get("/v1/agents", headers=by("192.0.2.1"))).status_code == 401

    async def test_requests_that_fail_to_authenticate_count_too(self, redis_url: str) -> None:
        async with signed_in(redis_url, address_requests_per_second=SLOW, address_requests_burst=3) as gateway:
            answers = [await gateway.client.get("/v1/agents", headers=by("192.0.2.1")) for _ in range(4)]
            assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
