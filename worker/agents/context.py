"""Which of a conversation's messages a model is sent, when not all of them fit. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from holdfast.worker.agents.messages import SYSTEM, Message

# Between English, where a token has four bytes or more, and scripts where it has two.
BYTES_PER_TOKEN = 3
TOKENS_PER_MESSAGE = 8


def fitting(messages: list[Message], budget: int) -> list[Message]:
    """The messages without the oldest turns, as few of them as let the rest fit into the budget of tokens.

    A turn is what a user says and all that follows it, so a tool's answer stays with its call. System messages and the
    last turn always stay, even if they alone are too much: what is said last is never cut."""
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
    """About how many tokens they take."""
    return sum(TOKENS_PER_MESSAGE + tokens(message.content) + _calls(message) for message in messages)


def tokens(text: str) -> int:
    """About how many tokens a text takes: one for three bytes."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def _calls(message: Message) -> int:
    return sum(tokens(call.name) + tokens(orjson.dumps(call.arguments).decode()) for call in message.tool_calls)


def _turns(messages: list[Message]) -> list[list[Message]]:
    """The messages, cut before each that a user says. What stands before the first belongs to it."""
    turns: list[list[Message]] = [[]]
    for message in messages:
        if message.role == "user" and any(earlier.role == "user" for earlier in turns[-1]):
            turns.append([])
        turns[-1].append(message)
    return turns
