"""Parameters of OpenAI's calls: those that have no effect, options of the agent, and structured output."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from holdfast.worker import Run
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.support.served import Served, served
from tests.support.travel import echoes
from tests.support.workers import Client, worker_on

ADA = {"name": "Ada", "age": 36}
USER: Any = [{"role": "user", "content": "go"}]
UNKNOWN = {"top_k": 40, "num_ctx": 4096, "features": {"web": True}, "seed": 7, "empty": [], "a b": 1}
NAMED = "top_k, num_ctx, features, seed, a%20b"


class Person(BaseModel):
    name: str
    age: int


async def describes(run: Run) -> dict[str, Any]:
    """Returns an object of the schema that was asked for, and says nothing."""
    wanted = run.options.get("response_format", {})
    assert wanted.get("type") == "json_object" or set(wanted["json_schema"]["schema"]["properties"]) == set(ADA)
    await run.reasoning("Hm. ")
    return ADA


async def counts(run: Run) -> dict[str, int]:
    """Says something, and returns an object."""
    await run.text("Two pages.")
    return {"pages": 2}


async def sums_up(run: Run) -> dict[str, str]:
    """Returns its text in an object."""
    return {"text": "All of it.", "finish_reason": "stop"}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    client = Client(redis_url)
    async with served(redis_url) as gateway, worker_on(redis_url, [echoes, describes, counts, sums_up]):
        await client.offered("echoes", "describes", "counts", "sums_up")
        yield gateway
    await client.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["responses", "chat/completions"])
async def test_parameters_without_effect_are_named_in_the_response(gateway: Served, path: str, *, stream: bool) -> None:
    body = {"model": "counts", "input": "go"} if path == "responses" else {"model": "counts", "messages": USER}
    answer = await gateway.client.post(f"/openai/v1/{path}", json={**body, **UNKNOWN, "stream": stream})
    assert (answer.status_code, answer.headers["holdfast-ignored"]) == (200, NAMED)
    assert "Two pages." in answer.text
    plain = await gateway.client.post(f"/openai/v1/{path}", json={**body, "stream": stream})
    assert "holdfast-ignored" not in plain.headers


async def test_names_of_parameters_do_not_fill_the_head_of_a_response(gateway: Served) -> None:
    unknown = {f"{'x' * 1000}{number}": 1 for number in range(1000)}
    body = {"model": "counts", "messages": USER, **unknown}
    answer = await gateway.client.post("/openai/v1/chat/completions", json=body)
    assert answer.status_code == 200
    assert answer.headers["holdfast-ignored"].split(", ") == ["x" * 64] * 20


async def test_options_of_the_agent_reach_it_in_every_call(sdk: Any) -> None:
    extra: Any = {"holdfast": {"options": {"depth": 3, "temperature": 2}}}
    told = "go{'depth': 3, 'temperature': 2}"
    response = await sdk.responses.create(model="echoes", input="go", temperature=1, extra_body=extra)
    assert response.output_text == told
    whole = await sdk.chat.completions.create(model="echoes", messages=USER, extra_body=extra)
    assert whole.choices[0].message.content == told
    stream = await sdk.chat.completions.create(model="echoes", messages=USER, extra_body=extra, stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == told


@pytest.mark.parametrize("stop", ["END", ["END"]])
async def test_stop_sequences_are_an_option_of_the_agent(sdk: Any, stop: Any) -> None:
    whole = await sdk.chat.completions.create(model="echoes", messages=USER, stop=stop)
    assert whole.choices[0].message.content == "go{'stop': ['END']}"


async def test_responses_are_parsed_into_the_class_that_was_asked_for(sdk: Any) -> None:
    response = await sdk.responses.parse(model="describes", input="go", text_format=Person)
    assert response.output_parsed == Person(**ADA)
    async with sdk.responses.stream(model="describes", input="go", text_format=Person) as stream:
        final = await stream.get_final_response()
    assert final.output_parsed == Person(**ADA)
    assert (await sdk.responses.retrieve(final.id)).output_text == final.output_text


async def test_completions_are_parsed_into_the_class_that_was_asked_for(sdk: Any) -> None:
    whole = await sdk.chat.completions.parse(model="describes", messages=USER, response_format=Person)
    assert whole.choices[0].message.parsed == Person(**ADA)
    async with sdk.chat.completions.stream(model="describes", messages=USER, response_format=Person) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.parsed == Person(**ADA)


async def test_langchain_reads_structured_output(gateway: Served) -> None:
    for responses in (False, True):
        model = ChatOpenAI(
            model="describes", base_url=f"{gateway.url}/openai/v1", api_key="none", use_responses_api=responses
        )
        assert await model.with_structured_output(Person).ainvoke("go") == Person(**ADA)


async def test_json_without_a_schema_is_an_option_too(sdk: Any) -> None:
    wanted: Any = {"type": "json_object"}
    whole = await sdk.chat.completions.create(model="describes", messages=USER, response_format=wanted)
    response = await sdk.responses.create(model="describes", input="go", text={"format": wanted})
    assert json.loads(whole.choices[0].message.content) == json.loads(response.output_text) == ADA


async def test_a_result_behind_a_text_is_no_text(sdk: Any) -> None:
    assert (await sdk.responses.create(model="counts", input="go")).output_text == "Two pages."
    for stream in (False, True):
        assert await completion(sdk, "counts", stream=stream) == "Two pages."


async def test_the_text_of_a_result_is_the_text(sdk: Any) -> None:
    assert (await sdk.responses.create(model="sums_up", input="go")).output_text == "All of it."
    for stream in (False, True):
        assert await completion(sdk, "sums_up", stream=stream) == "All of it."


async def completion(sdk: Any, model: str, *, stream: bool) -> str:
    """Return the text of a completion."""
    answer = await sdk.chat.completions.create(model=model, messages=USER, stream=stream)
    if not stream:
        return str(answer.choices[0].message.content)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in answer])
