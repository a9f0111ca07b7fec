"""Build the conversation for a provider: the session's history, then the job's input, as far as they fit into the
model's context. Free of I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from operator import itemgetter
from typing import Annotated, Any, Literal

import orjson
from holdfast.shared.log.conversation import NO_FILES, joined, place_of_file
from holdfast.worker.sdk.run import AgentError, Run
from holdfast.worker.sdk.tools import faults
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

SYSTEM = ("system", "developer")

# An estimate between English, with four and more bytes per token, and scripts with two.
BYTES_PER_TOKEN = 3
TOKENS_PER_MESSAGE = 8


class ToolUse(BaseModel):
    """A tool call with parsed arguments."""

    call_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    arguments: dict[str, Any] = {}


class Message(BaseModel):
    """A message in the format of `GET …/messages`. A `tool` message answers the call `call_id`. Text parts are
    joined."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str, BeforeValidator(joined)] = ""
    tool_calls: list[ToolUse] = []
    call_id: str = ""


class _Input(BaseModel):
    messages: list[Message]


def conversation(run: Run) -> list[Message]:
    """Return history and input. Raises AgentError `input_invalid` when the input is no conversation, or empty."""
    return answered([*_remembered(run.history), *input_messages(run.input)])


def answered(messages: list[Message]) -> list[Message]:
    """Pair tool calls and answers as providers require. A job that was interrupted between a call and its answer leaves
    one without the other."""
    return [message for turn in _turns(messages) for message in _paired(turn)]


def _turns(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """Split the messages into turns at user messages. An answer belongs to a call of its own turn."""
    turn: list[Message] = []
    for message in messages:
        if message.role == "user":
            yield turn
            turn = []
        turn.append(message)
    yield turn


def _paired(turn: list[Message]) -> Iterable[Message]:
    """Pair each call with its first answer; other messages may be between them. Iterates backwards, so that the answer
    seen last is the first one after a call."""
    answers: dict[str, tuple[int, Message]] = {}
    pairs: list[list[Message]] = []
    for position in range(len(turn) - 1, -1, -1):
        message = turn[position]
        if message.role == "tool":
            answers[message.call_id] = (position, message)
        elif message.content or message.tool_calls:
            pairs.append([message, *_replies(message, answers)])
    return chain.from_iterable(reversed(pairs))


def _replies(message: Message, answers: dict[str, tuple[int, Message]]) -> Iterator[Message]:
    """Return the answers to a message's calls in order, then a substitute for each missing one."""
    called = {call.call_id for call in message.tool_calls}
    found = sorted((answers[call_id] for call_id in called & answers.keys()), key=itemgetter(0))
    yield from (answer for _, answer in found)
    yield from (_unanswered(call) for call in message.tool_calls if call.call_id not in answers)


def _unanswered(call: ToolUse) -> Message:
    return Message(role="tool", call_id=call.call_id, content="error: the call was cut off before it had a result")


def _remembered(history: Iterable[dict[str, Any]]) -> Iterator[Message]:
    """Parse the history. Messages of other agents that are not chat messages are skipped, or they would block the
    session."""
    for message in history:
        try:
            yield Message.model_validate(message)
        except ValidationError:
            continue


def input_messages(given: str | dict[str, Any]) -> list[Message]:
    """Return the messages of a job's input. Raises AgentError `input_invalid` as `conversation` does."""
    try:
        messages = _INPUT.validate_python(given)
    except ValidationError as error:
        file = place_of_file(given)
        reason = faults(error) if file is None else f"{file}: {NO_FILES}"
        raise AgentError("input_invalid", f"The job's input is no conversation: {reason}") from None
    found = [Message(role="user", content=messages)] if isinstance(messages, str) else messages.messages
    if not any(message.content for message in found):
        raise AgentError("input_invalid", "The job's input says nothing")
    return found


def fitting(messages: list[Message], budget: int) -> list[Message]:
    """Drop the oldest turns, as few as necessary to fit the rest into the budget of tokens.

    A turn is a user message and all that follows it, so that a tool's answer stays with its call. System messages and
    the last turn always stay, even if they exceed the budget."""
    before, *turns = _turns(messages)  # messages before the first user message belong to its turn
    turns = [before + turns[0], *turns[1:]] if turns else [before]
    excess = estimated(messages) - budget
    kept: list[Message] = []
    for number, turn in enumerate(turns):
        if excess > 0 and number < len(turns) - 1:
            kept += [message for message in turn if message.role in SYSTEM]
            excess -= estimated(message for message in turn if message.role not in SYSTEM)
        else:
            kept += turn
    return kept


def estimated(messages: Iterable[Message]) -> int:
    """Estimate the tokens of messages."""
    return sum(TOKENS_PER_MESSAGE + tokens(message.content) + _call_tokens(message) for message in messages)


def tokens(text: str) -> int:
    """Estimate the tokens of a text: one per three bytes."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def _call_tokens(message: Message) -> int:
    return sum(tokens(call.name) + tokens(orjson.dumps(call.arguments).decode()) for call in message.tool_calls)


_INPUT: TypeAdapter[str | _Input] = TypeAdapter(str | _Input)
