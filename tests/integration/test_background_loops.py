"""Every background loop of a worker and of a gateway outlives an error that nobody foresaw."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from holdfast.gateway.stream.hub import StreamLimits
from holdfast.gateway.stream.keep_alive import KeepAlive
from holdfast.gateway.stream.tailer import Tailer
from holdfast.shared.leases import Leases
from holdfast.shared.offered_agents import OfferedAgents
from holdfast.shared.queue import Queue
from holdfast.worker.process.delivery import Delivery
from holdfast.worker.process.lease import Reaper
from holdfast.worker.process.presence import Presence
from holdfast.worker.process.recovery import Recovery
from holdfast.worker.process.watchdog import Watchdog

from tests.support.log import Session
from tests.support.process import until
from tests.support.streams import frames_until, streams
from tests.support.workers import Client, worker_on


class Broken:
    """Replaces a method by one that raises three times before it works again."""

    def __init__(
        self, patch: pytest.MonkeyPatch, owner: type, name: str, error: type[BaseException] = RuntimeError
    ) -> None:
        self.calls = 0
        original: Callable[..., Any] = getattr(owner, name)

        def broken(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls <= 3:
                raise error("the handler is closed")
            return original(*arguments, **named)

        patch.setattr(owner, name, broken)


WORKER: list[tuple[type, str]] = [(Queue, "take"), (Queue, "wait"), (Leases, "beat"), (Presence, "observe")]
WORKER += [(OfferedAgents, "offer")]
WORKER += [(Reaper, "_observe"), (Recovery, "_step"), (Watchdog, "_tick")]


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
@pytest.mark.parametrize(("owner", "name"), WORKER)
async def test_a_workers_loop_goes_on(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, error: type[BaseException]
) -> None:
    broken, client = Broken(monkeypatch, owner, name, error), Client(redis_url)
    async with worker_on(redis_url, lease_seconds=0.5) as worker:
        await until(lambda: broken.calls > 3)
        await client.offered("scripted")
        await client.post(options={"tokens": 1})
        assert (await client.end())["type"] == "job.completed"
        assert worker.main_task is not None
        assert not worker.main_task.done()
    await client.close()


async def test_a_look_at_intents_that_fails_ends_no_worker(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, client = Broken(monkeypatch, Delivery, "poll_intents"), Client(redis_url)
    async with worker_on(redis_url):
        await client.offered("scripted")
        await client.post(options={"tokens": 100_000})
        await client.spoke()
        while broken.calls <= 3:
            before = broken.calls
            await client.cancel()
            await until(lambda: broken.calls > before)  # noqa: B023 - awaited in this turn
        assert (await client.end())["type"] == "job.cancelled"
    await client.close()


@pytest.mark.parametrize(("owner", "name"), [(Tailer, "_begin"), (Tailer, "_slice"), (KeepAlive, "_drop_stalled")])
async def test_a_gateways_loop_goes_on(
    session: Session, redis_url: str, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    attempt, broken = await session.started(), Broken(monkeypatch, owner, name)
    async with streams(redis_url, StreamLimits(ping_s=0.2, recheck_s=0.2)) as served, served.open(raw="true") as stream:
        await until(lambda: broken.calls > 3)
        await session.append(attempt, 1, "a")
        await frames_until(stream, lambda frame: frame.id == f"{attempt.epoch}-2")
        chunks = stream.chunks()
        while b": ping" not in await anext(chunks):
            pass
