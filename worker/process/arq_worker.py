"""The worker process: arq's Worker with its own dispatch.

arq provides the process, its signals and the payload format. Three things differ from arq: a visible entry wakes an
idle worker instead of being found by polling, entries of running jobs are leased instead of blocking those behind them,
and outages of Redis are waited out.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
from contextlib import suppress
from functools import partial
from typing import Any

import orjson
import structlog
from arq import ArqRedis
from arq.worker import Worker, func
from holdfast.shared.background import repeat
from holdfast.shared.day_usage import DayUsage
from holdfast.shared.keys import QUEUE
from holdfast.shared.leases import Leases, beat_blocking
from holdfast.shared.log.log_writer import LogWriter
from holdfast.shared.offered_agents import OfferedAgents
from holdfast.shared.open_sessions import OpenSessions
from holdfast.shared.queue import ANY_LANE, Queue, QueueEntry, WakeUp
from holdfast.shared.redis.client import Redis, connect
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.redis.log_connections import connect_logs
from holdfast.shared.sessions import Sessions
from holdfast.shared.webhooks.deliveries import WebhookDeliveries
from holdfast.shared.workers import HOST_CHARACTERS, status_json
from holdfast.worker.process.deliveries import CANCEL_AGAIN_SECONDS, Deliveries, IntentPolls, cancel
from holdfast.worker.process.delivery import Delivery, DeliveryContext
from holdfast.worker.process.lease import Lease, Reaper
from holdfast.worker.process.operation import Operation
from holdfast.worker.process.outage import Outage
from holdfast.worker.process.presence import Presence
from holdfast.worker.process.recovery import Recovery
from holdfast.worker.process.server_probe import ServerProbe
from holdfast.worker.process.settings import LOG_DEADLINE_SECONDS, WorkerSettings
from holdfast.worker.process.status import StatusReport
from holdfast.worker.process.threads import install
from holdfast.worker.process.watchdog import Watchdog
from holdfast.worker.sdk.registry import Registry
from holdfast.worker.webhooks.webhooks import Webhooks

POLL_SECONDS = 1.0  # safety net for lost wake-ups
OFFER_SECONDS = 10.0
RELEASE_SECONDS = 5.0  # for so long a stopping worker tries to release its sessions and entries

log = structlog.get_logger()


class HoldfastWorker(Worker):
    """Runs the jobs of the agents in its registry, `max_jobs` at a time, until a signal or `stop`.

    `isolate_last_attempt`: run the last attempt at a job in a process of its own, which reads settings and agents as
    `python -m holdfast.worker` does."""

    def __init__(
        self,
        settings: WorkerSettings,
        registry: Registry,
        *,
        handle_signals: bool = True,
        isolate_last_attempt: bool = False,
    ) -> None:
        self.id = f"{socket.gethostname()[:HOST_CHARACTERS]}-{secrets.token_hex(4)}"
        self._settings = settings
        self._registry = registry
        self._connections: list[Redis] = []
        queue_redis = self._connect(settings.redis_url, 2)
        super().__init__(
            functions=[func(_dispatched_elsewhere, name=name) for name in registry],
            queue_name=QUEUE.rstrip(":"),
            redis_pool=ArqRedis(),  # required by arq's constructor; never connected
            handle_signals=handle_signals,
            max_jobs=settings.max_jobs,
            job_serializer=orjson.dumps,
            job_deserializer=orjson.loads,
        )
        # Heartbeats and wake-ups have connections of their own, so that nothing else delays them.
        heartbeat_redis = self._connect(settings.redis_url, 1, timeout_s=max(settings.lease_seconds / 3, 0.5))
        heartbeats = Leases(heartbeat_redis, settings)
        self._wake_up_queue = Queue(self._connect(settings.redis_url, 1), settings)
        self._logs = connect_logs(
            settings.log_url,
            max_connections=4,
            deadline_s=LOG_DEADLINE_SECONDS,
            masters=settings.master_keys,
            plain_until_s=settings.plain_until_s,
        )
        self._offered = OfferedAgents(queue_redis)
        self._leases = Leases(queue_redis, settings)
        self._deliveries = Deliveries()
        self._intents = IntentPolls(self.id, self._deliveries)
        self._woken = asyncio.Event()
        queue_outage = Outage("queue")
        webhooks = WebhookDeliveries(queue_redis, settings.tenant_webhook_limit)
        self._context = DeliveryContext(
            self.id,
            settings,
            registry,
            Queue(queue_redis, settings),
            LogWriter(self._logs, settings),
            Sessions(self._logs, settings),
            queue_outage,
            Outage("log"),
            self._intents.notify,
            self._woken.set,
            set() if isolate_last_attempt else None,
            webhooks,
            DayUsage(queue_redis, settings.day_limits) if settings.day_limits else None,
        )
        lease_s = settings.lease_seconds
        self._report = StatusReport(registry, settings.max_jobs)
        self._lease = Lease(heartbeats, queue_outage, self.id, lease_s, self._deliveries, self._on_stray, self._status)
        self._watchdog = Watchdog(partial(beat_blocking, settings.redis_url, self.id, lease_s / 3), lease_s)
        recovery_queue, open_sessions = Queue(heartbeat_redis, settings), OpenSessions(self._logs)
        self._recovery = Recovery(recovery_queue, open_sessions, queue_outage, self._context.log_outage, lease_s)
        self._presence = Presence(settings.redis_url, self.id, max(lease_s / 3, 0.5))
        self._reaper = Reaper(heartbeats, self._presence, queue_outage, self.id, lease_s)
        self._webhooks = Webhooks(webhooks, self._context.sessions, settings, queue_outage)
        servers = {"queue": queue_redis, "log": self._logs.servers[0].redis}
        self.operation = Operation(settings, self._deliveries, self._lease, self._slots, servers)
        self._stopping = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._listening: asyncio.Task[WakeUp | None] | None = None
        self.listens_idle = False

    # Start and stop.

    async def main(self) -> None:
        """Work until a signal or `stop`. Then release what is still owned."""
        install(asyncio.get_running_loop())
        log.info("worker started", worker_id=self.id, agents=sorted(self._registry), max_jobs=self.max_jobs)
        outage = self._context.queue_outage
        dispatch = asyncio.create_task(repeat("dispatch", self._dispatch, outage=outage))
        beside = (
            repeat("listen", self._listen, outage=outage),
            repeat("intents", self._intents.poll),
            repeat("offer", self._offer, outage=outage),
            self._lease.run(),
            self._reaper.run(),
            self._recovery.run(),
            self._watchdog.run(),
            ServerProbe(self._settings).run(),
            self._webhooks.run(),
            self.operation.vitals.run(),
        )
        loops = [asyncio.create_task(loop) for loop in beside]
        try:
            await dispatch
            await self._drain()
        finally:
            await cancel([dispatch, *loops])
            await self._intents.close()
            await self._release()
            self._presence.close()  # then nothing is left that others could take over as that of a dead worker
        log.info("worker stopped", worker_id=self.id)

    def stop(self) -> None:
        """Take no further jobs, finish within the grace period, release the rest. A second call ends the grace
        period."""
        if self._stopping.is_set():
            self._stop_now.set()
        self._stopping.set()
        self._take_no_more()

    def _take_no_more(self) -> None:
        self.allow_pick_jobs = False
        self._woken.set()
        self._listen_again_if_needed()

    def handle_sig(self, signum: signal.Signals) -> None:
        log.info("worker stops", worker_id=self.id, signal=signal.Signals(signum).name, jobs=len(self._deliveries))
        self.stop()

    async def close(self) -> None:
        for connection in self._connections:
            await connection.aclose()
        await self._logs.aclose()

    def _connect(self, url: str, max_connections: int, timeout_s: float = 10.0) -> Redis:
        connection = connect(url, max_connections=max_connections, socket_timeout_s=timeout_s)
        self._connections.append(connection)
        return connection

    async def _drain(self) -> None:
        """Wait until the jobs have ended, the grace period after `stop` is over, or `stop` was called again.

        Jobs that wait for a person are not waited for."""
        await self._finish(self._stopping)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.grace_seconds):
                await self._finish(self._stop_now)

    async def _finish(self, until: asyncio.Event) -> None:
        """Wait until the jobs have ended, or until the event."""
        over = asyncio.create_task(until.wait())
        try:
            while (working := self._deliveries.working()) and not until.is_set():
                running = {over, *(self._deliveries[delivery] for delivery in working)}
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel([over])

    async def _release(self) -> None:
        """Release what is still owned, and unregister. Uses the list of deliveries: a task that never ran has no
        `finally`."""
        held = dict(self._deliveries)
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await cancel(held.values())
                outcomes = await asyncio.gather(*(delivery.release() for delivery in held), return_exceptions=True)
                await self._leases.leave(self.id)
        except (RedisError, TimeoutError) as error:
            outcomes = [error]
        for outcome in filter(None, outcomes):
            log.warning("could not release everything", worker_id=self.id, error=f"{type(outcome).__name__}: {outcome}")

    # Dispatch: from a visible entry to a task.

    async def _dispatch(self) -> float | None:
        """Take visible entries, then wait for a wake-up or the next poll. Returns None once the worker stops."""
        if not self.allow_pick_jobs:
            return None
        self._woken.clear()
        await self._report_paused()
        await self._take_ready_entries()
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._woken.wait()
        return 0

    async def _report_paused(self) -> None:
        """Report which jobs began to wait for a person or go on, so that a tenant's running jobs are those that take a
        slot."""
        paused, waiting = self._deliveries.paused, self._deliveries.waiting()
        began, resumed = waiting - paused, paused - waiting
        if began or resumed:
            lost = await self._context.queue.pause(self.id, began, resumed)
            paused |= began - lost
            paused -= resumed

    async def _take_ready_entries(self) -> None:
        """Take visible entries for all free slots, and start them."""
        agents = list(self._registry)
        while free := self.free_slots:
            entries = await self._context.queue.take(self.id, agents, free)
            for entry in entries:
                self._start(entry)
            if len(entries) < free:
                break
        self._listen_again_if_needed()

    def _start(self, entry: QueueEntry) -> None:
        delivery = Delivery(entry, self._context)
        task = self.loop.create_task(delivery.work())
        self._deliveries[delivery] = task
        task.add_done_callback(lambda _: self._ended(delivery))

    def _ended(self, delivery: Delivery) -> None:
        del self._deliveries[delivery]
        self._woken.set()

    def _slots(self) -> int:
        return self.max_jobs if self.allow_pick_jobs else 0

    @property
    def free_slots(self) -> int:
        """Return the number of free slots. A job that waits for a person takes none, so `max_jobs` may be exceeded for
        a while after its answer."""
        return max(self.max_jobs - len(self._deliveries.working()), 0) if self.allow_pick_jobs else 0

    async def _listen(self) -> float:
        """Wait for one wake-up or notification; without a free slot for notifications only."""
        self.listens_idle = bool(self.free_slots)
        self._listening = asyncio.create_task(self._wake_up_queue.wait(self.id, POLL_SECONDS, idle=self.listens_idle))
        try:
            await asyncio.wait({self._listening})
        except asyncio.CancelledError:
            await cancel([self._listening])
            raise
        if not self._listening.cancelled():
            await self._on_wake_up(self._listening.result())
        return 0

    def _listen_again_if_needed(self) -> None:
        """Restart listening when the worker has become full or idle. Repeated until the cancellation succeeds, see
        `cancel`."""
        listening = self._listening
        if listening is not None and not listening.done() and self.listens_idle != bool(self.free_slots):
            listening.cancel()
            self.loop.call_later(CANCEL_AGAIN_SECONDS, self._listen_again_if_needed)

    async def _on_wake_up(self, ring: WakeUp | None) -> None:
        if ring is not None and ring.drains:
            log.info("worker drains", worker_id=self.id, jobs=len(self._deliveries))
            self._take_no_more()
        elif ring is None or (ring.session_id is None and self.free_slots):
            self._woken.set()
        elif ring.session_id is not None:
            self._intents.notify(ring.session_id)
        else:  # the last slot was taken just now: another worker needs the wake-up
            with suppress(RedisError):
                await self._wake_up_queue.wake()

    # Background loops: intents, agents, lease.

    def _status(self) -> bytes:
        return status_json(self._report.status(draining=not self.allow_pick_jobs))

    async def _offer(self) -> float:
        await self._offered.offer(self._registry.schemas())
        return OFFER_SECONDS

    def _on_stray(self, entry_id: str) -> None:
        """Deliver an entry that is leased to this worker without its knowledge."""
        session_id, _, job_id = entry_id.rpartition("/")
        self._start(QueueEntry(session_id, job_id or None, ANY_LANE, 0, 0))


async def _dispatched_elsewhere(ctx: dict[Any, Any]) -> None:
    raise NotImplementedError("arq's own dispatch is never used")
