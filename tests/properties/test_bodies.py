"""Whatever JSON a request body has, the parser of its protocol accepts it or raises the protocol's own error."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from holdfast.gateway.dialects.ag_ui import run_input
from holdfast.gateway.dialects.ag_ui.copilotkit import Envelope
from holdfast.gateway.dialects.ag_ui.ids import parse_event_id
from holdfast.gateway.dialects.ag_ui.routes import run_in
from holdfast.gateway.dialects.ai_sdk import chat_body
from holdfast.gateway.dialects.following import Continuation
from holdfast.gateway.dialects.openai.completion_body import completion_job, parse_completion_body
from holdfast.gateway.dialects.openai.response_body import parse_response_body, response_job
from holdfast.gateway.dialects.openai.response_ids import parse_response_id
from holdfast.gateway.routes.job_body import encoded_value, job_request, parse_answer_body, parse_job_body, with_key
from holdfast.gateway.routes.tickets import TicketBody
from holdfast.gateway.webhooks import webhook_json
from holdfast.shared.errors import HoldfastError
from holdfast.shared.settings import CommonSettings
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

EXAMPLES = 120
SETTINGS = CommonSettings(webhook_secret="0123456789abcdef0123456789abcdef")
NESTED = "[" * 120 + "]" * 120  # three in each other are more than orjson encodes, and fewer than it reads
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["user", "assistant", "system", "tool", "text", "message", "a\0b", "\r\n", "__proto__", "x" * 300]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
) | st.just(orjson.loads(NESTED))

USER = {"role": "user", "content": [{"type": "text", "text": "tea"}]}
JOB: dict[str, Any] = {
    "agent": "scripted",
    "input": {"messages": [USER]},
    "options": {"n": 1},
    "metadata": {"of": "x"},
    "timeout_s": 5,
    "on_busy": "queue",
    "budget": {"tokens": 1, "cost_usd": 0.5, "seconds": 1, "tool_calls": 1},
    "webhook": {"url": "https://app.example/hook", "events": ["job.ended"]},
}
CHAT = {
    "id": "c1",
    "messages": [
        {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "tea"}, {"type": "file", "url": "u"}]}
    ],
    "trigger": "submit-message",
    "messageId": "m1",
    "options": {},
    "metadata": {},
}
TOOL_CALL = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
COMPLETION = {
    "model": "scripted",
    "messages": [USER, {"role": "assistant", "content": "x", "tool_calls": [TOOL_CALL]}, USER],
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_completion_tokens": 5,
    "temperature": 1,
    "metadata": {"a": "b"},
}
RESPONSE = {
    "model": "scripted",
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "tea"}]},
        {"type": "function_call_output", "call_id": "c", "output": "x"},
    ],
    "instructions": "be brief",
    "previous_response_id": "resp_x",
    "background": True,
    "store": True,
    "stream": True,
    "reasoning": {"effort": "low"},
    "metadata": {"a": "b"},
}
RUN = {
    "threadId": "t1",
    "runId": "r1",
    "messages": [
        {"id": "m1", **USER},
        {"id": "m2", "role": "tool", "toolCallId": "t", "content": "x"},
        {"id": "m3", **USER},
    ],
    "forwardedProps": {"options": {}},
    "resume": [{"interruptId": "i", "status": "resolved", "payload": 1}],
    "state": {},
    "tools": [],
    "context": [],
}
ENVELOPE = {"method": "agent/run", "params": {"agentId": "scripted", "threadId": "t1"}, "body": RUN}
TICKET = {"rights": ["read", "stop"], "expires_in_s": 60, "renewable": False, "cookie": True}


def job(value: Any) -> None:
    """As gateway.submission reads a job."""
    body = parse_job_body(value)
    request = job_request(body)
    if body.webhook is not None:
        webhook_json(body.webhook, SETTINGS)
    with_key(request, body, "key")


def chat(value: Any) -> None:
    body = chat_body.parse_chat_body(value)
    chat_body.message_key(body, "scripted")
    for continuation in (Continuation(), Continuation("j1", len(body.messages) - 1)):
        job(chat_body.job_value(body, "scripted", continuation))


def run(value: Any) -> None:
    body = run_input.parse_run_input(value)
    if run_input.ends_with_user(body):
        for continuation in (Continuation(), Continuation("j1", len(body.messages) - 1)):
            job(run_input.job_value(body, "scripted", continuation))


def envelope(value: Any) -> None:
    body = Envelope.model_validate(value).body
    if body is not None:
        run_in(body)
        run(body)


def response(value: Any) -> dict[str, Any]:
    body = parse_response_body(value)
    return response_job(body, body.input, None)


PARSERS: dict[str, tuple[Callable[[Any], object], Any]] = {
    "job": (job, JOB),
    "answer": (lambda value: encoded_value(parse_answer_body(value)), {"value": {"a": 1}, "question_id": "q1"}),
    "ticket": (TicketBody.model_validate, TICKET),
    "ai-sdk": (chat, CHAT),
    "completions": (lambda value: job(completion_job(parse_completion_body(value))), COMPLETION),
    "responses": (lambda value: job(response(value)), RESPONSE),
    "ag-ui": (run, RUN),
    "copilotkit": (envelope, ENVELOPE),
    "stop": (run_in, {"runId": "r1"}),
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of a value and of all values in it."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for step, inner in steps for place in places(inner, (*path, step)))]


def changed(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """A copy of a value with another one at this path."""
    if not path:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(copy[path[0]], path[1:], other)
    return copy


@pytest.mark.parametrize("name", PARSERS)
def test_a_body_with_anything_anywhere_is_accepted_or_refused_by_the_protocol(name: str) -> None:
    parse, valid = PARSERS[name]
    parse(valid)

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.integers(0, 1000), VALUES), min_size=1, max_size=3))
    @example([(0, None)])
    def check(changes: list[tuple[int, Any]]) -> None:
        body = valid
        for number, other in changes:
            paths = places(body)
            body = changed(body, paths[number % len(paths)], other)
        try:
            parse(orjson.loads(json.dumps(body)))
        except ValidationError:
            assert name in ("ticket", "copilotkit")  # converted by their routes
        except HoldfastError as error:
            if error.status >= 500:
                raise

    check()


@pytest.mark.parametrize("parse", [parse_event_id, parse_response_id])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.text(max_size=40)
    | st.from_regex(r"\A-?[0-9]{0,25}[-.:_][0-9]{0,25}([.:_-][0-9]{0,25})?\Z")
    | st.text("resp_abc.:-0129", max_size=30).map(lambda text: f"resp_{text}")
)
def test_an_id_of_a_dialect_is_parsed_or_refused_by_the_protocol(parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except HoldfastError as error:
        if error.status >= 500:
            raise
