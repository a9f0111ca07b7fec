"""The worker's process: arq's Worker, with a dispatch of its own.

arq keeps the process, its signals, its pool and the format of the payloads. Three things are different here: a ready
token wakes an idle worker instead of being polled for, tokens of running jobs are leased and hide no waiting ones, and
an outage of Redis is waited out.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import orjson
import structlog
from arq import ArqRedis
from arq.worker import Worker, func
from holdfast.shared.auto_pipeline import AutoPipeline
from holdfast.shared.background import repeat
from holdfast.shared.heartbeat import BlockingHeartbeat
from holdfast.shared.holder import Holder
from holdfast.shared.keys import QUEUE
from holdfast.shared.open_sessions import OpenSessions
from holdfast.shared.queue import ANY_LANE, Queue, Ring, Token
from holdfast.shared.redis import Redis, RedisError, connect
from holdfast.shared.sessions import Sessions
from holdfast.worker.delivery import Delivery, Station
from holdfast.worker.lease import Lease
from holdfast.worker.outage import Outage
from holdfast.worker.reaper import Reaper
from holdfast.worker.recovery import Recovery
from holdfast.worker.registry import Registry
from holdfast.worker.settings import APPEND_DEADLINE_SECONDS, WorkerSettings
from holdfast.worker.threads import install
from holdfast.worker.watchdog import Watchdog

# The nets below what normally comes by a wake-up, by a message or with the answer to an append.
POLL_SECONDS = 1.0
HEED_SECONDS = 5.0
OFFER_SECONDS = 10.0

CANCEL_AGAIN_SECONDS = 0.1
RELEASE_SECONDS = 5.0  # how long a worker that stops tries to give back what it holds

log = structlog.get_logger()


class HoldfastWorker(Worker):
    """Runs the jobs of the agents in its registry, `max_jobs` at a time, until it is told to stop.

    `last_alone`: a job's last attempt runs in a process of its own, which finds settings and agents as
    `python -m holdfast.worker` does."""

    def __init__(
        self, settings: WorkerSettings, registry: Registry, *, handle_signals: bool = True, last_alone: bool = False
    ) -> None:
        self.id = f"{socket.gethostname()[:40]}-{secrets.token_hex(4)}"
        self._settings = settings
        self._registry = registry
        self._connections: list[Redis] = []
        tokens = self._connect(settings.redis_url, 2)
        super().__init__(
            functions=[func(_dispatched_elsewhere, name=name) for name in registry],
            queue_name=QUEUE.rstrip(":"),
            redis_pool=ArqRedis.from_url(settings.redis_url),  # never connected: only arq's own dispatch would use it
            handle_signals=handle_signals,
            max_jobs=settings.max_jobs,
            job_serializer=orjson.dumps,
            job_deserializer=orjson.loads,
        )
        # Heart and bell have connections of their own: whatever else is stuck, they are not.
        pulse = Queue(self._connect(settings.redis_url, 1, timeout_s=max(settings.lease_seconds / 3, 0.5)), settings)
        self._bell = Queue(self._connect(settings.redis_url, 1), settings)
        sessions = self._connect(settings.log_url, 4)
        self._pipeline = AutoPipeline(settings.log_url, deadline_s=APPEND_DEADLINE_SECONDS)
        queue_outage = Outage("queue")
        self._station = Station(
            self.id,
            settings,
            registry,
            Queue(tokens, settings),
            Holder(sessions, self._pipeline, settings),
            Sessions(sessions, settings),
            queue_outage,
            Outage("log"),
            self._want,
            self._ring,
            set() if last_alone else None,
        )
        lease_s = settings.lease_seconds
        self._lease = Lease(
            pulse,
            queue_outage,
            self.id,
            lease_s,
            held=self._held,
            running=self._running,
            lost=self._lost,
            stray=self._stray,
        )
        self._watchdog = Watchdog(BlockingHeartbeat(settings.redis_url, self.id, lease_s / 3).beat, lease_s)
        open_sessions = OpenSessions(sessions)
        self._recovery = Recovery(pulse, open_sessions, queue_outage, self._station.log_outage, lease_s)
        self._reaper = Reaper(pulse, queue_outage, self.id, lease_s)
        self._deliveries: dict[Delivery, asyncio.Task[None]] = {}
        self._looks: set[asyncio.Task[None]] = set()
        self._wanted: set[str] = set()
        self._wants = asyncio.Event()
        self._rung = asyncio.Event()
        self._hurry = asyncio.Event()
        self._listening: asyncio.Task[Ring | None] | None = None
        self._listens_idle = False

    # The process: start, work, stop.

    async def main(self) -> None:
        """Work until a signal or `stop()`. What is still held then is given back."""
        install(asyncio.get_running_loop())
        log.info("worker started", worker=self.id, agents=sorted(self._registry), max_jobs=self.max_jobs)
        outage = self._station.queue_outage
        dispatch = asyncio.create_task(repeat("dispatch", self._dispatch, outage=outage))
        beside = (
            repeat("listen", self._listen, outage=outage),
            repeat("intents", self._heed),
            repeat("offer", self._offer, outage=outage),
            self._lease.run(),
            self._reaper.run(),
            self._recovery.run(),
            self._watchdog.run(),
        )
        loops = [asyncio.create_task(loop) for loop in beside]
        try:
            await dispatch
            await self._drain()
        finally:
            await cancel([dispatch, *loops, *self._looks])
            await self._release()
        log.info("worker stopped", worker=self.id)

    def stop(self) -> None:
        """Take nothing new, finish within the grace time, give back the rest. The second time: without grace."""
        if not self.allow_pick_jobs:
            self._hurry.set()
        self._take_no_more()

    def _take_no_more(self) -> None:
        self.allow_pick_jobs = False
        self._rung.set()
        self._listen_again_if_needed()

    def handle_sig(self, signum: signal.Signals) -> None:
        log.info("worker stops", worker=self.id, signal=signal.Signals(signum).name, jobs=len(self._deliveries))
        self.stop()

    async def close(self) -> None:
        for connection in self._connections:
            await connection.aclose()
        await self._pipeline.aclose()
        self._pool = None

    def _connect(self, url: str, max_connections: int, timeout_s: float = 10.0) -> Redis:
        connection = connect(url, max_connections=max_connections, socket_timeout_s=timeout_s)
        self._connections.append(connection)
        return connection

    async def _drain(self) -> None:
        """Wait until the jobs have ended, the grace time is over or somebody is in a hurry. Nobody waits for those that
        wait for a person."""
        hurry = asyncio.create_task(self._hurry.wait())
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.grace_seconds):
                while (working := self._working()) and not hurry.done():
                    running = {hurry, *(self._deliveries[delivery] for delivery in working)}
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        await cancel([hurry])

    async def _release(self) -> None:
        """Give back what is still held, and sign off. Goes by the list: a task that never began has no `finally`."""
        held = dict(self._deliveries)
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await cancel(held.values())
                outcomes = await asyncio.gather(*(delivery.release() for delivery in held), return_exceptions=True)
                await self._station.queue.leave(self.id)
        except (RedisError, TimeoutError) as error:
            outcomes = [error]
        for outcome in filter(None, outcomes):
            log.warning("not everything was given back", worker=self.id, error=f"{type(outcome).__name__}: {outcome}")

    # Dispatch: from a ready token to a task.

    async def _dispatch(self) -> float | None:
        """Take what is ready, then wait for a wake-up or the next poll. Returns None once nothing is to be taken."""
        if not self.allow_pick_jobs:
            return None
        self._rung.clear()
        await self._poll_iteration()
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._rung.wait()
        return 0

    async def _poll_iteration(self) -> None:
        """Take as many ready tokens as there are free slots, and start them."""
        agents = list(self._registry)
        while free := self._free():
            tokens = await self._station.queue.take(self.id, agents, free)
            for token in tokens:
                self._start(token)
            if len(tokens) < free:
                break
        self._listen_again_if_needed()

    def _start(self, token: Token) -> None:
        delivery = Delivery(token, self._station)
        task = self.loop.create_task(delivery.work())
        self._deliveries[delivery] = task
        task.add_done_callback(lambda _: self._ended(delivery))

    def _ended(self, delivery: Delivery) -> None:
        del self._deliveries[delivery]
        self._rung.set()

    def _ring(self) -> None:
        self._rung.set()

    def _free(self) -> int:
        """How many more jobs may be taken. One that waits for a person takes no slot; it may take one too many again
        when the answer comes."""
        return max(self.max_jobs - len(self._working()), 0) if self.allow_pick_jobs else 0

    def _working(self) -> list[Delivery]:
        return [delivery for delivery in self._deliveries if not delivery.waits]

    async def _listen(self) -> float:
        """Wait for one wake-up or message; without a free slot for no wake-up, which is for those that have one."""
        self._listens_idle = bool(self._free())
        self._listening = asyncio.create_task(self._bell.wait(self.id, POLL_SECONDS, idle=self._listens_idle))
        try:
            await asyncio.wait({self._listening})
        except asyncio.CancelledError:
            await cancel([self._listening])
            raise
        if not self._listening.cancelled():
            await self._heard(self._listening.result())
        return 0

    def _listen_again_if_needed(self) -> None:
        """See that a worker which has become full or idle listens as such. Repeated until it is heard, see `cancel`."""
        listening = self._listening
        if listening is not None and not listening.done() and self._listens_idle != bool(self._free()):
            listening.cancel()
            self.loop.call_later(CANCEL_AGAIN_SECONDS, self._listen_again_if_needed)

    async def _heard(self, ring: Ring | None) -> None:
        if ring is None or (ring.session_id is None and self._free()):
            self._ring()
        elif ring.session_id is not None:
            self._want(ring.session_id)
        else:  # it became full just now: the wake-up is for somebody else
            with suppress(RedisError):
                await self._bell.wake()

    # What goes on beside: intents, the offer, the lease.

    async def _heed(self) -> float:
        """Look at what is asked of the sessions held here: soon where something is, and where no answer of the log has
        told for a while. One whose log does not answer holds up no other."""
        wanted = await self._next_wanted()
        since = self.loop.time() - HEED_SECONDS * 0.8  # the next time comes in 0.2 of it
        for delivery in self._deliveries:
            if delivery.token.session_id in wanted or delivery.unheard(since):
                look = self.loop.create_task(delivery.heed())
                self._looks.add(look)
                look.add_done_callback(self._looked)
        return 0

    def _looked(self, look: asyncio.Task[None]) -> None:
        self._looks.discard(look)
        if not look.cancelled() and (error := look.exception()) is not None:
            log.error("intents failed", worker=self.id, exc_info=error)

    async def _next_wanted(self) -> set[str]:
        """The sessions of which something is asked; none when it is time to see who has not heard for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(HEED_SECONDS * 0.2):
                await self._wants.wait()
        self._wants.clear()
        wanted, self._wanted = self._wanted, set()
        return wanted

    def _want(self, session_id: str) -> None:
        self._wanted.add(session_id)
        self._wants.set()

    async def _offer(self) -> float:
        await self._station.queue.offer(self._registry.schemas())
        return OFFER_SECONDS

    def _held(self) -> set[str]:
        return {delivery.token.id for delivery in self._deliveries}

    def _running(self) -> dict[str, Token]:
        return {delivery.token.id: delivery.token for delivery in self._deliveries if delivery.job is not None}

    def _lost(self, token_id: str) -> None:
        for delivery in self._deliveries:
            if delivery.token.id == token_id:
                delivery.lose()

    def _stray(self, token_id: str) -> None:
        """A token that is leased to this worker without its knowledge is delivered to it now."""
        session_id, _, job_id = token_id.partition("/")
        self._start(Token(session_id, job_id or None, ANY_LANE, 0, 0))


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and wait for their end. Python 3.11's wait_for, by which redis-py sends a command, now and then
    swallows a cancellation: it is repeated until it is heard. What else a task ended with concerns nobody any more."""
    ending = set(tasks)
    pending = {task for task in ending if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
    for task in ending:
        if not task.cancelled():
            task.exception()


async def _dispatched_elsewhere(ctx: dict[Any, Any]) -> None:
    raise NotImplementedError("arq's own dispatch is never used")
