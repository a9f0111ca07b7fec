"""Cancellations and answers, for all routes. A gateway writes an intent and notifies a worker, which carries it out."""

from __future__ import annotations

from holdfast.gateway.dependencies import State
from holdfast.gateway.limits import Body
from holdfast.gateway.routes.answer_body import AnswerBody, encoded_value, parse_answer_body
from holdfast.gateway.schema import check
from holdfast.gateway.submission import best_effort, notify_owner

ENDED = frozenset({"completed", "failed", "cancelled"})


async def cancel(state: State, session_id: str, job_id: str) -> str:
    """Cancel a job, which has no effect on one that is being cancelled or has ended. Returns its status until now.

    Raises SessionUnknown, JobUnknown, RedisError."""
    intent = await state["sessions"].cancel(session_id, job_id)
    if intent.status not in ENDED:
        await best_effort(notify_owner(state["queue"], session_id, intent.lease_owner), session_id, job_id)
    return intent.status


async def answer(state: State, session_id: str, job_id: str, body: Body) -> None:
    """Answer the pending question of a job with a body (AnswerBody).

    Raises BodyInvalid, QuestionAnswered, QuestionUnknown, SessionUnknown, JobUnknown, RedisError."""
    given = parse_answer_body(body.value)
    value = await state["cpu_slot"].run(body.size, encoded_value, given)
    question_id = await _check_answer(state, session_id, job_id, given, body.size)
    answered = await state["sessions"].answer(session_id, job_id, question_id, value)
    if answered.lease_owner is None:
        await best_effort(state["queue"].make_ready(session_id, job_id, answered.agent), session_id, job_id)
    else:
        await best_effort(state["queue"].notify(answered.lease_owner, session_id), session_id, job_id)


async def _check_answer(state: State, session_id: str, job_id: str, given: AnswerBody, size: int) -> str | None:
    """Return the id of the answered question. Raises BodyInvalid if the pending question's schema refuses the value."""
    waiting = await state["sessions"].question(session_id, job_id)
    if waiting is None or given.question_id not in (None, waiting.question_id):
        return given.question_id
    await state["cpu_slot"].run(size, check, given.value, waiting.schema, "value")
    return waiting.question_id
