"""The tool loop that the agents of all providers share: the model's turn, its tools, the model's next turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from worker.agents.tool_calls import Answer, ToolCall, give_up, run_side_by_side
from worker.run import Run
from worker.tools import Tool

# A result has to fit into the terminal event, however many bytes its characters take there.
MAX_RESULT_CHARS = 32_000

# Why a model stopped, in one set of words for all providers.
STOP = "stop"
LENGTH = "length"
REFUSAL = "refusal"
MAX_STEPS = "max_steps"


@dataclass(frozen=True, slots=True)
class Turn:
    """What a model said in one turn, and why it stopped: one of the words above, or the provider's own."""

    text: str
    calls: list[ToolCall]
    finish: str


class Conversation(Protocol):
    """A provider's side of a chat. It remembers what was said in the shape that the provider wants back."""

    async def turn(self) -> Turn:
        """Have the model speak, emitting as it does."""

    def add(self, answers: list[Answer]) -> None:
        """Tell the model what its calls of the last turn gave."""


async def chat(run: Run, conversation: Conversation, tools: Mapping[str, Tool], max_steps: int) -> dict[str, Any]:
    """Let the model speak and run its tools until it stops, or for `max_steps` turns. Returns the job's result."""
    steps = 0
    while True:
        turn = await conversation.turn()
        if turn.finish != STOP:
            await give_up(run, turn.calls, f"the model stopped before the call was complete ({turn.finish})")
            return result(turn.text, turn.finish)
        if not turn.calls:
            return result(turn.text, STOP)
        conversation.add(await run_side_by_side(run, turn.calls, tools))
        steps += 1
        if steps == max_steps:
            return result(turn.text, MAX_STEPS)


def result(text: str, finish: str) -> dict[str, Any]:
    """The text of the last turn, or its beginning and `truncated`, and why the model stopped."""
    cut = {"truncated": True} if len(text) > MAX_RESULT_CHARS else {}
    return {"text": text[:MAX_RESULT_CHARS], "finish_reason": finish, **cut}
