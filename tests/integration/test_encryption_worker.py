"""Workers with encryption at rest: a key that is gone, and one that this worker lacks."""

from __future__ import annotations

from typing import Any

import pytest
from holdfast.shared import keyring
from holdfast.shared.data_keys import DataKeys
from holdfast.worker.webhooks import webhooks

from tests.support.process import until
from tests.support.receiver import receiver
from tests.support.sealed import master_key, master_keys
from tests.support.served import Served, served
from tests.support.workers import worker_on

SESSION = "/v1/sessions/s"


def data_keys(gateway: Served, *ids: str) -> DataKeys:
    return DataKeys(gateway.redis, {key_id: master_key(key_id) for key_id in ids})


async def posted(gateway: Served, webhook: object = None, **options: int) -> str:
    body = {"agent": "scripted", "input": "x", "options": options, "webhook": webhook}
    await gateway.offer("scripted")
    return str((await gateway.client.post(f"{SESSION}/jobs", json=body)).json()["job_id"])


async def until_ended(gateway: Served, job_id: str) -> dict[str, object]:
    async def ended() -> bool:
        return (await job(gateway, job_id))["ended_at"] is not None

    await until(ended)
    return await job(gateway, job_id)


async def job(gateway: Served, job_id: str) -> dict[str, object]:
    found: dict[str, object] = (await gateway.client.get(f"{SESSION}/jobs/{job_id}")).json()
    return found


async def test_a_job_in_a_session_whose_conversation_is_gone_fails(redis_url: str) -> None:
    keys = master_keys("m1")
    async with served(redis_url, encryption_keys=keys) as gateway, worker_on(redis_url, encryption_keys=keys):
        await until_ended(gateway, await posted(gateway, tokens=1))
        await data_keys(gateway, "m1").forget("")
    async with served(redis_url, encryption_keys=keys) as gateway, worker_on(redis_url, encryption_keys=keys):
        ended = await until_ended(gateway, await posted(gateway, tokens=1))
        assert ended["error"] == {
            "code": "data_key_gone",
            "message": "The data key of this session is gone: its content cannot be read any more",
            "retryable": False,
        }


async def test_a_running_job_whose_worker_cannot_encrypt_any_more_goes_on_elsewhere_without_a_strike(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "REFRESH_SECONDS", 0.01)
    both = master_keys("m1", "m2")
    async with served(redis_url, encryption_keys=both) as gateway:
        async with worker_on(redis_url, encryption_keys=master_keys("m1"), max_attempts=1):  # a strike ends the job
            job_id = await posted(gateway, tokens=200, interval_ms=20)

            async def running() -> bool:
                return (await job(gateway, job_id))["status"] == "running"

            await until(running)
            await data_keys(gateway, "m2", "m1").rotate("")

            async def given_back() -> bool:
                return (await job(gateway, job_id))["status"] == "queued"

            await until(given_back)
        async with worker_on(redis_url, encryption_keys=both, max_attempts=1):
            ended = await until_ended(gateway, job_id)
    assert (ended["status"], ended["attempt"]) == ("completed", 2)


async def test_a_webhook_whose_data_key_is_gone_is_given_up(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "REFRESH_SECONDS", 0.01)
    monkeypatch.setattr(webhooks, "MAX_TRIES", 2)
    monkeypatch.setattr(webhooks, "POLL_SECONDS", 0.01)
    hooks: dict[str, Any] = {"webhook_secret": "a-secret-of-at-least-32-characters", "webhook_networks": "127.0.0.0/8"}
    given_up, keys = webhooks.outcomes["given_up"], master_keys("m1")
    async with (
        served(redis_url, encryption_keys=keys, **hooks) as gateway,
        worker_on(redis_url, encryption_keys=keys, webhook_retry_seconds=0.05, **hooks),
        receiver(lambda _: None) as hook,
    ):
        await posted(gateway, hook.hook, tokens=1)
        await hook.got(1)
        await data_keys(gateway, "m1").forget("")
        await hook.close()  # the first try fails
        await until(lambda: webhooks.outcomes["given_up"] == given_up + 1)
    assert len(hook.received) == 1


@pytest.mark.parametrize(
    ("plain_until", "status"), [("2999-01-01T00:00:00Z", "completed"), ("2001-01-01T00:00:00Z", "failed")]
)
async def test_a_job_that_was_submitted_without_encryption_runs_up_to_a_time(
    redis_url: str, plain_until: str, status: str
) -> None:
    async with served(redis_url) as gateway:
        job_id = await posted(gateway, tokens=1)
    settings: dict[str, Any] = {"encryption_keys": master_keys("m1"), "encryption_plain_until": plain_until}
    async with served(redis_url, **settings) as gateway, worker_on(redis_url, **settings):

        async def ended() -> bool:
            return bool((await gateway.client.get(SESSION)).json()["status"] == status)

        await until(ended)
        found = await gateway.client.get(f"{SESSION}/jobs/{job_id}")
        assert found.json().get("code") == (None if status == "completed" else "seal_broken")
