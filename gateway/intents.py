"""What a caller may want of a job that was accepted: to cancel it, to answer its question, or to delete its session."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from holdfast.gateway.dependencies import State
from holdfast.gateway.limits import Body
from holdfast.gateway.routes.job_body import encoded_value, parse_answer_body
from holdfast.gateway.schema import check
from holdfast.gateway.submission import best_effort, notify_owner
from holdfast.shared.redis.errors import RedisError

ENDED = frozenset({"completed", "failed", "cancelled"})


async def cancel(state: State, session_id: str, job_id: str, question_id: str | None = None) -> str:
    """Write the intent to cancel a job, and return the job's status. Has no effect on a job that has ended.

    `question_id`: only if this is its open question. Raises QuestionUnknown, QuestionAnswered, SessionUnknown,
    JobUnknown, RedisError."""
    intent = await state["sessions"].cancel(session_id, job_id, question_id=question_id)
    if intent.status not in ENDED:
        await best_effort(notify_owner(state["queue"], session_id, intent.lease_owner), session_id, job_id)
    return intent.status


async def answer_with(state: State, session_id: str, job_id: str, body: Body) -> None:
    """Answer the open question of a job with a body (AnswerBody).

    Raises BodyInvalid, QuestionAnswered, QuestionUnknown, SessionUnknown, JobUnknown, RedisError."""
    given = parse_answer_body(body.value)
    value = await state["cpu_slot"].run(body.size, encoded_value, given)
    question_id = await check_answer(state, session_id, job_id, given.question_id, given.value, body.size)
    await answer(state, session_id, job_id, question_id, value)


async def answer(state: State, session_id: str, job_id: str, question_id: str | None, value: bytes) -> None:
    """Answer a question with a value, as JSON, that its schema allows; by default the open one.

    Raises SessionUnknown, JobUnknown, QuestionUnknown, QuestionAnswered, RedisError."""
    answered = await state["sessions"].answer(session_id, job_id, question_id, value)
    if answered.lease_owner is None:
        await best_effort(state["queue"].make_ready(session_id, job_id, answered.agent), session_id, job_id)
    else:
        await best_effort(state["queue"].notify(answered.lease_owner, session_id), session_id, job_id)


async def check_answer(
    state: State, session_id: str, job_id: str, question_id: str | None, value: Any, size: int
) -> str | None:
    """Return the id of the question that a value answers: of the open one by default.

    Raises BodyInvalid if the schema of the open question refuses the value; SessionUnknown, JobUnknown, RedisError."""
    waiting = await state["sessions"].question(session_id, job_id)
    if waiting is None or question_id not in (None, waiting.question_id):
        return question_id
    await state["cpu_slot"].run(size, check, value, waiting.schema, "value")
    return waiting.question_id


async def delete(state: State, session_id: str, *only: str) -> None:
    """Cancel all jobs of a session and delete it. Its viewers receive `session.deleted`.

    `only`: a job; only if the session has no other one. Raises SessionUnknown, JobUnknown, SessionHasOtherJobs,
    RedisError."""
    intent = await state["sessions"].delete(session_id, *only)
    state["hub"].session_deleted(session_id)
    await state["queue"].add_control_entry(session_id)  # a worker deletes the session; the notification saves time
    if intent.lease_owner is not None:
        await best_effort(state["queue"].notify(intent.lease_owner, session_id), session_id)
    with suppress(RedisError):  # best effort: reading the list also removes it
        await state["session_list"].remove(session_id)
