"""The limit of the webhooks of a tenant that wait for their delivery."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from holdfast.shared import keys
from holdfast.shared.webhooks import refused_webhooks
from holdfast.shared.webhooks.deliveries import WebhookDeliveries
from structlog.testing import capture_logs

from tests.support.workers import Client

REFUSED = "webhook refused: too many of its tenant wait"
HOOK = {"url": "https://example.com/hook?key=private-1"}


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    """A client of a deployment in which a tenant may have two webhooks."""
    client = Client(redis_url, tenant_webhook_limit=2)
    await client.redis.zadd(keys.AGENTS_SEEN, {"scripted": 4e15})
    yield client
    await client.close()


async def waiting(client: Client, tenant: str) -> set[str]:
    return {name.decode() for name in await client.redis.zrange(keys.WEBHOOKS + tenant, 0, -1)}


def refused(logged: Any) -> list[str]:
    """The jobs of which a log line says that their webhook was refused, which is all that it says."""
    lines = [line for line in logged if line["event"] == REFUSED]
    assert all(set(line) == {"event", "log_level", "session_id", "job_id", "webhook"} for line in lines)
    return [line["job_id"] for line in lines]


async def test_the_newest_webhook_of_a_tenant_is_refused_when_jobs_end_while_they_wait(client: Client) -> None:
    before = refused_webhooks.counts["ended"]
    for number in range(3):
        await client.post("acme//s", f"j{number}", webhook=HOOK)
    await client.post("other//s", "j", webhook=HOOK)
    await client.post("acme//s", "without")
    with capture_logs() as logged:
        await client.queue.retire("acme//s", ["j0", "j1", "j2", "without"])
        await client.queue.retire("other//s", ["j"])
    assert await waiting(client, "acme") == {"acme//s/j0/ended", "acme//s/j1/ended"}
    assert await waiting(client, "other") == {"other//s/j/ended"}
    assert refused(logged) == ["j2"]
    assert refused_webhooks.counts["ended"] == before + 1


async def test_the_newest_webhook_is_refused_when_a_job_ends_and_its_entry_is_dropped(client: Client) -> None:
    with capture_logs() as logged:
        for number in range(3):
            await client.post(f"s{number}", "j", webhook=HOOK)
            [entry] = await client.queue.take("w1", ["scripted"], 1)
            assert await client.queue.drop("w1", entry)
    assert await waiting(client, "") == {"s0/j/ended", "s1/j/ended"}
    assert refused(logged) == ["j"]
    assert await client.queue.depth() == 0


async def test_a_question_is_refused_likewise_and_one_that_waits_may_be_repeated(client: Client) -> None:
    deliveries = WebhookDeliveries(client.redis, 2)
    with capture_logs() as logged:
        for job_id in ("j1", "j2", "j3"):
            await deliveries.ask("s", job_id, again=False)
        await deliveries.ask("s", "j2", again=True)
    assert await waiting(client, "") == {"s/j1/asked", "s/j2/asked"}
    assert refused(logged) == ["j3"]


async def test_a_delivery_is_retried_although_its_tenant_has_too_many(client: Client) -> None:
    deliveries = WebhookDeliveries(client.redis, 2)
    for job_id in ("j1", "j2"):
        await deliveries.ask("s", job_id, again=False)
    delivery = await deliveries.take(60)
    assert delivery is not None
    await WebhookDeliveries(client.redis, 1).retry(delivery, 0, 1)
    assert len(await waiting(client, "")) == 2
