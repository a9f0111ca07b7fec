"""Answering what an agent asks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from holdfast.shared.log.log_replies import Attempt, Event

from tests.support.log import Session
from tests.support.served import Served, served


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        yield gateway


async def ask(session: Session, attempt: Attempt, question: str = "q1", schema: dict[str, Any] | None = None) -> None:
    body = json.dumps({"type": "question.asked", "schema": schema or {}}).encode()
    after = await session.redis.xlen(session.keys.log)
    await session.log_writer.ask("s", attempt.epoch, after, Event("question.asked", "j1", body), question)


@pytest.fixture
async def asked(session: Session) -> Attempt:
    attempt = await session.started()
    await ask(session, attempt)
    return attempt


async def answer(gateway: Served, job_id: str = "j1", **body: Any) -> httpx2.Response:
    return await gateway.client.post(f"/v1/sessions/s/jobs/{job_id}/answer", json=body)


@pytest.mark.parametrize("named", [{"question_id": "q1"}, {}])
async def test_an_answer_is_taken_once(
    gateway: Served, session: Session, asked: Attempt, named: dict[str, str]
) -> None:
    first = await answer(gateway, value={"colour": "green"}, **named)
    assert (first.status_code, first.json()) == (202, {"session_id": "s", "job_id": "j1"})
    assert (await session.log_writer.recorded("s", "j1")).answers == {"q1": b'{"colour":"green"}'}
    again = await answer(gateway, value="red", **named)
    assert (again.status_code, again.json()["code"]) == (409, "question_answered")
    assert (await session.log_writer.recorded("s", "j1")).answers == {"q1": b'{"colour":"green"}'}


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
    assert (await session.log_writer.recorded("s", "j1")).answers == {"q1": b"null"}


TRIP = {
    "type": "object",
    "required": ["city"],
    "properties": {"city": {"enum": ["Rome", "Oslo"]}, "days": {"type": "integer", "minimum": 1}},
}


@pytest.mark.parametrize(
    ("schema", "value", "field", "detail"),
    [
        ({"type": "boolean"}, "yes", "value", "must be of type boolean"),
        ({"enum": ["red", "green"]}, "blue", "value", 'must be one of ["red","green"]'),
        (TRIP, {"days": 1}, "value", "city is required"),
        (TRIP, {"city": "Bonn"}, "value.city", 'must be one of ["Rome","Oslo"]'),
        (TRIP, {"city": "Rome", "days": 0}, "value.days", "must be at least 1"),
        ({"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "number"}}}, [1, "2"], "value.1",
         "must be of type number"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("named", [{"question_id": "q1"}, {}])
async def test_a_value_that_the_question_does_not_take_is_refused_by_field_and_the_question_waits_on(
    gateway: Served, session: Session, named: dict[str, str],
    schema: dict[str, Any], value: Any, field: str, detail: str,
) -> None:  # fmt: skip
    await ask(session, await session.started(), schema=schema)
    refused = await answer(gateway, value=value, **named)
    assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (422, "invalid_request", field)
    assert refused.json()["errors"] == [{"field": field, "detail": detail}]
    assert (await session.sessions.job("s", "j1")).status == "waiting"


async def test_every_field_of_an_answer_that_is_wrong_is_named(gateway: Served, session: Session) -> None:
    await ask(session, await session.started(), schema=TRIP)
    refused = await answer(gateway, value={"city": "Bonn", "days": "two"})
    assert [error["field"] for error in refused.json()["errors"]] == ["value.city", "value.days"]


async def test_a_value_that_the_question_takes_is_kept(gateway: Served, session: Session) -> None:
    await ask(session, await session.started(), schema=TRIP)
    assert (await answer(gateway, value={"city": "Rome", "days": 2})).status_code == 202
    assert (await session.log_writer.recorded("s", "j1")).answers == {"q1": b'{"city":"Rome","days":2}'}


async def test_an_answered_question_is_answered_whatever_the_value_while_the_next_one_waits(
    gateway: Served, session: Session
) -> None:
    attempt = await session.started()
    await ask(session, attempt, "q1", {"type": "string"})
    await answer(gateway, value="yes")
    await ask(session, attempt, "q2", {"type": "integer"})
    assert (await answer(gateway, question_id="q1", value=5)).json()["code"] == "question_answered"
    assert (await answer(gateway, question_id="q2", value="five")).status_code == 422
    assert (await answer(gateway, value=5)).status_code == 202
    assert (await session.log_writer.recorded("s", "j1")).answers == {"q1": b'"yes"', "q2": b"5"}


async def test_a_schema_that_refers_elsewhere_refuses_nothing(gateway: Served, session: Session) -> None:
    await ask(session, await session.started(), schema={"$ref": "https://schema.example/one.json"})
    assert (await answer(gateway, value=1)).status_code == 202
