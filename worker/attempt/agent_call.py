"""Call the function of an agent, and turn what it returns or raises into the ending of its job."""

from __future__ import annotations

import asyncio
import inspect
import reprlib
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import structlog
from holdfast.shared.errors import DataKeyGone, EventInvalid, Fenced, LogGone, SealBroken
from holdfast.shared.log.conversation import Message
from holdfast.shared.log.events import MAX_EVENT_BYTES, encode
from holdfast.shared.tracing import current_span
from holdfast.worker.attempt.current_job import CurrentJob, running
from holdfast.worker.attempt.ending import Ending, completed, failed, place_of
from holdfast.worker.attempt.resumption import Resumption
from holdfast.worker.attempt.thread_run import ThreadRun
from holdfast.worker.process.threads import JobThreads, in_thread
from holdfast.worker.sdk.registry import Agent
from holdfast.worker.sdk.run import AgentError, Run, RunEnded

# The size of the parts of a returned text that is too large for one event: a character takes up to 6 bytes in JSON.
PIECE_CHARACTERS = 32 * 1024
_DELTA_BYTES = 1024  # upper bound of a delta's other fields

History = Callable[[], Awaitable[list[Message]]]

log = structlog.get_logger()


class AgentCall:
    """The call of an agent in one attempt, with the threads that it uses."""

    def __init__(
        self,
        agent: Agent,
        run: Run,
        resumption: Resumption,
        history: History,
        traceparent: str = "",
        *,
        with_place: bool = False,
    ) -> None:
        """`with_place`: an exception of the agent is reported with its place in the agent's source."""
        self._agent = agent
        self._job = CurrentJob(agent.name, run.session_id, run.job_id, run.attempt, traceparent)
        self._run = run
        self._resumption = resumption
        self._history = history
        self._threads = JobThreads(agent.name)
        self._with_place = with_place

    async def ending(self) -> Ending:
        """Run the agent. Any exception fails this job only."""
        self._threads.enter()
        try:
            with running(self._job), current_span(self._job.traceparent):
                await self._resumption.begin(await self._history())
                result = await call(self._agent, self._run)
                await self._resumption.finish()
                return await self._returned(result)
        except (AgentError, DataKeyGone, SealBroken, RunEnded, Fenced, LogGone, asyncio.CancelledError) as error:
            return failed(error)
        except BaseException as error:  # SystemExit of an agent must not end the worker
            log.warning("agent raised", **self._job.log_keys(), exc_info=error)
            return failed(error, place_of(error) if self._with_place else "")

    def close(self) -> None:
        """End the agent's threads, and refuse what it still emits."""
        self._run.end()
        self._threads.end()

    async def _returned(self, result: Any) -> Ending:
        """Return the ending of a job whose agent returned.

        A text returned by an agent that emitted none is its answer: it is emitted as deltas, and is the result as well
        if it fits into the terminal event."""
        if not isinstance(result, str) or self._run.has_text:
            return completed(result)
        try:
            pieces = pieces_of(result)
        except EventInvalid:
            return completed(result)
        for piece in pieces:
            await self._run.text(piece)
        return completed(result if len(pieces) == 1 else None)


def pieces_of(text: str) -> list[str]:
    """Split a text into as few deltas as the limit of an event allows."""
    if len(encode(text)) <= MAX_EVENT_BYTES - _DELTA_BYTES:
        return [text]
    return [text[at : at + PIECE_CHARACTERS] for at in range(0, len(text), PIECE_CHARACTERS)]


async def call(agent: Agent, run: Run) -> Any:
    """Call an agent of any kind. What a generator yields is emitted as text; a synchronous agent runs in a thread."""
    if inspect.iscoroutinefunction(agent.function):
        return await agent.function(run)
    if inspect.isasyncgenfunction(agent.function):
        async with aclosing(agent.function(run)) as pieces:
            async for piece in pieces:
                if error := _refusal(agent, piece):
                    await pieces.athrow(error)  # at the agent's `yield`, so that the traceback names it
                    raise error
                await run.text(piece)
        return None
    return await in_thread(_called, agent, ThreadRun(run, asyncio.get_running_loop()))


def _called(agent: Agent, run: ThreadRun) -> Any:
    """Call a synchronous agent. What a generator yields is emitted as text."""
    result = agent.function(run)
    if not inspect.isgenerator(result):
        return result
    for piece in result:
        if error := _refusal(agent, piece):
            result.throw(error)
            raise error
        run.text(piece)
    return None


def _refusal(agent: Agent, piece: Any) -> TypeError | None:
    """Return the error of a piece that is no text."""
    if isinstance(piece, str):
        return None
    return TypeError(f"agent {agent.name} yielded {type(piece).__name__} {reprlib.repr(piece)}; yield str")
