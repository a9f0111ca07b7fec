"""One call tells a page that was reloaded all that it needs: messages, where to go on, and what a person is asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from holdfast.shared.log.log_replies import Attempt, Event

from tests.support.log import Session
from tests.support.served import Served, served
from tests.support.sse import SseStream
from tests.support.streams import frames_until

QUESTION = {"question_id": "q1", "prompt": "Which colour?", "schema": {"type": "string"}}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        yield gateway


async def get(gateway: Served, path: str = "/messages") -> dict[str, Any]:
    answer = await gateway.client.get(f"/v1/sessions/s{path}")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def ask(session: Session, attempt: Attempt, after: int = 1) -> None:
    body = json.dumps({"type": "question.asked", "job_id": "j1", **QUESTION}).encode()
    await session.log_writer.ask("s", attempt.epoch, after, Event("question.asked", "j1", body), "q1")


async def test_while_no_job_has_begun_there_is_nothing_to_replay(gateway: Served, session: Session) -> None:
    await session.submit()
    found = await get(gateway)
    assert (found["job_id"], found["replay_from"], found["question"]) == (None, None, None)


async def test_after_the_end_there_is_nothing_to_replay(gateway: Served, session: Session) -> None:
    await session.finish(await session.started(), 1)
    found = await get(gateway)
    assert (found["job_id"], found["replay_from"], found["question"]) == (None, None, None)


async def test_replayed_from_there_a_running_job_is_told_from_its_start(gateway: Served, session: Session) -> None:
    await session.finish(await session.started("j0"), 1)
    attempt = await session.started("j1")
    await session.append(attempt, 1, "a", "b")
    found = await get(gateway)
    assert found["job_id"] == "j1"
    assert [message["content"] for message in found["messages"] if message["job_id"] == "j1"] == ["hello", "ab"]
    url = f"{gateway.url}/v1/sessions/s/events?raw=true&last_event_id={found['replay_from']}"
    async with SseStream(url) as stream:
        frames = await frames_until(stream, lambda frame: frame.id == found["cursor"])
    assert [(frame.json["type"], frame.json["job_id"]) for frame in frames] == [
        ("job.started", "j1"),
        ("text.delta", "j1"),
        ("text.delta", "j1"),
    ]


async def test_a_job_that_waits_for_a_person_says_what_it_asks(gateway: Served, session: Session) -> None:
    attempt = await session.started()
    await ask(session, attempt)
    for path in ("/messages", "/jobs/j1", ""):
        assert (await get(gateway, path))["question"] == QUESTION
    assert (await get(gateway, "/jobs"))["jobs"][0]["question"] == QUESTION


async def test_an_open_question_is_shown_while_no_worker_holds_its_job(gateway: Served, session: Session) -> None:
    attempt = await session.started()
    await ask(session, attempt)
    await session.log_writer.release("s", attempt.epoch)
    found = await get(gateway)
    assert (found["question"], found["replay_from"]) == (QUESTION, "0-0")
    assert [message["content"] for message in found["messages"]] == ["hello"]


@pytest.mark.parametrize("how", ["answered", "ended"])
async def test_a_question_that_is_settled_is_not_open(gateway: Served, session: Session, how: str) -> None:
    attempt = await session.started()
    await ask(session, attempt)
    if how == "answered":
        assert (await gateway.client.post("/v1/sessions/s/jobs/j1/answer", json={"value": "red"})).status_code == 202
    else:
        await session.finish(attempt, 2)
    for path in ("/messages", "/jobs/j1"):
        assert (await get(gateway, path))["question"] is None
    assert not [field async for field, _ in session.redis.hscan_iter(session.keys.jobs) if b"prompt" in field]


async def test_a_record_from_before_prompts_were_kept_is_read(gateway: Served, session: Session) -> None:
    await ask(session, await session.started())
    await session.redis.hdel(session.keys.jobs, "j1:prompt")
    assert (await get(gateway, "/jobs/j1"))["question"] == QUESTION | {"prompt": None}
