"""Wait for a person who answers the question of an agent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.shared.log.session_claims import ENDINGS
from holdfast.worker.attempt.allowance import Allowance
from holdfast.worker.attempt.attempt_context import AttemptContext
from holdfast.worker.sdk.run import AgentError


class Questions:
    """Waits for the answer to a job's question, one at a time, while the agent's time limit is paused.

    `on_wait_changed` is called when a wait begins or ends; it ends after `seconds` at the latest."""

    def __init__(
        self, context: AttemptContext, allowance: Allowance, seconds: float, on_wait_changed: Callable[[], None]
    ) -> None:
        self._context = context
        self._allowance = allowance
        self._seconds = seconds
        self._on_wait_changed = on_wait_changed
        self._pending: tuple[str, asyncio.Future[bytes]] | None = None

    @property
    def waits(self) -> bool:
        return self._pending is not None

    async def answer(self, question_id: str) -> bytes:
        """Wait for the answer. Raises AgentError `unanswered`."""
        given: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending = question_id, given
        self._allowance.pause()
        self._on_wait_changed()
        self._context.on_intent()  # the answer may have arrived before this wait began
        try:
            async with asyncio.timeout(self._seconds):
                return await given
        except TimeoutError:
            unanswered = ENDINGS["unanswered"]
            raise AgentError("unanswered", str(unanswered["message"]), retryable=True) from None
        finally:
            self._pending = None
            self._allowance.run()
            self._on_wait_changed()

    async def look_for_answer(self) -> None:
        """Read the answer to the pending question, if there is one."""
        if self._pending is None:
            return
        question_id, given = self._pending
        answer = await self._context.log_writer.answer_to(self._context.attempt.session_id, question_id)
        if answer is not None and not given.done():
            given.set_result(answer)

    def close(self) -> None:
        """Cancel the wait of a thread, which cannot be cancelled itself."""
        if self._pending is not None:
            self._pending[1].cancel()
