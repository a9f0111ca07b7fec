"""Answers to questions of an agent, which are outputs of a function call."""

from __future__ import annotations

from typing import Any

from holdfast.gateway.dependencies import State
from holdfast.gateway.dialects.openai.response_ids import JobAddress
from holdfast.gateway.dialects.openai.responses import question_of
from holdfast.gateway.errors import BodyInvalid
from holdfast.gateway.intents import answer, check_answer
from holdfast.gateway.limits import parse_json
from holdfast.gateway.routes.answer_body import MAX_VALUE_BYTES
from holdfast.shared.errors import EventInvalid, RequestInvalid
from holdfast.shared.log.events import encode


async def answer_question(state: State, address: JobAddress, call_id: str, output: str) -> None:
    """Answer a question with the output of its function call: the text itself, or the JSON that it is, if the question
    allows only that.

    Raises RequestInvalid, QuestionUnknown, QuestionAnswered, RedisError."""
    if len(output) > MAX_VALUE_BYTES:
        raise RequestInvalid("input.0.output", f"must have at most {MAX_VALUE_BYTES} characters")
    question_id = question_of(call_id)
    value = await _allowed(state, address, question_id, output)
    await answer(state, *address, question_id, encode(value))


async def _allowed(state: State, address: JobAddress, question_id: str, output: str) -> Any:
    size = len(output)
    try:
        await check_answer(state, *address, question_id, output, size)
    except BodyInvalid as refusal:
        try:
            value = await state["cpu_slot"].run(size, parse_json, output.encode())
            encode(value)
            await check_answer(state, *address, question_id, value, size)
        except (RequestInvalid, EventInvalid):
            raise RequestInvalid("input.0.output", refusal.problems[0][1]) from None
        return value
    return output
