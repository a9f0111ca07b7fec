"""A gateway in this process, a client and viewers of a deployment under a fault, and the verdict over it all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from tests.support.history import History, Told, final_log
from tests.support.patience import patient
from tests.support.process import until
from tests.support.served import served
from tests.support.watcher import Watcher, dismiss
from tests.support.workers import Client


class Scene:
    """Posts jobs past the gateways, by `client`, and watches them through these, at `urls`."""

    def __init__(self, client: Client, urls: Sequence[str]) -> None:
        self.client = client
        self.urls = urls
        self.history = History()
        self.watchers: list[Watcher] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def post(self, session: str = "s", job: str = "j1", *, agent: str = "scripted", **options: Any) -> None:
        await self.client.post(session, job, agent=agent, options=options)
        self.history.accepted.add((session, job))

    @property
    def url(self) -> str:
        return self.urls[0]

    def watch(self, session: str = "s", *, seed: int = 0, stay_s: float | None = None) -> Watcher:
        """A viewer of the session that comes back for as long as the scene lasts."""
        transcript = self.history.client(session, f"viewer {len(self.watchers)} of {session}")
        path = f"/v1/sessions/{session}/events?raw=true"
        watcher = Watcher(self.urls, path, transcript, seed, stay_s=stay_s)
        self.watchers.append(watcher)
        self._tasks.add(asyncio.create_task(watcher.watch()))
        return watcher

    async def heard(self, events: int) -> None:
        """Wait until every viewer has so many events."""
        await until(lambda: all(len(watcher.transcript.events()) >= events for watcher in self.watchers))

    async def logs(self) -> dict[str, list[Told]]:
        sessions = {session for session, _ in self.history.accepted}
        return {session: await final_log(self.client.log, session) for session in sessions}

    async def verdict(self, *, gaps: bool = False) -> dict[str, list[Told]]:
        """Wait until all jobs have ended and all viewers know it. Every viewer must have had the log, no more and no
        less, without a gap unless `gaps`. Answers the logs."""
        for session, job in self.history.accepted:
            await self.client.end(session, job)
        logs = await self.logs()
        await until(lambda: all(self._ids(watcher) == _ids(logs, watcher) for watcher in self.watchers))
        assert self.history.violations(logs) == []
        if not gaps:
            assert [watcher.transcript.gaps() for watcher in self.watchers] == [[]] * len(self.watchers)
        assert [watcher.refused for watcher in self.watchers] == [[]] * len(self.watchers)
        return logs

    async def close(self) -> None:
        await dismiss(self._tasks)

    @staticmethod
    def _ids(watcher: Watcher) -> list[Any]:
        return [event.id for event in watcher.transcript.events()]


def _ids(logs: dict[str, list[Told]], watcher: Watcher) -> list[Any]:
    return [event.id for event in logs[watcher.transcript.session_id]]


def words(count: int) -> str:
    """What the scripted agent says."""
    return "".join(f"w{number} " for number in range(count))


@contextlib.asynccontextmanager
async def scene(
    redis_url: str, *, gateway_url: str | None = None, log_redis_url: str | None = None, **settings: Any
) -> AsyncIterator[Scene]:
    """A scene on this Redis. `gateway_url`: where the gateway finds it, through a proxy for instance."""
    client = Client(redis_url, log_redis_url)
    for redis in (client.redis, client.log_redis):
        patient(redis)
    chosen = {"log_redis_url": log_redis_url, "ping_seconds": 0.2} | settings
    async with served(gateway_url or redis_url, **chosen) as gateway:
        made = Scene(client, [gateway.url])
        try:
            yield made
        finally:
            await made.close()
            await client.close()
