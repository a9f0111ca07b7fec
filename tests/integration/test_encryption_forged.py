"""With encryption at rest, a writer of the log server forges nothing that a gateway or a worker opens."""

from __future__ import annotations

from typing import Any

import pytest
from holdfast.worker.webhooks import webhooks

from tests.support.crossing_findings import Findings
from tests.support.crossing_forgeries import Forger
from tests.support.receiver import receiver
from tests.support.sealed import master_keys
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
