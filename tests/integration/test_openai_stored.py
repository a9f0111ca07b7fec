"""The input of a stored response, and its deletion, through OpenAI's own Python client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.integration.test_principal import by_header
from tests.support.process import until
from tests.support.served import Served, served
from tests.support.travel import echoes
from tests.support.workers import Client, worker_on

CALL = {"type": "function_call", "call_id": "c1", "name": "maps", "arguments": '{"at":"Faro"}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "found"}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    client = Client(redis_url)
    async with served(redis_url, authenticate=by_header) as gateway, worker_on(redis_url, [echoes]):
        await client.offered("echoes")
        yield gateway
    await client.close()


async def create(sdk: Any, given: Any = "go", **fields: Any) -> Any:
    return await sdk.responses.create(model="echoes", input=given, **fields)


def as_given(stored: Any) -> Any:
    """Return an item of a list in the form in which it was sent."""
    if stored.type == "message":
        return {"role": stored.role, "content": [part.text for part in stored.content]}
    fields = {"function_call": ("call_id", "name", "arguments"), "function_call_output": ("call_id", "output")}
    return {"type": stored.type, **{name: getattr(stored, name) for name in fields[stored.type]}}


async def test_the_input_items_of_a_response_are_listed_in_both_orders(sdk: Any) -> None:
    given = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "input_text", "text": "one"}]},
        {"role": "assistant", "content": "two"},
        CALL,
        OUTPUT,
        {"role": "user", "content": "three"},
    ]
    response = await create(sdk, given)
    expected = [
        {"role": "system", "content": ["be brief"]},
        {"role": "user", "content": ["one"]},
        {"role": "assistant", "content": ["two"]},
        CALL,
        OUTPUT,
        {"role": "user", "content": ["three"]},
    ]
    items = await sdk.responses.input_items.list(response.id)
    assert [as_given(item) for item in items.data] == expected[::-1]
    assert [as_given(item) async for item in sdk.responses.input_items.list(response.id, order="asc")] == expected
    assert json.loads(items.data[2].arguments) == {"at": "Faro"}


async def test_a_text_is_one_input_item(sdk: Any) -> None:
    response = await create(sdk, "go")
    [item] = (await sdk.responses.input_items.list(response.id)).data
    assert as_given(item) == {"role": "user", "content": ["go"]}
    assert item.content[0].type == "input_text"


async def test_input_items_are_read_page_by_page(sdk: Any) -> None:
    response = await create(sdk, [{"role": "user", "content": str(number)} for number in range(5)])
    page = await sdk.responses.input_items.list(response.id, limit=2)
    assert ([item.content[0].text for item in page.data], page.has_more) == (["4", "3"], True)
    texts = [item.content[0].text async for item in sdk.responses.input_items.list(response.id, limit=2, order="asc")]
    assert texts == ["0", "1", "2", "3", "4"]


async def test_an_input_item_is_not_referred_to(sdk: Any) -> None:
    response = await create(sdk)
    [item] = (await sdk.responses.input_items.list(response.id)).data
    with pytest.raises(openai.BadRequestError) as refused:
        await create(sdk, [{"type": "item_reference", "id": item.id}])
    assert refused.value.param == "input.0.id"


@pytest.mark.parametrize(
    ("query", "field"), [({"limit": 0}, "limit"), ({"order": "up"}, "order"), ({"after": "x"}, "after")]
)
async def test_a_wrong_parameter_of_a_list_is_named(sdk: Any, query: dict[str, Any], field: str) -> None:
    response = await create(sdk)
    with pytest.raises(openai.BadRequestError) as refused:
        await sdk.responses.input_items.list(response.id, extra_query=query)
    assert refused.value.param == field


async def test_the_only_response_of_a_session_is_deleted_with_the_session(sdk: Any, gateway: Served) -> None:
    response = await create(sdk)
    await sdk.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.retrieve(response.id)

    async def gone() -> bool:
        return not (await gateway.client.get("/v1/sessions")).json()["sessions"]

    await until(gone)


async def test_a_response_that_is_not_the_only_one_of_its_session_is_not_deleted(sdk: Any) -> None:
    first = await create(sdk)
    second = await create(sdk, previous_response_id=first.id)
    for response in (first, second):
        with pytest.raises(openai.ConflictError) as refused:
            await sdk.responses.delete(response.id)
        assert refused.value.code == "response_not_alone"
        assert refused.value.response.headers["x-should-retry"] == "false"
        assert (await sdk.responses.retrieve(response.id)).status == "completed"


async def test_deletion_needs_the_right_to_delete_and_the_input_the_right_to_read(sdk: Any) -> None:
    response = await create(sdk)
    with pytest.raises(openai.PermissionDeniedError):
        await sdk.responses.delete(response.id, extra_headers={"x-rights": "read submit"})
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.delete(response.id, extra_headers={"x-caller": "bob"})
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.input_items.list(response.id, extra_headers={"x-caller": "bob"})
    with pytest.raises(openai.PermissionDeniedError):
        await sdk.responses.input_items.list(response.id, extra_headers={"x-rights": "submit"})
    assert (await sdk.responses.retrieve(response.id)).status == "completed"
