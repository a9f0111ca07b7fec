"""The lifespan of a gateway process. It starts even while Redis is unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

from fastapi import FastAPI
from holdfast.gateway.agent_catalog import AgentCatalog
from holdfast.gateway.authentication.authentication import Authentication
from holdfast.gateway.dependencies import State
from holdfast.gateway.deployment import Deployment
from holdfast.gateway.limits import CpuSlot
from holdfast.gateway.metrics import Metrics
from holdfast.gateway.operation import Operation
from holdfast.gateway.readiness import Readiness
from holdfast.gateway.request_rates import RateLimits
from holdfast.gateway.session_list import CLEAN_SECONDS, SessionList
from holdfast.gateway.settings import GatewaySettings
from holdfast.gateway.stream.hub import StreamHub, StreamLimits
from holdfast.gateway.stream.subscriber import Subscriber
from holdfast.gateway.stream.viewer_counts import ViewerLimits
from holdfast.shared.background import repeat
from holdfast.shared.day_usage import DayUsage
from holdfast.shared.job_requests import JobRequests
from holdfast.shared.log.event_log import EventLog
from holdfast.shared.log.ticket_series import TicketSeries
from holdfast.shared.metrics.vitals import Vitals
from holdfast.shared.offered_agents import OfferedAgents
from holdfast.shared.queue import Queue
from holdfast.shared.queue_counts import QueueCounter
from holdfast.shared.redis.client import connect
from holdfast.shared.redis.log_connections import connect_logs
from holdfast.shared.request_rates import SharedBuckets
from holdfast.shared.secret import Secret
from holdfast.shared.session_index import SessionIndex
from holdfast.shared.sessions import Sessions
from holdfast.shared.tracing import traced
from holdfast.shared.workers import WorkerList

REDIS_TIMEOUT_S = 5.0
SUBSCRIBER_FLUSH_S = 0.001

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[State]]


def stream_limits(settings: GatewaySettings) -> StreamLimits:
    """Return the limits of streams that are set."""
    return StreamLimits(
        settings.max_viewers,
        settings.send_deadline_seconds,
        settings.ping_seconds,
        ViewerLimits(settings.session_max_viewers, settings.tenant_max_viewers, settings.address_max_viewers),
    )


def lifespan_of(settings: GatewaySettings, metrics: Metrics, auth: Authentication) -> Lifespan:
    """Create the lifespan of an app with these settings. It yields the state that routes read."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        connections = settings.gateway_redis_connections
        queue_redis = connect(settings.redis_url, max_connections=connections, socket_timeout_s=REDIS_TIMEOUT_S)
        logs = connect_logs(
            settings.log_url,
            max_connections=connections,
            deadline_s=REDIS_TIMEOUT_S,
            flush_interval_s=SUBSCRIBER_FLUSH_S,
            masters=settings.master_keys,
            plain_until_s=settings.plain_until_s,
        )
        queue = Queue(queue_redis, settings)
        sessions, log = Sessions(logs, settings), EventLog(logs, pipelined=True)
        hub = StreamHub(logs, log, sessions, stream_limits(settings))
        readiness = Readiness(settings.redis_url, queue_redis, logs)
        counter = QueueCounter(queue_redis)
        operation = Operation(readiness, hub, metrics, queue, counter)
        vitals = Vitals("gateway", {"queue": queue_redis, "log": logs.servers[0].redis}, metrics.registry)
        metrics.watch(hub.counters)
        hub.start()
        session_list = SessionList(SessionIndex(queue_redis), sessions, settings.retention_seconds)
        ticket_series = TicketSeries(logs)
        tasks = auth.start(hub.access, ticket_series)
        watching = asyncio.create_task(readiness.watch())
        cleaning = asyncio.create_task(repeat("session list", session_list.clean, longest_pause_s=CLEAN_SECONDS))
        measuring = asyncio.create_task(vitals.run())
        try:
            with operation.listening(settings), traced(settings.otlp_endpoint, "gateway"):
                yield State(
                    settings=settings,
                    day_usage=DayUsage(queue_redis, settings.day_limits),
                    sessions=sessions,
                    log=log,
                    job_requests=JobRequests(logs),
                    queue=queue,
                    agent_catalog=AgentCatalog(OfferedAgents(queue_redis)),
                    subscriber=Subscriber(logs),
                    hub=hub,
                    operation=operation,
                    deployment=Deployment(WorkerList(queue_redis), counter),
                    metrics=metrics,
                    session_list=session_list,
                    secret=Secret(logs.servers[0].redis),
                    cpu_slot=CpuSlot(),
                    rate_limits=RateLimits.of(settings, SharedBuckets(queue_redis)),
                    auth_store=auth.store,
                    auth_watch=auth.watch,
                    ticket_series=ticket_series,
                )
        finally:
            for task in (watching, cleaning, measuring, *tasks):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await hub.close()
            await logs.aclose()
            await queue_redis.aclose()
            await auth.aclose()

    return lifespan
