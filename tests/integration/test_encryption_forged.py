"""With encryption at rest, a writer of the log server forges nothing that a gateway or a worker opens."""

from __future__ import annotations

from typing import Any

import pytest
from holdfast.shared.errors import SealBroken
from holdfast.shared.job_requests import JobRequests
from holdfast.worker.webhooks import webhooks

from tests.support.crossing_findings import Findings
from tests.support.crossing_forgeries import Forger
from tests.support.log import Session
from tests.support.receiver import receiver
from tests.support.sealed import master_keys, sealed_logs
from tests.support.served import served
from tests.support.workers import worker_on

HOOKS: dict[str, Any] = {"webhook_secret": "a-secret-of-at-least-32-characters", "webhook_networks": "127.0.0.0/8"}


async def test_nothing_that_was_forged_or_moved_is_opened(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "POLL_SECONDS", 0.01)
    keys, findings = master_keys("m1"), Findings()
    async with (
        served(redis_url, encryption_keys=keys, **HOOKS) as gateway,
        worker_on(redis_url, encryption_keys=keys, lease_seconds=1, **HOOKS),
        receiver() as hooks,
    ):
        await gateway.offer("scripted")
        await Forger(gateway.client, gateway.redis, hooks, findings, headers={}).forge()
    assert findings.wrong == []
    assert findings.forgeries.total() == 23


@pytest.mark.parametrize("models", [b"", b'["cheap"]'])
async def test_a_job_is_repeated_with_the_agent_that_it_was_submitted_for(redis_url: str, models: bytes) -> None:
    session = Session(sealed_logs(redis_url, "m1"), "acme/anna/s")
    requests, jobs = JobRequests(session.logs), session.keys.jobs
    await session.submit(models=models)
    assert (await requests.of(session.id, "j1")).agent == "scripted"
    await session.redis.hset(jobs, "j1:agent", "other")
    with pytest.raises(SealBroken):
        await requests.of(session.id, "j1")
    await session.redis.hdel(jobs, "j1:models")
    with pytest.raises(SealBroken):
        await requests.of(session.id, "j1")
    await session.aclose()
