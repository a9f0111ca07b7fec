"""Deliver due webhooks while the worker runs: a few at a time, those of each tenant and host bounded."""

from __future__ import annotations

import asyncio
import hmac
import random
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import structlog
from holdfast.shared.background import repeat
from holdfast.shared.errors import DataKeyGone, JobUnknown, RequestInvalid, SealBroken, SessionUnknown, UnreadableHere
from holdfast.shared.failpoints import failpoint
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.sessions import Sessions
from holdfast.shared.trace_context import trace_keys
from holdfast.shared.tracing import span_attributes, start_span
from holdfast.shared.webhooks.addresses import parse_networks
from holdfast.shared.webhooks.deliveries import WebhookDeliveries, WebhookDelivery
from holdfast.shared.webhooks.signature import parse_secrets, signature
from holdfast.shared.webhooks.target import Target, parse_target
from holdfast.worker.process.deliveries import cancel
from holdfast.worker.process.outage import Outage
from holdfast.worker.process.settings import WorkerSettings
from holdfast.worker.webhooks.message import Message, NotEndedYet, message_of
from holdfast.worker.webhooks.sender import AddressRefused, NotSent, Sender

POLL_SECONDS = 0.5
LEASE_SECONDS = 60.0  # longer than a lookup and a delivery: that of a dead worker is due again after it
MAX_IN_DELIVERY = 20
MAX_OF_TENANT = 8
MAX_OF_HOST = 4
MAX_TRIES = 12
LONGEST_DELAY_SECONDS = 6 * 3600.0
UNREADABLE_SECONDS = 5.0  # delay of a delivery whose record cannot be read now

log = structlog.get_logger()
outcomes: Counter[str] = Counter()  # of the tries of this process, for its metrics


