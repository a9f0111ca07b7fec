"""Real clients that edit messages and ask for other answers: the agent reads what the page shows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.support.ag_ui import ag_ui_clients
from tests.support.ag_ui import text_of as ag_ui_text
from tests.support.ai_sdk import ai_chats
from tests.support.log import Session
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


Post = Callable[[Served, list[tuple[str, str, str]]], Awaitable[None]]


async def post_chat(gateway: Served, messages: list[tuple[str, str, str]]) -> None:
    """Send a chat whose messages have these ids, roles and texts."""
    sent = [{"id": name, "role": role, "parts": [{"type": "text", "text": text}]} for name, role, text in messages]
    response = await gateway.client.post("/ai-sdk/v7/agent", json={"id": "c1", "messages": sent})
    assert response.status_code == 200


async def post_thread(gateway: Served, messages: list[tuple[str, str, str]]) -> None:
    """Send a thread with these messages as a new run. The id of an answer begins with that of its job."""
    ids = [f"{name}/1" if role == "assistant" else name for name, role, _ in messages]
    sent = [{"id": name, "role": role, "content": text} for name, (_, role, text) in zip(ids, messages, strict=True)]
    body = {"threadId": "c1", "runId": f"r-{messages[-1][0]}", "messages": sent}
    response = await gateway.client.post("/ag-ui/agent", json=body)
    assert response.status_code == 200


POSTS = pytest.mark.parametrize("post", [post_chat, post_thread], ids=["ai-sdk", "ag-ui"])


@POSTS
async def test_an_edit_behind_an_unanswered_message_does_not_follow_what_it_replaces(
    gateway: Served, reader: Reader, post: Post
) -> None:
    await post(gateway, [("m1", "user", "one")])
    await post(gateway, [("m1", "user", "one"), ("m2", "user", "two")])
    await post(gateway, [("m1", "user", "one"), ("m3", "user", "two edited")])
    assert reader.read == ["one\n\ntwo edited"]
    assert await stored(gateway, "c1") == ["one\n\ntwo edited", "answer 3"]


@POSTS
async def test_an_unanswered_message_is_given_with_the_next_one_behind_the_answer_before_it(
    gateway: Served, reader: Reader, post: Post
) -> None:
    await post(gateway, [("m1", "user", "one")])
    [job] = (await gateway.client.get("/v1/sessions/c1/jobs")).json()["jobs"]
    answered = [("m1", "user", "one"), (job["job_id"], "assistant", "answer 1")]
    await post(gateway, [*answered, ("m2", "user", "two")])
    await post(gateway, [*answered, ("m2", "user", "two"), ("m3", "user", "three")])
    assert reader.read == ["one", "answer 1", "two\n\nthree"]


@POSTS
async def test_a_message_whose_job_was_stopped_before_it_started_is_given_with_the_next_one(
    gateway: Served, reader: Reader, post: Post, open_session: Callable[..., Session]
) -> None:
    """A page shows the empty answer of that job, which has its id."""
    session = open_session(session_id="c1")
    await session.submit("never")
    await session.sessions.cancel("c1", "never")
    shown = [("m1", "user", "one"), ("never", "assistant", "")]
    await post(gateway, [*shown, ("m2", "user", "two")])
    assert reader.read == ["one\n\ntwo"]
    assert (await gateway.client.get("/v1/sessions/c1/jobs/never")).json()["status"] == "cancelled"
    await post(gateway, [*shown, ("m3", "user", "three")])
    assert reader.read == ["one\n\nthree"]


@POSTS
async def test_messages_behind_an_unanswered_one_that_are_sent_twice_start_one_job(gateway: Served, post: Post) -> None:
    await post(gateway, [("m1", "user", "one")])
    for _ in range(2):
        await post(gateway, [("m1", "user", "one"), ("m2", "user", "two")])
    assert len((await gateway.client.get("/v1/sessions/c1/jobs")).json()["jobs"]) == 2


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
