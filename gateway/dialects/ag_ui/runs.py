"""What AG-UI's clients do with runs, below all of its paths: start, resume, join and stop them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import NamedTuple

from fastapi import Request
from holdfast.gateway.dependencies import State, known_session
from holdfast.gateway.dialects.ag_ui.history import (
    MAX_HISTORY_BYTES,
    History,
    of_all,
    of_client,
    of_session,
    reasoning_of,
)
from holdfast.gateway.dialects.ag_ui.ids import Cursor, job_run_id, pair_of, parse_event_id, run_key, session_of
from holdfast.gateway.dialects.ag_ui.kept import Message
from holdfast.gateway.dialects.ag_ui.refusal import HEADERS, PauseAndCut
from holdfast.gateway.dialects.ag_ui.run_input import (
    CLIENT_FIELDS,
    JOB_FIELDS,
    Resume,
    RunInput,
    ends_with_user,
    job_ids_of,
    job_value,
    parse_run_input,
    without_effect,
)
from holdfast.gateway.dialects.ag_ui.translation import AgUiStream, discards_for
from holdfast.gateway.dialects.following import continued
from holdfast.gateway.dialects.ignored import naming, unknown_fields
from holdfast.gateway.dialects.job_stream import check_room, stream_job
from holdfast.gateway.dialects.translation import Numbered
from holdfast.gateway.errors import NOT_JSON, BodyInvalid, EventsTrimmed
from holdfast.gateway.intents import answer, cancel, check_answer
from holdfast.gateway.limits import Body
from holdfast.gateway.principal import Principal, principal_of
from holdfast.gateway.routes.job_body import AnswerBody, encoded_value, job_request, parse_job_body
from holdfast.gateway.submission import accept
from holdfast.shared.errors import (
    CursorInvalid,
    JobUnknown,
    LogUnavailable,
    QuestionAnswered,
    RequestInvalid,
    SessionUnknown,
    UnreadableHere,
)
from holdfast.shared.job_record import JobState
from holdfast.shared.log.entries import Entry
from holdfast.shared.owner import public_id
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.sessions import JobRequest, RecentMessages, Submitted
from starlette.responses import Response
from starlette.types import ASGIApp

HISTORY_MESSAGES = 200
_NO_JOB = JobRequest("", b"", b"", b"", 0, "", None, "")


class Found(NamedTuple):
    """The job of a run. `again`: the client may have received a part of it."""

    job_id: str
    again: bool = False
    after_question: str | None = None


async def start_run(request: Request, agent: str, body: Body) -> ASGIApp:
    """Start the run of a RunAgentInput, or continue the one that its `resume` answers, and stream it.

    A run that was started before is streamed again. Raises the errors of `accept` and `answer`."""
    state: State = request.scope["state"]
    caller = principal_of(request.scope)
    given: RunInput = await state["cpu_slot"].run(body.size, parse_run_input, body.value)
    session_id, cursor = known_session(session_of(given.threadId), caller, "read"), cursor_of(request)
    try:
        check_room(request, session_id)
        if given.resume:
            found = await _continued(state, caller, session_id, Body(given.resume[0], body.size), cursor)
        else:
            found = await _started(state, caller, session_id, agent, Body(given, body.size), cursor)
        job = await state["sessions"].job(session_id, found.job_id)
        history = await state["cpu_slot"].run(body.size, _history, given, job.job_id)
        stream = AgUiStream(given.threadId, given.runId, job.job_id, history, found.again, found.after_question)
        if found.again:
            stream = replace(stream, reasoning=reasoning_of(given.messages, job.job_id))
        ignored = (*without_effect(given), *unknown_fields(given, body.value))
        return naming(ignored, await stream_run(request, stream, job, cursor))
    except (LogUnavailable, RedisError, UnreadableHere):
        if cursor is None:
            raise
        return PauseAndCut()


async def join_run(
    request: Request, session_id: str, thread_id: str, run_id: str | None, held: Sequence[Message] = ()
) -> ASGIApp:
    """Stream a run from its beginning, with the thread's messages; without `run_id` the one that runs or is next,
    else the last one, of which the stored messages suffice. `held`: the messages that the client has. Raises
    SessionUnknown, JobUnknown, EventsTrimmed."""
    state, caller, cursor = request.scope["state"], principal_of(request.scope), cursor_of(request)
    session_id = known_session(session_id, caller, "read")
    try:
        if run_id is None:
            job_id = (await state["sessions"].session(session_id)).current.job_id
        else:
            job_id = await job_of_run(state, session_id, run_id)
        job = await state["sessions"].job(session_id, job_id)
        recent = await recent_messages(state, session_id, job_id)
        history = await state["cpu_slot"].run(recent.size, of_session, recent, job_id)
        stream = AgUiStream(thread_id, run_id or job_run_id(session_id, job_id), job_id, history, snapshot=True)
        stream = replace(stream, reasoning=reasoning_of(held, job_id))
        try:
            return await stream_run(request, stream, job, cursor)
        except EventsTrimmed:
            if run_id is not None or job.end is None:
                raise
            history = await state["cpu_slot"].run(recent.size, of_all, recent)
            return _without_events(replace(stream, history=history), job)
    except (LogUnavailable, RedisError, UnreadableHere):
        if cursor is None:
            raise
        return PauseAndCut()


async def recent_messages(state: State, session_id: str, job_id: str) -> RecentMessages:
    """Read the stored messages of a thread that its history can have. Raises RedisError."""
    return await state["sessions"].recent(session_id, job_id, HISTORY_MESSAGES, MAX_HISTORY_BYTES)


async def stop_run(request: Request, thread_id: str, run_id: str | None) -> bool:
    """Cancel the job of a run that has not ended, or the open one of the thread. Returns whether there was one.

    A run that has answered a question is not known: then the open job is cancelled if a question of it was answered."""
    state, caller = request.scope["state"], principal_of(request.scope)
    try:
        session_id = known_session(session_of(thread_id), caller, "stop")
        session = await state["sessions"].session(session_id)
    except SessionUnknown:
        return False
    job_id = session.current.job_id
    if run_id is not None:
        try:
            job_id = await job_of_run(state, session_id, run_id)
        except JobUnknown:
            if not (await state["sessions"].job(session_id, job_id)).answered:
                return False
    if job_id not in session.backlog:
        return False
    await cancel(state, session_id, job_id)
    return True


async def job_of_run(state: State, session_id: str, run_id: str) -> str:
    """Return the job of a run, by the client's id or by `job_run_id`. Raises JobUnknown, RedisError."""
    submitted = await state["sessions"].first(session_id, _keyed(run_id))
    if submitted is not None:
        return str(submitted.job_id)
    pair = pair_of(run_id)
    if pair is None or pair[0] != public_id(session_id):
        raise JobUnknown
    return pair[1]


