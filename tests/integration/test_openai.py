"""OpenAI's own Python client, unchanged, at a gateway: responses, chat completions and models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest

from tests.support.process import until
from tests.support.served import Served, served
from tests.support.travel import THOUGHTS, asks, echoes, strands, told, travels
from tests.support.workers import Client, worker_on

QUICK = {"temperature": 0.0, "max_output_tokens": 5}
TOLD = told(words=5)
USER = [{"role": "user", "content": "go"}]
USER_INPUT = {"model": "travels", "input": "x"}
CHAT = {"model": "travels", "messages": USER}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    client = Client(redis_url)
    async with served(redis_url) as gateway, worker_on(redis_url, [travels, strands, echoes, asks]):
        await client.offered("travels", "strands", "echoes", "asks")
        yield gateway
    await client.close()


def kinds(output: Any) -> list[str]:
    return [item.type for item in output]


async def test_the_agents_are_the_models(sdk: Any) -> None:
    assert {"travels", "strands", "echoes"} <= {model.id async for model in sdk.models.list()}
    assert (await sdk.models.retrieve("travels")).id == "travels"
    with pytest.raises(openai.NotFoundError) as refused:
        await sdk.models.retrieve("gpt-1")
    assert refused.value.code == "model_not_found"


async def test_a_response_has_what_the_agent_did(sdk: Any) -> None:
    response = await sdk.responses.create(model="travels", input="go", metadata={"order": "7"}, **QUICK)
    assert (response.status, response.model, response.metadata) == ("completed", "travels", {"order": "7"})
    assert response.output_text == TOLD
    assert kinds(response.output) == ["reasoning", "message", "mcp_call", "mcp_call", "message"]
    assert response.output[0].summary[0].text == THOUGHTS
    assert (response.output[2].name, response.output[2].output) == ("maps", '{"found":3}')
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (10, 5)
    assert (response.temperature, response.max_output_tokens) == (0.0, 5)
    assert await sdk.responses.retrieve(response.id) == response


async def test_a_streamed_response_ends_as_the_retrieved_one(sdk: Any) -> None:
    async with sdk.responses.stream(model="travels", input="go", **QUICK) as stream:
        numbers = [event.sequence_number async for event in stream]
        final = await stream.get_final_response()
    assert numbers == list(range(len(numbers)))
    assert final.output_text == TOLD
    retrieved = await sdk.responses.retrieve(final.id)
    assert retrieved.output_text == TOLD
    assert [(item.id, item.status) for item in final.output] == [(item.id, item.status) for item in retrieved.output]


async def test_a_stream_is_resumed_after_any_event(sdk: Any) -> None:
    stream = await sdk.responses.create(model="travels", input="go", background=True, stream=True, **QUICK)
    whole = [event async for event in stream]
    response_id = whole[0].response.id
    for received in range(0, len(whole), 7):
        resumed = await sdk.responses.retrieve(response_id, stream=True, starting_after=received)
        assert [event async for event in resumed] == whole[received + 1 :]


async def test_the_helper_replays_a_response_from_its_beginning(sdk: Any) -> None:
    response = await sdk.responses.create(model="travels", input="go", **QUICK)
    async with sdk.responses.stream(response_id=response.id) as stream:
        assert (await stream.get_final_response()).output_text == TOLD


async def test_a_response_in_the_background_is_queued_first_and_completed_later(sdk: Any) -> None:
    created = await sdk.responses.create(model="travels", input="go", background=True, temperature=1)
    assert (created.status in ("queued", "in_progress"), created.background) == (True, True)

    async def completed() -> bool:
        return bool((await sdk.responses.retrieve(created.id)).status == "completed")

    await until(completed)
    assert (await sdk.responses.retrieve(created.id)).output_text == told()


async def test_a_response_continues_the_session_of_the_previous_one(sdk: Any) -> None:
    first = await sdk.responses.create(model="echoes", input="one")
    second = await sdk.responses.create(model="echoes", input="two", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert second.output_text == f"[user: one][assistant: {first.output_text}]two{{}}"


async def test_instructions_and_items_become_messages(sdk: Any) -> None:
    items: Any = [
        {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"at":1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "seen"},
        {"role": "developer", "content": "Be brief"},
    ]
    response = await sdk.responses.create(model="echoes", instructions="Be kind", input=items)
    messages = [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"call_id": "c1", "name": "look", "arguments": {"at": 1}}],
        },
        {"role": "tool", "call_id": "c1", "content": "seen"},
        {"role": "system", "content": "Be brief"},
    ]
    assert response.output_text == f"{ {'messages': messages} }{{}}"


async def test_a_question_is_a_function_call_that_the_next_response_answers(sdk: Any) -> None:
    asked = await sdk.responses.create(model="travels", input="ask", **QUICK)
    assert asked.status == "in_progress"
    question = asked.output[-1]
    assert (question.type, question.name) == ("function_call", "question")
    answer: Any = {"type": "function_call_output", "call_id": question.call_id, "output": "Faro"}
    wrong: Any = {**answer, "output": "Paris"}
    with pytest.raises(openai.BadRequestError) as refused:
        await sdk.responses.create(model="travels", previous_response_id=asked.id, input=[wrong])
    assert refused.value.param == "input.0.output"
    answered = await sdk.responses.create(model="travels", previous_response_id=asked.id, input=[answer])
    assert (answered.id, answered.status) == (asked.id, "completed")
    assert answered.output_text == told("Faro", 5)
    assert kinds(answered.output)[-3:] == ["function_call", "function_call_output", "message"]
    repeated = await sdk.responses.create(model="travels", previous_response_id=asked.id, input=[answer])
    assert repeated == answered
    with pytest.raises(openai.ConflictError) as conflict:
        await sdk.responses.create(
            model="travels", previous_response_id=asked.id, input=[{**answer, "output": "Brest"}]
        )
    assert conflict.value.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("text", ["Faro", [{"role": "user", "content": "Faro"}]], ids=["text", "message"])
async def test_a_response_that_waits_for_an_answer_is_not_continued(sdk: Any, text: Any) -> None:
    """The new job would wait behind the one that waits for the answer."""
    asked = await sdk.responses.create(model="travels", input="ask", **QUICK)
    with pytest.raises(openai.BadRequestError) as refused:
        await sdk.responses.create(model="travels", previous_response_id=asked.id, input=text)
    assert refused.value.param == "input"
    assert asked.output[-1].call_id.rpartition("#")[0] in refused.value.message


async def test_a_repeated_request_returns_the_question_that_is_open_already(sdk: Any) -> None:
    keyed: Any = {"model": "travels", "input": "ask", "extra_headers": {"Idempotency-Key": "k1"}, **QUICK}
    asked = await sdk.responses.create(**keyed)
    repeated = await sdk.responses.create(**keyed)
    assert repeated.id == asked.id
    assert repeated.output[-1].call_id == asked.output[-1].call_id


@pytest.mark.parametrize("output", ["\N{GRINNING FACE}" * 70_000, "\x00" * 50_000], ids=["emoji", "control"])
async def test_an_answer_that_does_not_fit_in_an_event_is_refused(sdk: Any, output: str) -> None:
    """Recorded, it would fail every attempt of the job."""
    asked = await sdk.responses.create(model="asks", input="go")
    answer: Any = {"type": "function_call_output", "call_id": asked.output[-1].call_id, "output": output}
    with pytest.raises(openai.BadRequestError) as refused:
        await sdk.responses.create(model="asks", previous_response_id=asked.id, input=[answer])
    assert refused.value.param == "input.0.output"


async def test_a_cancelled_response_is_cancelled_for_everybody(sdk: Any) -> None:
    stream = await sdk.responses.create(model="travels", input="go", background=True, stream=True, temperature=2)
    events, cancelled = [], None
    async for event in stream:
        events.append(event)
        if event.type == "response.output_text.delta" and event.delta == "3 ":
            cancelled = await sdk.responses.cancel(events[0].response.id)
    assert cancelled is not None
    assert cancelled.status == "cancelled"
    assert (events[-1].type, events[-1].response.status) == ("response.incomplete", "cancelled")
    assert (await sdk.responses.cancel(cancelled.id)).output_text == cancelled.output_text


async def test_a_failed_response_has_the_error_of_the_agent(sdk: Any) -> None:
    response = await sdk.responses.create(model="strands", input="go")
    assert response.status == "failed"
    assert response.error is not None
    assert (response.error.code, response.error.message) == ("strike", "The trains stand still")
    assert response.output_text == "So far "


async def test_the_same_idempotency_key_returns_the_first_response(sdk: Any) -> None:
    keyed: Any = {"model": "echoes", "input": "once", "extra_headers": {"Idempotency-Key": "k1"}}
    assert (await sdk.responses.create(**keyed)).id == (await sdk.responses.create(**keyed)).id


async def test_a_completion_has_the_text_and_the_usage(sdk: Any) -> None:
    body: Any = {**CHAT, "temperature": 0, "max_tokens": 5}
    completion = await sdk.chat.completions.create(**body)
    assert completion.choices[0].message.content == TOLD
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 15


async def test_a_streamed_completion_has_the_same_text_and_the_usage_on_request(sdk: Any) -> None:
    options: Any = {"model": "travels", "messages": USER, "temperature": 0, "max_completion_tokens": 5}
    async with sdk.chat.completions.stream(**options, stream_options={"include_usage": True}) as stream:
        final = await stream.get_final_completion()
    assert (final.choices[0].message.content, final.choices[0].finish_reason) == (TOLD, "stop")
    assert final.usage is not None
    assert final.usage.total_tokens == 15
    plain = await sdk.chat.completions.create(**options, stream=True)
    assert [chunk.usage async for chunk in plain if chunk.usage or not chunk.choices] == []


async def test_all_messages_of_a_completion_are_the_input(sdk: Any) -> None:
    messages: Any = [
        {"role": "system", "content": "Be kind"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "seen"},
        {"role": "user", "content": "go"},
    ]
    completion = await sdk.chat.completions.create(model="echoes", messages=messages)
    given = [
        {"role": "system", "content": "Be kind"},
        {"role": "assistant", "content": "", "tool_calls": [{"call_id": "c1", "name": "look", "arguments": {}}]},
        {"role": "tool", "call_id": "c1", "content": "seen"},
        {"role": "user", "content": "go"},
    ]
    assert completion.choices[0].message.content == f"{ {'messages': given} }{{}}"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_failed_completion_is_an_error(sdk: Any, *, stream: bool) -> None:
    async def complete() -> None:
        body: Any = {"model": "strands", "messages": USER, "stream": stream}
        async for _ in await sdk.chat.completions.create(**body):
            pass

    with pytest.raises(openai.APIError) as failed:
        await complete()
    assert failed.value.code == "strike"


async def test_a_failed_completion_is_not_repeated_unless_that_helps(gateway: Served) -> None:
    retry = []
    for content in ("no", "retryable"):
        body = {"model": "strands", "messages": [{"role": "user", "content": content}]}
        response = await gateway.client.post("/openai/v1/chat/completions", json=body)
        retry.append((response.status_code, response.headers.get("x-should-retry")))
    assert retry == [(502, "false"), (502, None)]


async def test_the_metadata_of_a_job_does_not_replace_its_output(gateway: Served) -> None:
    metadata = {"openai": {"id": "x", "status": "x", "output": "x", "temperature": 0.5}}
    body = {"agent": "echoes", "input": "go", "metadata": metadata}
    job = (await gateway.client.post("/v1/sessions/mine/jobs", json=body)).json()
    response = (await gateway.client.get(f"/openai/v1/responses/resp_mine{job['job_id']}")).json()
    assert (response["id"], response["temperature"]) == (f"resp_mine{job['job_id']}", 0.5)
    assert "x" not in (response["status"], response["output"])


async def test_a_job_of_another_dialect_is_read_as_a_response(gateway: Served, sdk: Any) -> None:
    body = {"agent": "travels", "input": "go", "options": {"temperature": 0, "max_tokens": 5}}
    job = (await gateway.client.post("/v1/sessions/mine/jobs", json=body)).json()
    async with sdk.responses.stream(response_id=f"resp_mine{job['job_id']}") as stream:
        assert (await stream.get_final_response()).output_text == TOLD


INVALID, UNSUPPORTED = "invalid_value", "unsupported_parameter"
MANY = f"[{','.join(['0'] * 50_000)}]"
CALL = {"type": "function_call", "call_id": "c1", "name": "look"}
HALF = {"name": "look", "arguments": f"[{','.join(['0'] * 25_000)}]"}
CALLS = {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": HALF}] * 2}
ERRORS: list[tuple[str, dict[str, Any], int, str | None, str]] = [
    ("responses", {"input": "x"}, 400, "model", INVALID),
    ("responses", {"model": "gpt-1", "input": "x"}, 404, "model", "model_not_found"),
    ("responses", {"model": "travels"}, 400, "input", INVALID),
    ("responses", {"model": "travels", "input": 7}, 400, "input", INVALID),
    ("responses", {**USER_INPUT, "holdfast": {"option": {}}}, 400, "holdfast.option", INVALID),
    ("chat/completions", {**CHAT, "tools": [{"type": "function"}]}, 400, "tools", UNSUPPORTED),
    ("chat/completions", {**CHAT, "stop": 7}, 400, "stop.str", INVALID),
    ("responses", {**USER_INPUT, "temperature": 3}, 400, "temperature", INVALID),
    ("responses", {**USER_INPUT, "tools": [{"type": "function"}]}, 400, "tools", UNSUPPORTED),
    ("responses", {**USER_INPUT, "conversation": "conv_1"}, 400, "conversation", UNSUPPORTED),
    ("responses", {"model": "travels", "input": [{"type": "item_reference"}]}, 400, "input.0.id", INVALID),
    ("responses", {"model": "travels", "input": [{"role": "king", "content": ""}]}, 400, "input.0.role", INVALID),
    ("responses", {**USER_INPUT, "previous_response_id": "resp_1"}, 404, None, "response_not_found"),
    ("responses", {**USER_INPUT, "metadata": {"openai": "x"}}, 400, "metadata", INVALID),
    ("responses", {**USER_INPUT, "metadata": {"k": 1}}, 400, "metadata", INVALID),
    ("responses", {**USER_INPUT, "text": {"format": {"type": "grammar"}}}, 400, "text.format.type", INVALID),
    ("responses", {"model": "travels", "input": [{**CALL, "arguments": MANY}]}, 400, "input", INVALID),
    ("chat/completions", {**CHAT, "messages": [CALLS]}, 400, "messages", INVALID),
    ("chat/completions", {**CHAT, "modalities": ["audio"]}, 400, "modalities", INVALID),
    ("chat/completions", {"model": "travels", "messages": []}, 400, "messages", INVALID),
    ("chat/completions", {**CHAT, "n": 2}, 400, "n", INVALID),
    ("chat/completions", {**CHAT, "model": "gpt-1"}, 404, "model", "model_not_found"),
]


@pytest.mark.parametrize(("path", "body", "status", "param", "code"), ERRORS, ids=lambda value: str(value)[:40])
async def test_bad_requests_get_an_error_that_names_the_parameter(
    gateway: Served, path: str, body: dict[str, Any], status: int, param: str | None, code: str
) -> None:
    response = await gateway.client.post(f"/openai/v1/{path}", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (status, param, code)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "call",
    [
        ("GET", "responses/resp_short"),
        ("GET", "responses/resp_unknown0123456789abcdef"),
        ("POST", "responses/resp_unknown0123456789abcdef/cancel"),
        ("GET", "responses/resp_unknown0123456789abcdef?stream=true"),
    ],
    ids=" ".join,
)
async def test_an_unknown_response_is_not_found(gateway: Served, call: tuple[str, str]) -> None:
    response = await gateway.client.request(call[0], f"/openai/v1/{call[1]}")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "response_not_found")


async def test_a_cursor_that_is_no_number_is_refused(gateway: Served) -> None:
    response = await gateway.client.get("/openai/v1/responses/resp_s0123456789abcdef?stream=true&starting_after=x")
    assert (response.status_code, response.json()["error"]["param"]) == (400, "starting_after")


async def test_a_client_that_leaves_does_not_cancel_its_job(gateway: Served, redis_url: str) -> None:
    body = {"model": "travels", "input": "go", "temperature": 1}
    with pytest.raises(httpx2.ReadTimeout):
        await gateway.client.post("/openai/v1/responses", json=body, timeout=0.2)
    sessions = (await gateway.client.get("/v1/sessions")).json()["sessions"]
    client = Client(redis_url)
    assert (await client.end(sessions[0]["session_id"], sessions[0]["job_id"]))["type"] == "job.completed"
    await client.close()
