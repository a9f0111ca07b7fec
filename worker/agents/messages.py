"""The conversation as a provider is to see it: the session's history, then the job's input. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from worker.run import AgentError, Run
from worker.validation import faults

SYSTEM = ("system", "developer")


class ToolUse(BaseModel):
    """One call of a tool, with its parsed arguments."""

    call_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    arguments: dict[str, Any] = {}


class Message(BaseModel):
    """One message, in the shape of `GET …/messages`. A `tool` message answers the call `call_id`."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str = ""
    tool_calls: list[ToolUse] = []
    call_id: str = ""


class _Input(BaseModel):
    messages: list[Message]


def conversation(run: Run) -> list[Message]:
    """History and input. Raises AgentError `input_invalid` when the input is no conversation, or says nothing."""
    return answered([*_remembered(run.history), *_said(run.input)])


def answered(messages: list[Message]) -> list[Message]:
    """The messages with an answer after every tool call and no answer without one, as providers insist on. A job that
    was cut between a call and its answer leaves one without the other."""
    return list(_answered(messages))


def _answered(messages: list[Message]) -> Iterator[Message]:
    for position, message in enumerate(messages):
        if message.role == "tool" or not (message.content or message.tool_calls):
            continue
        yield message
        answers = _answers(messages[position + 1 :]) if message.tool_calls else {}
        called = {call.call_id for call in message.tool_calls}
        yield from (answer for answer in answers.values() if answer.call_id in called)
        yield from (_unanswered(call) for call in message.tool_calls if call.call_id not in answers)


def _answers(following: list[Message]) -> dict[str, Message]:
    """The first answer to each call, as far as the user says nothing: an agent within a tool may speak before it."""
    answers: dict[str, Message] = {}
    for message in takewhile(lambda later: later.role != "user", following):
        if message.role == "tool":
            answers.setdefault(message.call_id, message)
    return answers


def _unanswered(call: ToolUse) -> Message:
    return Message(role="tool", call_id=call.call_id, content="error: the call was cut off before it had a result")


def _remembered(history: Iterable[dict[str, Any]]) -> Iterator[Message]:
    """A message that is none of a chat, left by another agent, is passed over: it would block the session."""
    for message in history:
        try:
            yield Message.model_validate(message)
        except ValidationError:
            continue


def _said(given: str | dict[str, Any]) -> list[Message]:
    try:
        messages = _INPUT.validate_python(given)
    except ValidationError as error:
        raise AgentError("input_invalid", f"The job's input is no conversation: {faults(error)}") from None
    said = [Message(role="user", content=messages)] if isinstance(messages, str) else messages.messages
    if not any(message.content for message in said):
        raise AgentError("input_invalid", "The job's input says nothing")
    return said


_INPUT: TypeAdapter[str | _Input] = TypeAdapter(str | _Input)