class Webhooks:
    """Delivers webhooks of all tenants. A deployment without a secret has none."""

    def __init__(
        self,
        deliveries: WebhookDeliveries,
        sessions: Sessions,
        settings: WorkerSettings,
        outage: Outage,
        sender: Sender | None = None,
    ) -> None:
        self._deliveries = deliveries
        self._sessions = sessions
        self._outage = outage
        self._secrets = parse_secrets(settings.webhook_secret)
        self._networks = parse_networks(settings.webhook_networks)
        self._first_delay_s = settings.webhook_retry_seconds
        self._sender = sender or Sender(self._networks)
        self._tasks: set[asyncio.Task[None]] = set()
        self._tenants: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Deliver until cancelled. What is in delivery then is due again after its lease."""
        if not self._secrets:
            return
        try:
            await repeat("webhooks", self._step, outage=self._outage)
        finally:
            await cancel(self._tasks)

    async def _step(self) -> float:
        """Start what is due, then wait until a delivery has ended or for the next poll."""
        self._ended.clear()
        while len(self._tasks) < MAX_IN_DELIVERY:
            tenants, hosts = _full(self._tenants, MAX_OF_TENANT), _full(self._hosts, MAX_OF_HOST)
            delivery = await self._deliveries.take(LEASE_SECONDS, tenants, hosts)
            if delivery is None:
                break
            self._start(delivery)
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._ended.wait()
        return 0

    def _start(self, delivery: WebhookDelivery) -> None:
        self._tenants[delivery.tenant] += 1
        if delivery.host:
            self._hosts[delivery.host] += 1
        task = asyncio.create_task(self._deliver(delivery))
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._on_end(delivery, task))

    def _on_end(self, delivery: WebhookDelivery, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        _decrement(self._tenants, delivery.tenant)
        if delivery.host:
            _decrement(self._hosts, delivery.host)
        self._ended.set()

    async def _deliver(self, delivery: WebhookDelivery) -> None:
        """Deliver once. Raises nothing: what fails here is due again after its lease."""
        try:
            await self._try(delivery)
        except RedisError as error:
            self._outage.began(error)
        except Exception:
            log.exception("webhook failed", **_log_keys(delivery))

    async def _try(self, delivery: WebhookDelivery) -> None:
        """Send the message of a delivery, if it has one, and record the outcome. Raises RedisError."""
        try:
            message = message_of(delivery, await self._sessions.webhook(delivery.session_id, delivery.job_id))
            target = None if message is None else parse_target(message.url, self._networks)
        except (SessionUnknown, JobUnknown):
            message = target = None
        except UnreadableHere:
            await self._deliveries.retry(delivery, UNREADABLE_SECONDS, delivery.tries)
            return
        except NotEndedYet:
            await self._failed(delivery, "", "the job has not ended")
            return
        except (DataKeyGone, SealBroken) as error:
            await self._failed(delivery, "", error.title)
            return
        except RequestInvalid:  # the setting has changed since the submission
            await self._failed(delivery, "", "the URL is not allowed any more")
            return
        if message is None or target is None:
            await self._deliveries.done(delivery)
        else:
            await self._send_or_wait(delivery, message, target)

    async def _send_or_wait(self, delivery: WebhookDelivery, message: Message, target: Target) -> None:
        if delivery.host:  # counted since it was taken
            await self._send(delivery, message, target)
        elif self._hosts[host := self._name_of(target)] >= MAX_OF_HOST:
            await self._deliveries.wait_for_host(delivery, host)
        else:
            self._hosts[host] += 1
            try:
                await self._send(delivery, message, target)
            finally:
                _decrement(self._hosts, host)

    def _name_of(self, target: Target) -> str:
        """Return what names the host of a webhook on the queue server, where its URL is not readable."""
        return hmac.digest(self._secrets[0], b"host\0" + target.host.encode(), "sha256").hex()[:32]

    async def _send(self, delivery: WebhookDelivery, message: Message, target: Target) -> None:
        try:
            failpoint("before_webhook")
            status = await self._post(delivery, message, target)
            failpoint("after_webhook_before_done")
        except AddressRefused as error:
            outcomes["refused"] += 1
            await self._failed(delivery, message.question_id, str(error), host=target.host)
        except NotSent as error:
            outcomes["failed"] += 1
            await self._failed(delivery, message.question_id, str(error), host=target.host)
        else:
            await self._responded(delivery, message, target, status)

    async def _post(self, delivery: WebhookDelivery, message: Message, target: Target) -> int:
        """Post the message, in a span below that of its job's submission. Returns the status."""
        keys = span_attributes(_log_keys(delivery))
        span = start_span("send webhook", "client", message.traceparent, keys)
        headers = self._headers(delivery, message) | ({"traceparent": span.traceparent} if span.traceparent else {})
        error = "aborted"
        try:
            status = await self._sender.post(target, headers, message.body)
            error = "" if 200 <= status < 300 else str(status)
        except NotSent as failure:
            error = type(failure).__name__
            raise
        else:
            return status
        finally:
            span.end(error)

    async def _responded(self, delivery: WebhookDelivery, message: Message, target: Target, status: int) -> None:
        if 200 <= status < 300 or status == 410:
            outcomes["gone" if status == 410 else "delivered"] += 1
            trace = trace_keys(message.traceparent)
            log.info("webhook delivered", **_log_keys(delivery), **trace, host=target.host, status=status)
            await self._deliveries.done(delivery, message.question_id)
        else:
            outcomes["failed"] += 1
            await self._failed(delivery, message.question_id, f"status {status}", host=target.host)

    async def _failed(self, delivery: WebhookDelivery, question_id: str, reason: str, **where: str) -> None:
        """Retry later, or give up after MAX_TRIES."""
        tries = delivery.tries + 1
        keys = _log_keys(delivery) | where | {"tries": tries, "reason": reason}
        if tries >= MAX_TRIES:
            outcomes["given_up"] += 1
            log.warning("webhook given up", **keys)
            await self._deliveries.done(delivery, question_id)
        else:
            log.info("webhook not delivered; it is retried", **keys)
            await self._deliveries.retry(delivery, delay_s(self._first_delay_s, tries), tries)

    def _headers(self, delivery: WebhookDelivery, message: Message) -> dict[str, str]:
        now_s = int(time.time())
        return {
            "Content-Type": "application/json",
            "User-Agent": "Holdfast",
            "webhook-id": message.id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": signature(self._secrets, delivery.tenant, message.id, now_s, message.body),
        }


def delay_s(first_s: float, tries: int) -> float:
    """Return the seconds until the next try: each is three times the last, up to LONGEST_DELAY_SECONDS, with jitter."""
    return min(first_s * 3.0 ** (tries - 1), LONGEST_DELAY_SECONDS) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter


def _full(counts: Counter[str], limit: int) -> list[str]:
    return [name for name, count in counts.items() if count >= limit]


def _decrement(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]


def _log_keys(delivery: WebhookDelivery) -> dict[str, Any]:
    return {"session_id": delivery.session_id, "job_id": delivery.job_id, "webhook": delivery.event}
