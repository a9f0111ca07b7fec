"""Other projects' clients at a gateway that authenticates: streams, cut and resumed ones, and refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI
from websockets.exceptions import InvalidStatus

from tests.support.access import guarded, key_of
from tests.support.ag_ui import ag_ui_clients
from tests.support.ai_sdk import ai_chats
from tests.support.dialect_cuts import Access, cut_followers
from tests.support.openai_node import openai_node
from tests.support.served import Served
from tests.support.websocket_client import open_socket
from tests.support.workers import worker_on

WRONG = "hfk_wrong"
BEARER = {"Authorization": f"Bearer {WRONG}"}
MESSAGES = [{"role": "user", "content": "Hello"}]
WITH_KEY = ("OpenAI, Python", "OpenAI, Node", "ai 7", "WorkflowChatTransport", "HttpAgent")
WITH_TICKET = ("WebSocket, Node", "ai 7", "HttpAgent")
REASON = "the token is none that is accepted here"


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with guarded(redis_url) as gateway:
        yield gateway


async def test_clients_with_an_api_key_or_a_ticket_are_cut_and_resume(gateway: Served, redis_url: str) -> None:
    key = (await key_of(gateway, "acme")).token
    async with worker_on(redis_url):
        found = await asyncio.gather(
            cut_followers(WITH_KEY, gateway.url, redis_url, cuts=2, seed=8, access=Access(key, "acme")),
            cut_followers(WITH_TICKET, gateway.url, redis_url, cuts=2, seed=9, access=Access(key, "acme", True)),
        )
    counts = [(name, each) for group in found for name, each in group.items()]
    assert [(name, each) for name, each in counts if not each.clean or each.cuts < 2] == []


async def test_openai_clients_get_an_authentication_error(gateway: Served) -> None:
    async with AsyncOpenAI(base_url=f"{gateway.url}/openai/v1", api_key=WRONG, max_retries=0) as sdk:
        for call in (sdk.models.list(), sdk.responses.create(model="scripted", input="x", stream=True)):
            with pytest.raises(openai.AuthenticationError) as refused:
                await call
            assert (refused.value.code, refused.value.type) == ("unauthenticated", "authentication_error")
    [line] = await openai_node(
        gateway.url, "completion", body={"model": "scripted", "messages": MESSAGES}, apiKey=WRONG
    )
    assert (line["error"]["name"], line["error"]["status"]) == ("AuthenticationError", 401)
    assert line["error"]["code"] == "unauthenticated"


@pytest.mark.parametrize("sdk", ["v7", "workflow"])
async def test_a_chat_of_the_ai_sdk_shows_what_is_missing(gateway: Served, sdk: str) -> None:
    async with ai_chats() as start:
        chat = await start(sdk, gateway.url, "c1", sendId=True, headers=BEARER)
        for command in ({"command": "send", "text": "Hello"}, {"command": "resume"}):
            await chat.do(**command)
            ended = await chat.ended()
            assert ended["status"] == "error"
            assert ended["error"].endswith(REASON)


@pytest.mark.parametrize("kind", ["http", "tanstack"])
async def test_a_client_of_ag_ui_shows_what_is_missing(gateway: Served, kind: str) -> None:
    async with ag_ui_clients() as start:
        client = await start(kind, gateway.url, "t1", headers=BEARER)
        await client.do("send", text="Hello")
        ended = await client.ended()
        assert "401" in ended["error"]
        assert kind != "http" or REASON in ended["error"]


async def test_a_websocket_is_refused_before_its_handshake(gateway: Served) -> None:
    for query, fields in ((f"?ticket={WRONG}", {}), ("", BEARER)):
        with pytest.raises(InvalidStatus) as refused:
            async with open_socket(gateway.port, query=query, additional_headers=fields):
                pass
        response = refused.value.response
        assert response.status_code == 401
        assert json.loads(response.body)["code"] == "unauthenticated"
