"""Real clients that edit messages and ask for other answers: the agent reads what the page shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.ag_ui import ag_ui_clients
from tests.support.ag_ui import text_of as ag_ui_text
from tests.support.ai_sdk import ai_chats
from tests.support.paths import Reader, read_by
from tests.support.served import Served


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
async def gateway(redis_url: str, reader: Reader) -> AsyncIterator[Served]:
    async with read_by(reader, redis_url) as gateway:
        yield gateway


async def stored(gateway: Served, session: str) -> list[str]:
    messages = (await gateway.client.get(f"/v1/sessions/{session}/messages")).json()["messages"]
    return [message["content"] for message in messages]


def texts(message: dict[str, Any]) -> str:
    if isinstance(message.get("content"), str):
        return str(message["content"])
    return "".join(str(part.get("text", part.get("content", ""))) for part in message["parts"])


@pytest.mark.parametrize("sdk", ["v6", "v7", "workflow"])
async def test_ten_turns_of_a_chat_with_edits_and_other_answers(gateway: Served, reader: Reader, sdk: str) -> None:
    async with ai_chats() as chats:
        chat = await chats(sdk, gateway.url, "c1", agent="agent", sendId=True)

        async def turn(command: str, **fields: Any) -> list[dict[str, Any]]:
            await chat.do(command, **fields)
            state = await chat.ended()
            assert state["error"] is None
            shown = [texts(message) for message in state["messages"]]
            assert reader.read == shown[:-1], command
            assert await stored(gateway, "c1") == shown
            return list(state["messages"])

        messages = await turn("send", text="one")
        messages = await turn("regenerate")
        messages = await turn("send", text="two")
        messages = await turn("edit", text="one edited", messageId=messages[0]["id"])
        messages = await turn("send", text="two again")
        messages = await turn("send", text="three")
        messages = await turn("regenerate")
        messages = await turn("regenerate", messageId=messages[3]["id"])
        messages = await turn("send", text="four")
        messages = await turn("edit", text="four edited", messageId=messages[4]["id"])
        again = await chats(sdk, gateway.url, "c1", agent="agent", messages=messages, sendId=True)
        await again.do("resume")
        assert (await again.ended())["messages"] == messages, "a page that is opened again shows the same"
        chat = again
        messages = await turn("send", text="five")
        assert len(messages) == 8


@pytest.mark.parametrize("sdk", ["v6", "v7"])
async def test_a_chat_whose_answers_are_of_another_session_begins_with_all_of_it(
    gateway: Served, reader: Reader, sdk: str
) -> None:
    earlier = [
        {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "one"}]},
        {"id": "m2", "role": "assistant", "parts": [{"type": "text", "text": "stored elsewhere"}]},
    ]
    async with ai_chats() as chats:
        chat = await chats(sdk, gateway.url, "c1", agent="agent", messages=earlier)
        for command, expected in (({"do": "send"}, ["one", "stored elsewhere", "two"]), ({"do": "regenerate"}, None)):
            await chat.do(command["do"], text="two")
            state = await chat.ended()
            assert state["error"] is None
            assert reader.read == [texts(message) for message in state["messages"][:-1]]
            assert expected is None or reader.read == expected


@pytest.mark.parametrize("kind", ["http", "tanstack", "copilotkit"])
async def test_ten_turns_of_a_thread_with_edits_and_other_answers(gateway: Served, reader: Reader, kind: str) -> None:
    async with ag_ui_clients() as clients:
        client = await clients(kind, gateway.url, "t1", agent="agent")
        answers = 0

        async def turn(command: str, **fields: Any) -> None:
            nonlocal answers
            answers += 1
            await client.do(command, **fields)
            state = await client.shows(
                lambda state: not state["open"] and ag_ui_text(state).endswith(f"answer {answers}")
            )
            assert state["error"] is None
            shown = [texts(message) for message in state["messages"]]
            assert reader.read == shown[:-1], command
            assert await stored(gateway, "t1") == shown

        await turn("send", text="one")
        await turn("reload")
        await turn("send", text="two")
        await turn("edit", index=0, text="one edited")
        await turn("send", text="two again")
        await turn("send", text="three")
        await turn("reload")
        await turn("edit", index=2, text="two edited")
        await turn("send", text="three again")
        await turn("edit", index=4, text="three edited")
        client = await clients(kind, gateway.url, "t1", agent="agent")
        await client.do("join")
        await client.shows(lambda state: not state["open"] and len(state["messages"]) == 6)
        await turn("send", text="four")
        await turn("reload")
