"""Answers to questions of an agent, which are outputs of a function call."""

from __future__ import annotations

from typing import Any

import orjson
from holdfast.gateway.dependencies import State
from holdfast.gateway.dialects.openai.job_output import outputs_of
from holdfast.gateway.dialects.openai.messages import parse_values
from holdfast.gateway.dialects.openai.response_ids import JobAddress
from holdfast.gateway.dialects.openai.response_object import head_of
from holdfast.gateway.dialects.openai.responses import ResponseTranslation, question_of
from holdfast.gateway.errors import BodyInvalid
from holdfast.gateway.intents import answer, check_answer
from holdfast.gateway.routes.job_body import MAX_VALUE_BYTES
from holdfast.shared.errors import EventInvalid, QuestionAnswered, RequestInvalid
from holdfast.shared.log.conversation import content_of
from holdfast.shared.log.events import encode


async def answer_question(state: State, address: JobAddress, question_id: str, output: str, field: str) -> None:
    """Answer a question with the output of its function call: the text itself, or the JSON that it is, if the question
    allows only that. Has no effect if this answer is recorded already, since clients repeat requests.

    Args:
        field: of the request, for errors of the output.

    Raises RequestInvalid, QuestionUnknown, QuestionAnswered, RedisError."""
    value = encode(await _allowed(state, address, question_id, output, field))
    if len(value) > MAX_VALUE_BYTES:
        raise RequestInvalid(field, f"must have at most {MAX_VALUE_BYTES} bytes of JSON")
    try:
        await answer(state, *address, question_id, value)
    except QuestionAnswered:
        if not await _is_recorded(state, address, question_id, output):
            raise


async def _allowed(state: State, address: JobAddress, question_id: str, output: str, field: str) -> Any:
    """Return the value that a question allows of an output. Raises RequestInvalid."""
    size = len(output.encode())
    try:
        await check_answer(state, *address, question_id, output, size)
    except BodyInvalid as refusal:
        try:
            value = await state["cpu_slot"].run(size, parse_values, output)
            encode(value)
            await check_answer(state, *address, question_id, value, size)
        except (RequestInvalid, EventInvalid):
            raise RequestInvalid(field, refusal.problems[0][1]) from None
        return value
    return output


async def _is_recorded(state: State, address: JobAddress, question_id: str, output: str) -> bool:
    """Return whether the recorded answer to a question is this output."""
    recorded = await _recorded(state, address, question_id)
    try:
        return recorded in (output, content_of(parse_values(output)))
    except RequestInvalid:
        return recorded == output


async def _recorded(state: State, address: JobAddress, question_id: str) -> str | None:
    """Return the recorded answer: from the journal, or from the log, which has it once the agent has received it."""
    job = await state["sessions"].job(*address)
    answer = state["log"].answer
    journalled = None if job.end is not None else await answer(job.session_id, job.job_id, question_id)
    if journalled is not None:
        return content_of(orjson.loads(journalled))
    output = await outputs_of(state["log"]).read(state["log"], job, ResponseTranslation(head_of(job)))
    for item in reversed(output.items()):
        if item.kind == "function_call_output" and item.fields and question_of(item.fields["call_id"]) == question_id:
            return str(item.fields["output"])
    return None
