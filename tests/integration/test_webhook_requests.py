"""The webhook of a job at the gateway: what is accepted, what is refused, and what is seen of it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from click.testing import CliRunner
from holdfast.shared.webhooks.signature import parse_secrets, signature, tenant_secret

from holdfast.__main__ import cli
from tests.support.documents import block
from tests.support.receiver import receiver
from tests.support.served import served
from tests.support.workers import worker_on

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("webhook", "field"),
    [
        ({"url": "http://example.com/"}, "webhook.url"),
        ({"url": "https://10.0.0.1/"}, "webhook.url"),
        ({"url": 5}, "webhook.url"),
        ({}, "webhook.url"),
        ({"url": "https://example.com/", "events": []}, "webhook.events"),
        ({"url": "https://example.com/", "events": ["job.started"]}, "webhook.events"),
        ({"url": "https://example.com/", "events": [{}]}, "webhook.events"),
        ({"url": "https://example.com/", "secret": "a"}, "webhook"),
        ("https://example.com/", "webhook"),
    ],
)
async def test_a_webhook_that_is_not_allowed_is_422_with_its_field(redis_url: str, webhook: Any, field: str) -> None:
    async with served(redis_url, webhook_secret=SECRET) as gateway:
        response = await gateway.client.post("/v1/jobs", json={"agent": "scripted", "input": "a", "webhook": webhook})
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_request"
    assert field in response.text


async def test_without_a_secret_every_webhook_is_422(redis_url: str) -> None:
    async with served(redis_url) as gateway:
        body = {"agent": "scripted", "input": "a", "webhook": {"url": "https://example.com/"}}
        response = await gateway.client.post("/v1/jobs", json=body)
    assert response.status_code == 422
    assert "HOLDFAST_WEBHOOK_SECRET" in response.text


async def test_a_webhook_of_a_request_is_delivered_and_checked_by_the_receiver_of_the_page(redis_url: str) -> None:
    settings: dict[str, Any] = {"webhook_secret": SECRET, "webhook_networks": "127.0.0.0/8"}
    async with receiver() as hook, served(redis_url, **settings) as gateway, worker_on(redis_url, **settings):
        body = {"agent": "scripted", "input": "a", "options": {"tokens": 0}, "webhook": hook.hook}
        while (response := await gateway.client.post("/v1/sessions/s/jobs", json=body)).status_code == 503:
            pass  # the worker has not announced its agents yet
        assert response.status_code == 202
        [request] = await hook.got(1)
        job = await gateway.client.get(f"/v1/sessions/s/jobs/{response.json()['job_id']}")
        assert "private-1" not in job.text
    receive = example()
    secret = tenant_secret(SECRET.encode(), "")
    assert receive(secret, request.headers, request.body) == request.message
    assert receive(secret, request.headers, request.body) is None
    with pytest.raises(PermissionError):
        receive(secret, request.headers, request.body + b" ")


def test_the_receiver_of_the_page_refuses_an_old_message() -> None:
    old = int(time.time()) - 1000
    headers = {"webhook-id": "a", "webhook-timestamp": str(old)}
    headers["webhook-signature"] = signature(parse_secrets(SECRET), "", "a", old, b"{}")
    with pytest.raises(PermissionError, match="too old"):
        example()(tenant_secret(SECRET.encode(), ""), headers, b"{}")


def test_the_command_prints_the_secret_of_a_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_WEBHOOK_SECRET", f"{SECRET},{'o' * 32}")
    printed = CliRunner().invoke(cli, ["webhooks", "secret", "--tenant", "acme"]).output.strip()
    assert printed == tenant_secret(SECRET.encode(), "acme")


def example() -> Any:
    """The function `receive` of the page."""
    names: dict[str, Any] = {"json": json}
    exec(block("docs/webhooks.md", "def receive"), names)
    return names["receive"]
