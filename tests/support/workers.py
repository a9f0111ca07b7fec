"""Workers in this process, and the few calls with which a gateway would use them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from holdfast.shared.ids import ORIGIN, EventId, parse_id
from holdfast.shared.job_record import JobState
from holdfast.shared.leases import Leases
from holdfast.shared.log.event_log import Entry, EventLog
from holdfast.shared.log.log_writer import LogWriter
from holdfast.shared.offered_agents import OfferedAgents
from holdfast.shared.queue import Queue
from holdfast.shared.redis.client import connect
from holdfast.shared.redis.log_connections import connect_logs
from holdfast.shared.sessions import Sessions
from holdfast.shared.settings import CommonSettings
from holdfast.worker.process.arq_worker import HoldfastWorker
from holdfast.worker.process.settings import WorkerSettings
from holdfast.worker.sdk.registry import Agent, Registry

from tests.support.log import request
from tests.support.process import until

WAIT_SECONDS = 90.0


class Client:
    """What a gateway does, without HTTP."""

    def __init__(self, redis_url: str, log_redis_url: str | None = None, **settings: Any) -> None:
        common = CommonSettings(redis_url=redis_url, log_redis_url=log_redis_url, **settings)
        self.queue_url = redis_url
        self.redis = connect(redis_url, max_connections=16)
        self.logs = connect_logs(common.log_url, max_connections=16, deadline_s=10)
        self.log_redis = self.logs.servers[0].redis
        self.queue = Queue(self.redis, common)
        self.leases = Leases(self.redis, common)
        self.offered_agents = OfferedAgents(self.redis)
        self.sessions = Sessions(self.logs, common)
        self.log_writer = LogWriter(self.logs, common)
        self.log = EventLog(self.logs)

    async def post(
        self, session: str = "s", job: str = "j1", agent: str = "scripted", *, input: Any = "hi", **rest: Any
    ) -> str:
        """Queue a job. `options`, `metadata` and `webhook` are objects; the rest is as in a JobRequest."""
        options, metadata = rest.pop("options", {}), rest.pop("metadata", {})
        webhook = {"events": ["job.ended", "question.asked"], **rest.pop("webhook")} if "webhook" in rest else None
        await self.queue.reserve(session, job, agent, webhook=webhook is not None)
        body = {"input": orjson.dumps(input), "options": orjson.dumps(options), "metadata": orjson.dumps(metadata)}
        body["webhook"] = b"" if webhook is None else orjson.dumps(webhook)
        submitted = await self.sessions.submit(session, job, request(agent=agent, **body, **rest))
        if submitted.position == 0:
            await self.queue.make_ready(session, job, agent)
        if submitted.notify:
            await self.queue.notify(submitted.notify, session)
        return job

    async def cancel(self, session: str = "s", job: str = "j1", by: str = "user") -> None:
        await self._tell(session, (await self.sessions.cancel(session, job, by)).lease_owner)

    async def delete(self, session: str = "s") -> None:
        await self._tell(session, (await self.sessions.delete(session)).lease_owner)

    async def _tell(self, session: str, lease_owner: str | None) -> None:
        if lease_owner:
            await self.queue.notify(lease_owner, session)
        await self.queue.add_control_entry(session)

    async def job(self, session: str = "s", job: str = "j1") -> JobState:
        return await self.sessions.job(session, job)

    async def end(self, session: str = "s", job: str = "j1") -> dict[str, Any]:
        """Wait for the job's end; answers its terminal event."""
        await self.until(session, job, lambda state: state.end is not None)
        return (await self.job(session, job)).ending

    async def until(
        self, session: str, job: str, holds: Callable[[JobState], bool], timeout_s: float = WAIT_SECONDS
    ) -> None:
        async def look() -> bool:
            return holds(await self.job(session, job))

        await until(look, timeout_s, lambda: f"job {job} of {session}")

    async def running(self, session: str = "s", job: str = "j1") -> None:
        await self.until(session, job, lambda state: state.status == "running")

    async def entries(self, session: str = "s") -> list[Entry]:
        """The whole log, which has to be without a gap."""
        page = await self.log.read(session, ORIGIN, 100_000)
        while page.more:  # its first entry came while it was read
            page = await self.log.read(session, ORIGIN, 100_000)
        assert page.gap is None
        return list(page.entries)

    async def said(self, session: str = "s", job: str = "j1") -> str:
        """The text of the job, as a viewer has it in the end."""
        return "".join(event.get("text", "") for event in await self.kept(session, job))

    async def kept(self, session: str = "s", job: str = "j1") -> list[dict[str, Any]]:
        """The events of the job that a viewer keeps who drops at each start what it discards, each with its `id`."""
        kept: list[tuple[EventId, dict[str, Any]]] = []
        for entry in await self.entries(session):
            if entry.job_id == job:
                event = orjson.loads(entry.body)
                if "discard_from" in event:
                    discard_from = parse_id(event["discard_from"])
                    kept = [(event_id, other) for event_id, other in kept if event_id < discard_from]
                kept.append((entry.id, {"id": str(entry.id), **event}))
        return [event for _, event in kept]

    async def events(self, session: str = "s", job: str | None = None) -> list[dict[str, Any]]:
        entries = await self.entries(session)
        return [orjson.loads(entry.body) for entry in entries if job is None or entry.job_id == job]

    async def kinds(self, session: str = "s", job: str | None = None) -> list[str]:
        return [event["type"] for event in await self.events(session, job)]

    async def spoke(self, session: str = "s", job: str = "j1", tokens: int = 1) -> None:
        """Wait until the log has so many deltas of the job."""
        await self.until(session, job, lambda state: state.status != "queued")

        async def look() -> bool:
            return (await self.kinds(session, job)).count("text.delta") >= tokens

        await until(look, WAIT_SECONDS, lambda: f"{tokens} deltas of {job}")

    async def empty(self) -> None:
        """Wait until no entry is left."""

        async def look() -> bool:
            return await self.queue.depth() == 0

        await until(look, WAIT_SECONDS, lambda: "the queue to be empty")

    async def offered(self, *agents: str) -> None:
        """Wait until the agents are on offer."""

        async def look() -> bool:
            return set(agents) <= set(await self.offered_agents.schemas())

        await until(look, WAIT_SECONDS, lambda: f"{agents} to be on offer")

    async def close(self) -> None:
        await self.redis.aclose()
        await self.logs.aclose()


@asynccontextmanager
async def worker_on(
    redis_url: str, agents: Iterable[Callable[..., Any] | Agent] = (), **settings: Any
) -> AsyncIterator[HoldfastWorker]:
    """A worker that offers `scripted`, these agents, and these functions, which take any input.

    It is stopped without grace at the end."""
    own = [one if isinstance(one, Agent) else Agent(one.__name__, one, {}) for one in agents]
    registry = Registry([*Registry.load(["holdfast.worker.agents.scripted"]).values(), *own])
    worker = HoldfastWorker(WorkerSettings(redis_url=redis_url, **settings), registry, handle_signals=False)
    task = asyncio.create_task(worker.async_run())
    try:
        yield worker
    finally:
        worker.stop()
        worker.stop()
        await task
        await worker.close()


def environment(**settings: Any) -> dict[str, str]:
    """Settings as the variables of a process."""
    return {f"HOLDFAST_{name.upper()}": str(value) for name, value in settings.items()} | {
        "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH", "")]))
    }
