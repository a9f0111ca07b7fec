"""Answering what an agent asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from shared.holder import Attempt, Event
from tests.support.log import Session
from tests.support.served import Served, served


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        yield gateway


@pytest.fixture
async def asked(session: Session) -> Attempt:
    attempt = await session.started()
    event = Event("question.asked", "j1", b'{"type":"question.asked"}')
    await session.holder.ask("s", attempt.epoch, 1, event, "q1")
    return attempt


async def answer(gateway: Served, job_id: str = "j1", **body: Any) -> httpx2.Response:
    return await gateway.client.post(f"/v1/sessions/s/jobs/{job_id}/answer", json=body)


@pytest.mark.parametrize("named", [{"question_id": "q1"}, {}])
async def test_an_answer_is_taken_once(
    gateway: Served, session: Session, asked: Attempt, named: dict[str, str]
) -> None:
    first = await answer(gateway, value={"colour": "green"}, **named)
    assert (first.status_code, first.json()) == (202, {"session_id": "s", "job_id": "j1"})
    assert (await session.holder.recorded("s")).answers == {"q1": b'{"colour":"green"}'}
    again = await answer(gateway, value="red", **named)
    assert (again.status_code, again.json()["code"]) == (409, "question_answered")
    assert (await session.holder.recorded("s")).answers == {"q1": b'{"colour":"green"}'}


async def test_a_question_that_was_not_asked_cannot_be_answered(gateway: Served, asked: Attempt) -> None:
    for job_id, code in (("j1", "question_unknown"), ("j2", "job_unknown")):
        refused = await answer(gateway, job_id, question_id="q2", value=1)
        assert (refused.status_code, refused.json()["code"]) == (404, code)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "value"),
        ({"value": 1, "question_id": 5}, "question_id"),
        ({"value": 1, "question_id": "a b"}, "question_id"),
        ({"value": 1, "colour": "red"}, "colour"),
        ({"value": 2**64}, "value"),
        ({"value": "x" * 260_000}, "value"),
    ],
)
async def test_an_answer_that_cannot_be_used_is_refused(
    gateway: Served, asked: Attempt, body: dict[str, Any], field: str
) -> None:
    refused = await answer(gateway, **body)
    assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (422, "invalid_request", field)


async def test_nothing_is_an_answer_too(gateway: Served, session: Session, asked: Attempt) -> None:
    assert (await answer(gateway, value=None)).status_code == 202
    assert (await session.holder.recorded("s")).answers == {"q1": b"null"}
