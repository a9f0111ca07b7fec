"""A job's input is held to the schema that its agent offers, before anything is accepted."""

from __future__ import annotations

from typing import Any

import pytest
from holdfast.shared.offered_agents import OfferedAgents
from holdfast.shared.queue import Queue
from holdfast.worker.sdk.registry import CHAT_INPUT
from jsonschema_rs import Draft202012Validator

from tests.support.served import Served, served

SCHEMA = {
    "type": "object",
    "required": ["city", "days"],
    "additionalProperties": False,
    "properties": {
        "city": {"type": "string", "maxLength": 10},
        "days": {"type": "integer", "minimum": 1},
        "with": {"type": "array", "items": {"type": "string"}},
    },
}


async def post(gateway: Served, given: Any) -> tuple[int, dict[str, Any]]:
    await OfferedAgents(gateway.redis).offer({"planner": SCHEMA})
    answer = await gateway.client.post("/v1/sessions/s/jobs", json={"agent": "planner", "input": given})
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("given", "field", "detail"),
    [
        ({"city": "Rome"}, "input", "days is required"),
        ({"city": "Rome", "days": "two"}, "input.days", "must be of type integer"),
        ({"city": "Rome", "days": 0}, "input.days", "must be at least 1"),
        ({"city": "Rome" * 9, "days": 1}, "input.city", "must have at most 10 characters"),
        ({"city": "Rome", "days": 1, "with": ["Ann", 5]}, "input.with.1", "must be of type string"),
        ({"city": "Rome", "days": 1, "x": 1}, "input.x", "unknown field"),
        ("Rome", "input", "must be of type object"),
    ],
)
async def test_an_input_that_the_agent_does_not_take_is_refused_by_field(
    redis_url: str, given: Any, field: str, detail: str
) -> None:
    async with served(redis_url) as gateway:
        status, problem = await post(gateway, given)
        assert (status, problem["code"], problem["field"]) == (422, "invalid_request", field)
        assert problem["errors"][0] == {"field": field, "detail": detail}
        assert await Queue(gateway.redis, gateway.settings).depth() == 0


async def test_every_field_that_is_wrong_is_named(redis_url: str) -> None:
    async with served(redis_url) as gateway:
        _, problem = await post(gateway, {"city": 1, "days": "two"})
        assert [error["field"] for error in problem["errors"]] == ["input.city", "input.days"]


async def test_an_input_that_the_agent_takes_is_accepted(redis_url: str) -> None:
    async with served(redis_url) as gateway:
        status, _ = await post(gateway, {"city": "Rome", "days": 2})
        assert status == 202


@pytest.mark.parametrize("content", ["tea", [{"type": "text", "text": "t"}, {"type": "text", "text": "ea"}], []])
async def test_every_content_that_the_description_allows_is_accepted_for_an_agent_that_chats(
    redis_url: str, content: Any
) -> None:
    given = {"messages": [{"role": "user", "content": content}]}
    async with served(redis_url) as gateway:
        await OfferedAgents(gateway.redis).offer({"demo": CHAT_INPUT})
        openapi = (await gateway.client.get("/openapi.json")).json()
        described = openapi["components"]["schemas"]["JobBody"]["properties"]["input"]
        assert Draft202012Validator(described).is_valid(given)
        answer = await gateway.client.post("/v1/jobs", json={"agent": "demo", "input": given})
        assert answer.status_code == 202, answer.text


async def test_a_part_that_the_agent_does_not_allow_is_named(redis_url: str) -> None:
    part = {"type": "image_url", "image_url": "…"}
    given = {"messages": [{"role": "user", "content": [{"type": "text", "text": "tea"}, part]}]}
    async with served(redis_url) as gateway:
        await OfferedAgents(gateway.redis).offer({"demo": CHAT_INPUT})
        answer = await gateway.client.post("/v1/jobs", json={"agent": "demo", "input": given})
        assert (answer.status_code, answer.json()["field"]) == (422, "input.messages.0.content.1")


async def test_a_schema_that_changed_counts_soon(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.gateway.agent_catalog.CACHE_S", 0)
    async with served(redis_url) as gateway:
        assert (await post(gateway, {"city": "Rome", "days": 2}))[0] == 202
        await OfferedAgents(gateway.redis).offer({"planner": {"type": "string"}})
        answer = await gateway.client.post("/v1/sessions/s/jobs", json={"agent": "planner", "input": "Rome"})
        assert answer.status_code == 202
