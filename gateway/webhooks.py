"""The webhook of a job, as a request body has it."""

from __future__ import annotations

from typing import Any

import orjson
from holdfast.shared.errors import RequestInvalid
from holdfast.shared.settings import CommonSettings
from holdfast.shared.webhooks.addresses import parse_networks
from holdfast.shared.webhooks.target import FIELD, parse_target

WEBHOOK_EVENTS = ("job.ended", "question.asked")
_MEMBERS = frozenset({"url", "events"})


def webhook_json(webhook: dict[str, Any], settings: CommonSettings) -> bytes:
    """Check a webhook. Returns it as JSON, for the job's record. Raises RequestInvalid, which names the field."""
    if not settings.webhook_secret:
        raise RequestInvalid("webhook", "this deployment sends no webhooks: HOLDFAST_WEBHOOK_SECRET is not set")
    if not webhook.keys() <= _MEMBERS:
        raise RequestInvalid("webhook", "may have the members url and events, and no others")
    url, events = webhook.get("url"), webhook.get("events", list(WEBHOOK_EVENTS))
    if not isinstance(url, str):
        raise RequestInvalid(FIELD, "must be a string")
    parse_target(url, parse_networks(settings.webhook_networks))
    if not isinstance(events, list) or not events or any(event not in WEBHOOK_EVENTS for event in events):
        raise RequestInvalid("webhook.events", f"must be a list of at least one of {', '.join(WEBHOOK_EVENTS)}")
    return orjson.dumps({"url": url, "events": sorted(set(events))})
