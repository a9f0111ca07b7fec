"""Webhooks of a worker to a real receiver: what they say, when they come, and when they come again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from holdfast.shared import keys
from holdfast.shared.webhooks.deliveries import WebhookDeliveries
from holdfast.worker.webhooks import webhooks
from holdfast.worker.webhooks.message import MAX_MEMBER_BYTES

from tests.support.process import Processes, until
from tests.support.receiver import OK, Received, receiver
from tests.support.workers import Client, environment, worker_on

SECRET = "0123456789abcdef0123456789abcdef"
SETTINGS: dict[str, Any] = {
    "webhook_secret": SECRET,
    "webhook_networks": "127.0.0.0/8",
    "webhook_retry_seconds": 0.05,
    "lease_seconds": 1,
}
QUICK = {"tokens": 1, "interval_ms": 0}
FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(autouse=True)
def _polls_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "POLL_SECONDS", 0.01)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


@asynccontextmanager
async def working(client: Client, *agents: Callable[..., Any], **settings: Any) -> AsyncIterator[None]:
    """A worker that delivers webhooks, once its agents are on offer."""
    async with worker_on(client.queue_url, agents, **(SETTINGS | settings)):
        await client.offered("scripted", *(agent.__name__ for agent in agents))
        yield


async def offer(client: Client, agent: str = "scripted") -> None:
    """Let jobs be accepted although no worker runs."""
    await client.redis.zadd(keys.AGENTS_SEEN, {agent: 4e15})


async def none_left(client: Client) -> None:
    """Wait until every delivery was made or given up, and nothing of them is left on the queue server."""

    async def gone() -> bool:
        return not [key async for key in client.redis.scan_iter(match=f"{keys.QUEUE}webhooks:*")]

    await until(gone, 8, describe=lambda: "webhooks are left")


def verified(request: Received, tenant: str = "") -> bool:
    """Whether the signature is right, computed as the specification of Standard Webhooks has it."""
    key = hmac.new(SECRET.encode(), b"webhook\0" + tenant.encode(), hashlib.sha256).digest()
    signed = b"%s.%s.%s" % (request.id.encode(), request.headers["webhook-timestamp"].encode(), request.body)
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return request.headers["webhook-signature"] == f"v1,{expected}"


class TestMessages:
    async def test_a_completed_job_is_reported_once_and_signed(self, redis_url: str, client: Client) -> None:
        async with receiver() as hook, working(client):
            await client.post("acme/ann/s", options=QUICK, metadata={"order": 7}, webhook=hook.hook)
            [request] = await hook.got(1)
            await none_left(client)
            job = await client.job("acme/ann/s")
        assert len(hook.received) == 1
        assert verified(request, "acme")
        assert request.line == "POST /hook?key=private-1 HTTP/1.1"
        assert request.headers["host"] == f"127.0.0.1:{hook.port}"
        message = request.message
        assert message["type"] == "job.completed"
        assert message["timestamp"].endswith("Z")
        assert message["data"] == {
            "session_id": "s",
            "job_id": "j1",
            "agent": "scripted",
            "status": "completed",
            "job_url": "/v1/sessions/s/jobs/j1",
            "metadata": {"order": 7},
            "usage": job.usage,
            "result": {"tokens": 1},
        }

    async def test_a_failed_job_is_reported_with_its_error(self, redis_url: str, client: Client) -> None:
        async with receiver() as hook, working(client):
            await client.post(options={"fail_at": 0}, webhook=hook.hook)
            [request] = await hook.got(1)
        assert request.message["type"] == "job.failed"
        assert request.message["data"]["error"]["code"]

    async def test_a_running_and_a_waiting_job_that_are_cancelled_are_reported(
        self, redis_url: str, client: Client
    ) -> None:
        async with receiver() as hook, working(client):
            await client.post(job="runs", options={"interval_ms": 3_600_000}, webhook=hook.hook)
            await client.running(job="runs")
            await client.post(job="waits", webhook=hook.hook)
            await client.cancel(job="waits", by="somebody")
            await client.end(job="waits")
            await client.cancel(job="runs")
            await hook.got(2)
            await none_left(client)
        said = {request.message["data"]["job_id"]: request.message for request in hook.received}
        assert said["waits"]["data"]["by"] == "somebody"
        assert said["runs"]["data"]["status"] == "cancelled"

    async def test_a_job_that_expires_without_an_attempt_is_reported(self, redis_url: str, client: Client) -> None:
        async with receiver() as hook:
            await offer(client, "away")
            await client.post(agent="away", webhook=hook.hook)
            async with working(client, queue_seconds=1):
                [request] = await hook.got(1)
        assert request.message["data"]["error"]["code"] == "expired"

    async def test_a_question_is_reported_and_the_end_after_its_answer(self, redis_url: str, client: Client) -> None:
        async with receiver() as hook, working(client):
            await client.post(options=QUICK | {"ask": "Which?"}, webhook=hook.hook)
            await hook.got(1)
            question = (await client.job()).question
            assert question is not None
            answered = await client.sessions.answer("s", "j1", question["question_id"], b'"this"')
            assert answered.lease_owner is not None
            await client.queue.notify(answered.lease_owner, "s")
            first, second = await hook.got(2)
            await none_left(client)
        assert first.message["type"] == "question.asked"
        assert first.message["data"]["status"] == "waiting"
        assert first.message["data"]["question"] == question
        assert second.message["type"] == "job.completed"
        assert first.id != second.id

    async def test_a_question_asked_by_a_worker_that_died_is_reported_once(
        self, redis_url: str, client: Client, processes: Processes
    ) -> None:
        async with receiver() as hook:
            without = environment(lease_seconds=1)  # it sends no webhooks, and dies before it creates the delivery
            first = processes.worker(redis_url, **without, HOLDFAST_FAILPOINTS="after_question_before_webhook=exit")
            await client.offered("scripted")
            await client.post(options={"ask": "Which?"}, webhook=hook.hook)
            await first.wait()
            async with working(client):
                await hook.got(1)
                await until(lambda: _marked(client))
                await client.queue.make_ready("s", "j1", "scripted")  # parked once more
                await until(lambda: _deferred(client))
                await none_due(client)
        assert [request.message["type"] for request in hook.received] == ["question.asked"]

    async def test_only_the_events_that_were_chosen_are_reported(self, redis_url: str, client: Client) -> None:
        async with receiver() as hook, working(client):
            await client.post(options=QUICK, webhook=hook.hook | {"events": ["question.asked"]})
            await client.end()
            await client.empty()
            await none_left(client)
        assert hook.received == []

    async def test_a_deleted_session_is_not_reported(self, redis_url: str, client: Client) -> None:
        async with receiver() as hook, working(client):
            await client.post(options={"interval_ms": 3_600_000}, webhook=hook.hook)
            await client.running()
            await client.delete()
            await client.empty()
            await none_left(client)
        assert hook.received == []

    async def test_a_large_result_is_left_out(self, redis_url: str, client: Client) -> None:
        async def large(run: Any) -> dict[str, str]:
            return {"text": "x" * MAX_MEMBER_BYTES}

        async with receiver() as hook, working(client, large):
            await client.post(agent="large", webhook=hook.hook)
            [request] = await hook.got(1)
        assert "result" not in request.message["data"]
        assert request.message["data"]["truncated"] == ["result"]


async def _marked(client: Client) -> bool:
    return bool(await client.redis.hexists(keys.WEBHOOK_ASKED, "s/j1"))


async def _deferred(client: Client) -> bool:
    return await client.redis.zscore(keys.DEFERRED, "s/j1") is not None


async def none_due(client: Client) -> None:
    async def none() -> bool:
        return not int(await client.redis.zcard(keys.WEBHOOKS))

    await until(none, 8)


class TestRetries:
    async def test_a_webhook_is_repeated_with_its_id_and_body_until_it_is_accepted(
        self, redis_url: str, client: Client
    ) -> None:
        async with (
            receiver(lambda number: [FAILED, b"", b"nonsense\r\n\r\n", OK][number]) as hook,
            working(client),
        ):
            await client.post(options=QUICK, webhook=hook.hook)
            requests = await hook.got(4)
            await none_left(client)
        assert len(hook.received) == 4
        assert len({(request.id, request.body) for request in requests}) == 1
        assert all(map(verified, requests))

    async def test_a_receiver_that_does_not_answer_is_tried_again(
        self, redis_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("holdfast.worker.webhooks.sender.DEADLINE_SECONDS", 0.1)
        async with receiver(lambda number: OK if number else None) as hook, working(client):
            await client.post(options=QUICK, webhook=hook.hook)
            first, second = await hook.got(2)
        assert first.id == second.id

    async def test_a_refused_connection_is_tried_again(self, redis_url: str, client: Client) -> None:
        async with receiver() as closed:
            pass
        async with working(client):
            await client.post(options=QUICK, webhook=closed.hook)

            async def tried() -> bool:
                return int(await client.redis.hget(keys.WEBHOOK_TRIES, "s/j1/ended") or 0) >= 2

            await until(tried)

    async def test_a_receiver_that_is_gone_gets_no_more(self, redis_url: str, client: Client) -> None:
        async with (
            receiver(lambda _: b"HTTP/1.1 410 Gone\r\n\r\n") as hook,
            working(client),
        ):
            await client.post(options=QUICK, webhook=hook.hook)
            await hook.got(1)
            await none_left(client)
        assert len(hook.received) == 1

    async def test_a_delivery_is_given_up_after_the_last_try(
        self, redis_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(webhooks, "MAX_TRIES", 3)
        before = webhooks.outcomes["given_up"]
        async with receiver(lambda _: FAILED) as hook, working(client):
            await client.post(options=QUICK, webhook=hook.hook)
            await hook.got(3)
            await none_left(client)
        assert len(hook.received) == 3
        assert webhooks.outcomes["given_up"] == before + 1

    async def test_a_redirect_is_not_followed(self, redis_url: str, client: Client) -> None:
        async with receiver() as inner:
            found = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {inner.url}\r\nContent-Length: 0\r\n\r\n".encode()
            async with receiver(lambda _: found) as hook, working(client):
                await client.post(options=QUICK, webhook=hook.hook)
                await hook.got(2)
        assert inner.received == []

    def test_delays_triple_up_to_a_limit(self) -> None:
        delays = [webhooks.delay_s(5, tries) for tries in range(1, webhooks.MAX_TRIES)]
        assert 3.75 <= delays[0] <= 6.25
        assert 33.75 <= delays[2] <= 56.25
        assert max(delays) <= webhooks.LONGEST_DELAY_SECONDS * 1.25
        assert 16 * 3600 < sum(delays) < 30 * 3600


class TestDeaths:
    @pytest.mark.parametrize("point", ["after_finish_before_next_head", "after_next_head_before_drop"])
    async def test_a_worker_that_dies_around_the_end_loses_no_webhook(
        self, redis_url: str, client: Client, processes: Processes, point: str
    ) -> None:
        async with receiver() as hook:
            armed = environment(**SETTINGS) | {"HOLDFAST_FAILPOINTS": f"{point}=exit"}
            worker = processes.worker(redis_url, **armed)
            await client.offered("scripted")
            await client.post(options=QUICK, webhook=hook.hook)
            await worker.wait()
            async with working(client):
                await hook.got(1)
                await none_left(client)
        assert len({request.id for request in hook.received}) == 1

    @pytest.mark.parametrize("point", ["before_webhook", "after_webhook_before_done"])
    async def test_a_delivery_of_a_dead_worker_is_due_again_with_the_same_id(
        self, redis_url: str, client: Client, processes: Processes, point: str
    ) -> None:
        async with receiver() as hook:
            armed = environment(**SETTINGS) | {"HOLDFAST_FAILPOINTS": f"{point}=exit"}
            worker = processes.worker(redis_url, **armed)
            await client.offered("scripted")
            await client.post(options=QUICK, webhook=hook.hook)
            await worker.wait()
            before = len(hook.received)
            await expire_lease(client, "s/j1/ended")
            async with working(client):
                await hook.got(before + 1)
                await none_left(client)
        assert len({request.id for request in hook.received}) == 1
        assert b"private-1" not in worker.output().encode()


async def expire_lease(client: Client, name: str) -> None:
    """Let the time of a lease pass."""
    seconds, _ = await client.redis.time()
    leased_us = await client.redis.zscore(keys.WEBHOOKS, name)
    assert leased_us is not None
    assert leased_us / 1e6 <= seconds + 1 + webhooks.LEASE_SECONDS
    await client.redis.zadd(keys.WEBHOOKS, {name: 1})
    await client.redis.zadd(keys.WEBHOOK_TENANTS, {"": 1})


class TestFairness:
    async def test_a_tenant_whose_receivers_hang_does_not_delay_another(self, redis_url: str, client: Client) -> None:
        count = 2 * webhooks.MAX_IN_DELIVERY
        # Loopback addresses are hosts of their own: the slow tenant has more of them than slots.
        async with receiver(lambda _: None, "0.0.0.0") as hanging, receiver(host="127.0.1.1") as hook:
            await offer(client)
            for number in range(count):
                url = hanging.url.replace("127.0.0.1", f"127.0.0.{number + 1}")
                await client.post(f"slow//s{number}", options=QUICK, webhook={"url": url})
            async with working(client):
                await asyncio.gather(*(client.end(f"slow//s{number}") for number in range(count)))
                await hanging.got(webhooks.MAX_OF_TENANT)
                url = hook.url.replace("127.0.0.1", "127.0.1.1")
                await client.post("fast//s", options=QUICK, webhook={"url": url})
                await hook.got(1)
                assert len(hanging.received) == webhooks.MAX_OF_TENANT

    async def test_the_requests_to_one_host_are_bounded(self, redis_url: str, client: Client) -> None:
        async with receiver(lambda _: None) as hanging, receiver(host="127.0.1.1") as hook:
            await offer(client)
            for number in range(webhooks.MAX_OF_TENANT):
                await client.post(f"s{number}", options=QUICK, webhook=hanging.hook)
            async with working(client):
                await hanging.got(webhooks.MAX_OF_HOST)
                url = hook.url.replace("127.0.0.1", "127.0.1.1")
                await client.post("other", options=QUICK, webhook={"url": url})
                await hook.got(1)
                assert len(hanging.received) == webhooks.MAX_OF_HOST

    async def test_tenants_take_turns(self, client: Client) -> None:
        deliveries = WebhookDeliveries(client.redis, 100)
        for number in range(3):
            await deliveries.ask(f"many//s{number}", "j", again=False)
        await deliveries.ask("few//s", "j", again=False)
        taken = [await deliveries.take(60) for _ in range(5)]
        assert [delivery and delivery.tenant for delivery in taken] == ["many", "few", "many", "many", None]

    async def test_a_lease_that_passed_to_another_worker_ends_nothing(self, client: Client) -> None:
        deliveries = WebhookDeliveries(client.redis, 100)
        await deliveries.ask("s", "j1", again=False)
        first = await deliveries.take(60)
        assert first is not None
        await deliveries.ask("s", "j1", again=False)  # the next question
        await deliveries.done(first)
        await deliveries.retry(first, 60, 1)
        assert await deliveries.take(60) is not None
