"""Clients of other projects that resume while a rate is exceeded or a gateway has no room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from holdfast.gateway.dialects.ag_ui import refusal
from holdfast.gateway.layers import door

from tests.support.ag_ui import ag_ui_clients
from tests.support.ag_ui import text_of as text_of_run
from tests.support.ai_sdk import ai_chats, text_of
from tests.support.fault_proxy import FaultProxy
from tests.support.process import until
from tests.support.scene import words
from tests.support.served import Served, served
from tests.support.sse import SseStream
from tests.support.workers import Client, worker_on

OPTIONS = {"tokens": 60, "interval_ms": 20}


@pytest.fixture
async def gateway(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """A gateway with a limit of rates, which `exhaust` uses up for four seconds.

    On a busy machine a client needs some time to come back."""
    monkeypatch.setattr(door, "retry_ms", lambda: 10)
    monkeypatch.setattr(refusal, "PAUSE_S", (0.01, 0.02))
    limits: dict[str, Any] = {"address_requests_per_second": 0.25, "address_requests_burst": 3}
    async with served(redis_url, **limits) as gateway, worker_on(redis_url):
        client = Client(redis_url)
        await client.offered("scripted")
        await client.close()
        yield gateway


async def exhaust(gateway: Served) -> None:
    """Send requests until one is refused."""

    async def refused() -> bool:
        return (await gateway.client.get("/v1/agents")).status_code == 429

    await until(refused)


async def test_a_workflow_transport_that_exceeds_a_rate_comes_back(gateway: Served) -> None:
    async with FaultProxy(gateway.port) as proxy, ai_chats() as start:
        chat = await start("workflow", f"http://127.0.0.1:{proxy.port}", "c1", sendId=True)
        await chat.send("Hello", body={"options": OPTIONS})
        await chat.shows(lambda state: len(state["messages"]) == 2 and "w3 " in text_of(state["messages"][1]))
        await exhaust(gateway)
        proxy.cut()
        ended = await chat.ended()
        assert (ended["status"], ended["error"]) == ("ready", None)
        assert text_of(ended["messages"][1]) == words(60)
        assert proxy.connections > 2


async def test_tanstack_ai_that_exceeds_a_rate_comes_back(gateway: Served) -> None:
    async with FaultProxy(gateway.port) as proxy, ag_ui_clients() as start:
        client = await start("tanstack", f"http://127.0.0.1:{proxy.port}", "t1")
        await client.do("send", text="Hello", props={"options": OPTIONS})
        await client.shows(lambda state: "w3 " in text_of_run(state))
        await exhaust(gateway)
        proxy.cut()
        ended = await client.shows(lambda state: not state["open"])
        assert ended["error"] is None
        assert text_of_run(ended) == words(60)
        assert proxy.connections > 2


@pytest.mark.parametrize("sdk", ["v6", "v7"])
async def test_a_resumption_of_use_chat_is_refused_with_an_error(gateway: Served, sdk: str) -> None:
    """An empty answer would look like a complete one."""
    await exhaust(gateway)
    response = await gateway.client.get(f"/ai-sdk/{sdk}/scripted/c1/stream")
    assert (response.status_code, response.headers["retry-after"]) == (429, "4")
    assert "requests" in response.text


@pytest.mark.parametrize("path", ["/ag-ui/scripted/t1/events", "/openai/v1/responses/resp_1?stream=true"])
async def test_a_client_without_a_cursor_gets_an_error(gateway: Served, path: str) -> None:
    await exhaust(gateway)
    assert (await gateway.client.get(path)).status_code == 429


@pytest.mark.parametrize("client", ["v7", "workflow"])
async def test_a_chat_is_not_accepted_that_could_not_be_streamed(redis_url: str, client: str) -> None:
    async with served(redis_url, max_viewers=1) as gateway:
        await gateway.offer("scripted")
        message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}
        async with SseStream(f"{gateway.url}/v1/sessions/other/events?wait=true"):
            refused = await gateway.client.post(f"/ai-sdk/{client}/scripted", json={"id": "c1", "messages": [message]})
        assert refused.status_code == 503
        assert (await gateway.client.get("/v1/sessions")).json()["sessions"] == []
