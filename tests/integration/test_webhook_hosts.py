"""Webhooks that wait for a host which has enough in delivery: what they cost, and that none is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from holdfast.shared import keys
from holdfast.shared.sessions import Sessions
from holdfast.shared.webhooks.deliveries import WebhookDeliveries, WebhookDelivery
from holdfast.worker.webhooks import webhooks

from tests.support.process import until
from tests.support.receiver import OK, receiver
from tests.support.workers import Client, worker_on

SETTINGS: dict[str, Any] = {
    "webhook_secret": "0123456789abcdef0123456789abcdef",
    "webhook_networks": "127.0.0.0/8",
    "webhook_retry_seconds": 0.05,
}
WAITING = 60


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


@pytest.fixture
def deliveries(client: Client) -> WebhookDeliveries:
    return WebhookDeliveries(client.redis, 10_000)


async def taken(deliveries: WebhookDeliveries, *busy_hosts: str) -> WebhookDelivery:
    delivery = await deliveries.take(60, (), busy_hosts)
    assert delivery is not None
    return delivery


async def wait_for(deliveries: WebhookDeliveries, host: str, *sessions: str) -> None:
    """Let the webhook of a question in each of these sessions wait for the host, `h` or `h2`."""
    for session in sessions:
        await deliveries.ask(session, "j", again=False)
        await deliveries.wait_for_host(await taken(deliveries, "h", "h2"), host)


async def left(client: Client) -> list[bytes]:
    return [key async for key in client.redis.scan_iter(match=f"{keys.QUEUE}webhooks:*")]


async def commands_of_a_take(client: Client, deliveries: WebhookDeliveries, busy_host: str) -> int:
    """The commands of Redis, those within scripts included, of a poll that finds nothing to deliver."""
    assert await deliveries.take(60, (), [busy_host]) is None  # loads the script
    await client.redis.config_resetstat()
    assert await deliveries.take(60, (), [busy_host]) is None
    stats: dict[str, Any] = await client.redis.info("commandstats")
    return sum(each["calls"] for each in stats.values())


async def test_a_poll_costs_no_more_where_many_wait_for_a_busy_host(
    client: Client, deliveries: WebhookDeliveries
) -> None:
    await wait_for(deliveries, "h", "acme//s")
    with_one = await commands_of_a_take(client, deliveries, "h")
    await wait_for(deliveries, "h", *(f"acme//s{number}" for number in range(500)))
    assert await commands_of_a_take(client, deliveries, "h") == with_one


async def test_a_worker_reads_the_record_of_one_that_waits_once_and_not_at_each_poll(
    redis_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "POLL_SECONDS", 0.01)
    counted = count_calls(monkeypatch)
    async with receiver(lambda _: None) as hanging, worker_on(redis_url, **SETTINGS):
        await client.offered("scripted")
        for number in range(WAITING):
            await client.post(f"s{number}", options={"tokens": 1, "interval_ms": 0}, webhook=hanging.hook)
        await until(lambda: counted["webhook"] >= WAITING)
        polls = counted["take"] + 200
        await until(lambda: counted["take"] >= polls)
        assert len(hanging.received) == webhooks.MAX_OF_HOST
    assert counted["webhook"] == WAITING


def count_calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    counted = Counter[str]()
    for owner, name in ((Sessions, "webhook"), (WebhookDeliveries, "take")):
        original = getattr(owner, name)

        async def call(*arguments: Any, name: str = name, original: Any = original) -> Any:
            counted[name] += 1
            return await original(*arguments)

        monkeypatch.setattr(owner, name, call)
    return counted


async def test_all_are_delivered_once_the_host_answers(
    redis_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.worker.webhooks.sender.DEADLINE_SECONDS", 0.2)
    async with receiver(lambda number: OK if number >= webhooks.MAX_OF_HOST else None) as hook:
        async with worker_on(redis_url, **SETTINGS):
            await client.offered("scripted")
            for number in range(WAITING):
                await client.post(f"s{number}", options={"tokens": 1, "interval_ms": 0}, webhook=hook.hook)

            async def none_left() -> bool:
                return await client.queue.depth() == 0 and not await left(client)

            await until(none_left)
        assert len({request.id for request in hook.received}) == WAITING
        assert len(hook.received) == WAITING + webhooks.MAX_OF_HOST


async def test_the_first_that_waits_is_taken_by_any_worker_once_its_host_is_not_busy(
    client: Client, deliveries: WebhookDeliveries
) -> None:
    await wait_for(deliveries, "h", "s1", "s2")
    assert await deliveries.take(60, (), ["h"]) is None
    other = WebhookDeliveries(client.redis, 10_000)
    first, second = await taken(other), await taken(other)
    assert [(each.session_id, each.host) for each in (first, second)] == [("s1", "h"), ("s2", "h")]
    for each in (first, second):
        await other.done(each)
    assert await left(client) == []


async def test_one_that_waited_is_due_again_when_its_worker_dies(client: Client, deliveries: WebhookDeliveries) -> None:
    await wait_for(deliveries, "h", "s")
    leased = await deliveries.take(0)
    again = await taken(deliveries)
    assert leased is not None
    assert leased.name()[:2] == again.name()[:2]


async def test_a_busy_host_does_not_hide_another_host_of_the_tenant(deliveries: WebhookDeliveries) -> None:
    await wait_for(deliveries, "h", "acme//s1", "acme//s2")
    await wait_for(deliveries, "h2", "acme//s3")
    assert (await taken(deliveries, "h")).session_id == "acme//s3"
    await deliveries.ask("acme//s4", "j", again=False)
    assert (await taken(deliveries, "h")).session_id == "acme//s4"


async def test_tenants_that_wait_for_a_busy_host_hide_no_other_tenant(deliveries: WebhookDeliveries) -> None:
    for number in range(50):
        await wait_for(deliveries, "h", f"t{number}//s")
    await deliveries.ask("other//s", "j", again=False)
    assert (await taken(deliveries, "h")).tenant == "other"
    assert await deliveries.take(60, (), ["h"]) is None


async def test_tenants_take_turns_at_a_host(deliveries: WebhookDeliveries) -> None:
    await wait_for(deliveries, "h", "many//s1", "many//s2", "many//s3", "few//s")
    tenants = [(await taken(deliveries)).tenant for _ in range(4)]
    assert sorted(tenants[:2]) == ["few", "many"]


async def test_one_that_is_requested_again_while_it_waits_is_delivered_once(
    client: Client, deliveries: WebhookDeliveries
) -> None:
    await wait_for(deliveries, "h", "s")
    await deliveries.ask("s", "j", again=False)  # the next question
    delivery = await taken(deliveries, "h")
    assert delivery.host == ""
    await deliveries.done(delivery)
    assert await deliveries.take(60) is None
    assert await left(client) == []


async def test_one_whose_tenant_lost_its_turn_is_due_by_itself_in_the_end(
    client: Client, deliveries: WebhookDeliveries
) -> None:
    await wait_for(deliveries, "h", "s")
    [(_, due_us)] = await client.redis.zrange(keys.WEBHOOKS, 0, -1, withscores=True)
    seconds, _ = await client.redis.time()
    assert 3590 < due_us / 1e6 - seconds <= 3601
    await client.redis.delete(f"{keys.WEBHOOK_HOSTS}", f"{keys.WEBHOOK_HOSTS}/h")
    await client.redis.zadd(keys.WEBHOOKS, {"s/j/asked": 1})
    assert (await taken(deliveries)).session_id == "s"