async def stream_run(request: Request, stream: AgUiStream, job: JobState, cursor: Cursor | None) -> ASGIApp:
    """Stream a job after the cursor. One in another job is ignored. A client that begins with a snapshot is not shown
    what was discarded before it connected. Raises EventsTrimmed, RedisError."""
    if cursor is not None and cursor.id.epoch and (job.first is None or cursor.id < job.first):
        cursor = None
    stream = replace(stream, cursor=cursor, answered=job.answered if job.end is None else None)
    state: State = request.scope["state"]
    if stream.snapshot and job.attempt > 1:
        stream = replace(stream, discards=discards_for(cursor, await state["log"].discards(job.session_id, job.job_id)))
    return await stream_job(request, state, job, stream, cursor)


def cursor_of(request: Request) -> Cursor | None:
    """Return the last event that the client has received. Raises CursorInvalid."""
    given = request.headers.getlist("last-event-id") or request.query_params.getlist("last_event_id")
    if len(given) > 1:
        raise CursorInvalid
    return parse_event_id(given[0]) if given and given[0] else None


async def _started(
    state: State, caller: Principal, session_id: str, agent: str, body: Body, cursor: Cursor | None
) -> Found:
    """Submit the last message, behind the job that those before it name; where they name none, all messages as the
    beginning of a conversation. One run id starts one job."""
    given: RunInput = body.value
    if cursor is not None:
        return Found(await job_of_run(state, session_id, given.runId), again=True)
    if not ends_with_user(given):  # a client that repeats a run sends what it has received of it, too
        with suppress(JobUnknown):
            return Found(await job_of_run(state, session_id, given.runId), again=True)
        raise RequestInvalid("messages", "the last message must be one of the user")
    continuation = await continued(state, session_id, job_ids_of(given))
    page = ((f"client.{name}", name) for name in CLIENT_FIELDS)
    with _named(("input", "messages"), *((name, f"forwardedProps.{name}") for name in JOB_FIELDS), *page):
        value = await state["cpu_slot"].run(body.size, job_value, given, agent, continuation)
        parsed = await state["cpu_slot"].run(body.size, parse_job_body, value)
        request = await state["cpu_slot"].run(body.size, job_request, parsed)
        keyed = _keyed(given.runId, request)
        submitted: Submitted = await accept(state, caller, session_id, keyed, Body(parsed.input, body.size))
    return Found(submitted.job_id, again=submitted.replayed)


