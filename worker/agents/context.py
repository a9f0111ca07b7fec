"""Select the messages of a conversation that fit into a model's context. Free of I/O."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from holdfast.worker.agents.messages import SYSTEM, Message

# Between English, with four and more bytes per token, and scripts with two.
BYTES_PER_TOKEN = 3
TOKENS_PER_MESSAGE = 8


def fitting(messages: list[Message], budget: int) -> list[Message]:
    """Drop the oldest turns, as few as necessary to fit the rest into the budget of tokens.

    A turn is a user message and all that follows it, so that a tool's answer stays with its call. System messages and
    the last turn always stay, even if they exceed the budget."""
    turns = _turns(messages)
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
    return sum(TOKENS_PER_MESSAGE + tokens(message.content) + _calls(message) for message in messages)


def tokens(text: str) -> int:
    """Estimate the tokens of a text: one per three bytes."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def _calls(message: Message) -> int:
    return sum(tokens(call.name) + tokens(orjson.dumps(call.arguments).decode()) for call in message.tool_calls)


def _turns(messages: list[Message]) -> list[list[Message]]:
    """Split the messages before each user message. Messages before the first one belong to its turn."""
    turns: list[list[Message]] = [[]]
    for message in messages:
        if message.role == "user" and any(earlier.role == "user" for earlier in turns[-1]):
            turns.append([])
        turns[-1].append(message)
    return turns
