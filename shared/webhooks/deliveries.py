"""The deliveries of webhooks, on the queue server.

A delivery names a job and an event, and nothing of their content, which is read from the job's record when it is
delivered. That at a job's end is created by the script that drops the job's queue entry, so that every job has its
entry or its delivery. A worker leases a delivery: should it die, the delivery is due again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from holdfast.shared.owner import tenant_of
from holdfast.shared.queue import PLACES, entry_id
from holdfast.shared.redis.client import Redis
from holdfast.shared.scripts import queue_script
from holdfast.shared.webhooks import refused_webhooks

ENDED = "ended"
ASKED = "asked"
LONGEST_WAIT_SECONDS = 3600.0


class WebhookDelivery(NamedTuple):
    """A leased delivery. `event`: ENDED or ASKED. `lease`: identifies this lease. `tries`: those that failed.

    `asked`: the question of the job that needs no delivery any more; empty without one. `host`: for which it waited, as
    given to `wait_for_host`; else empty."""

    session_id: str
    job_id: str
    event: str
    lease: str
    tries: int
    asked: str
    host: str = ""

    @property
    def tenant(self) -> str:
        return tenant_of(self.session_id)

    def name(self) -> tuple[str, str, str]:
        return entry_id(self.session_id, self.job_id), self.event, self.lease


class WebhookDeliveries:
    """All deliveries that are to be made. Every call raises RedisError.

    Args:
        limit: how many a tenant may have. Further ones are not created."""

    def __init__(self, redis: Redis, limit: int) -> None:
        self._limit = limit
        self._ask = queue_script(redis, "webhook_ask")
        self._take = queue_script(redis, "webhook_take")
        self._wait = queue_script(redis, "webhook_wait")
        self._retry = queue_script(redis, "webhook_retry")
        self._done = queue_script(redis, "webhook_done")

    async def ask(self, session_id: str, job_id: str, *, again: bool) -> None:
        """Deliver the open question of a job. `again`: one that exists keeps its time."""
        entry = entry_id(session_id, job_id)
        if not await self._ask(PLACES, (entry, int(again), self._limit)):
            refused_webhooks.note(entry, ASKED)

    async def take(
        self, lease_s: float, busy_tenants: Collection[str] = (), busy_hosts: Collection[str] = ()
    ) -> WebhookDelivery | None:
        """Lease the first due delivery of the tenant whose turn it is; None if none is due.

        `busy_tenants`: those to leave out. `busy_hosts`: those to leave out, of the deliveries that wait for a host."""
        busy = (len(busy_tenants), *busy_tenants, *busy_hosts)
        reply = await self._take(PLACES, (int(lease_s * 1_000_000), *busy))
        if not reply:
            return None
        name, event, lease, tries, asked, host = (part.decode() for part in reply)
        session_id, _, job_id = name.rpartition("/")
        return WebhookDelivery(session_id, job_id, event, lease, int(tries), asked, host)

    async def wait_for_host(self, delivery: WebhookDelivery, host: str) -> None:
        """Return a delivery whose host has enough in delivery. It is due whenever the host is not busy.

        `host`: any name of it without `/`."""
        await self._wait(PLACES, (*delivery.name(), host, int(LONGEST_WAIT_SECONDS * 1_000_000)))

    async def retry(self, delivery: WebhookDelivery, delay_s: float, tries: int) -> None:
        """Return a delivery, which is due after the delay."""
        await self._retry(PLACES, (*delivery.name(), int(delay_s * 1_000_000), tries))

    async def done(self, delivery: WebhookDelivery, question_id: str = "") -> None:
        """Drop a delivery. `question_id`: the question that it delivered or gave up."""
        await self._done(PLACES, (*delivery.name(), question_id))