async def _continued(state: State, caller: Principal, session_id: str, body: Body, cursor: Cursor | None) -> Found:
    """Answer the question of an interrupt or cancel its job, unless it has been answered."""
    resume: Resume = body.value
    pair = pair_of(resume.interruptId)
    if pair is None:
        raise RequestInvalid("resume.0.interruptId", "must be the id of an interrupt of this thread")
    job_id, question_id = pair
    if cursor is not None:
        return Found(job_id, True, question_id)
    caller.check("stop" if resume.status == "cancelled" else "answer")
    try:
        if resume.status == "cancelled":
            await cancel(state, session_id, job_id, question_id)
        else:
            await _answer(state, session_id, job_id, question_id, Body(resume.payload, body.size))
    except QuestionAnswered:  # the first answer counts
        return Found(job_id, True, question_id)
    return Found(job_id, after_question=question_id)


async def _answer(state: State, session_id: str, job_id: str, question_id: str, payload: Body) -> None:
    with _named(("value", "resume.0.payload")):
        given = AnswerBody.model_construct(value=payload.value)
        value = await state["cpu_slot"].run(payload.size, encoded_value, given)
        await check_answer(state, session_id, job_id, question_id, payload.value, payload.size)
        await answer(state, session_id, job_id, question_id, value)


def _without_events(stream: AgUiStream, job: JobState) -> Response:
    """Return the messages of a thread and the end of its last run."""
    assert job.end is not None
    dialect, end = Numbered(stream), Entry(job.end, f"job.{job.status}", job.job_id, job.end_body or b"{}", None)
    content = dialect.opening + dialect.frames(dialect.initial_state, [end])[0]
    return Response(content, headers=dict(HEADERS))


def _keyed(run_id: str, request: JobRequest = _NO_JOB) -> JobRequest:
    """Return a request by which one run id identifies one job, whatever else a repeated request has."""
    key = run_key(run_id)
    return replace(request, idempotency_key=key, digest=key)


def _history(given: RunInput, job_id: str) -> History:
    try:
        return of_client(given.messages, job_id)
    except TypeError:
        raise RequestInvalid("messages", NOT_JSON) from None


@contextmanager
def _named(*names: tuple[str, str]) -> Iterator[None]:
    """Name the fields of errors as the client does. `names`: ours and the client's."""
    try:
        yield
    except BodyInvalid as error:
        raise BodyInvalid([(_renamed(field, names), allowed) for field, allowed in error.problems]) from None
    except RequestInvalid as error:
        allowed = error.detail.removeprefix(f"{error.field}: ")
        raise RequestInvalid(_renamed(error.field, names), allowed) from None


def _renamed(field: str, names: tuple[tuple[str, str], ...]) -> str:
    for ours, theirs in names:
        if field == ours or field.startswith(f"{ours}."):
            return theirs
    return field
