"""The chat completion object."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from holdfast.gateway.dialects.openai.completions import CompletionHead, question_call
from holdfast.gateway.dialects.openai.errors import CompletionFailed
from holdfast.gateway.dialects.openai.items import Item
from holdfast.gateway.dialects.openai.output import Output, Status
from holdfast.gateway.dialects.openai.responses import question_of
from holdfast.gateway.dialects.openai.usage import Usage, completion_usage, usage_before, usage_from

_FINISH_REASONS: Mapping[Status, str] = {"completed": "stop", "incomplete": "length"}


def completion_json(head: CompletionHead, output: Output, answered: str | None) -> dict[str, Any]:
    """Return a completion with the text of an output up to its first question, or from the answer `answered` on.

    Its finish_reason is `tool_calls` at a question, and `length` if that is not the whole text. Raises CompletionFailed
    if its job has ended otherwise, or not at all."""
    items, usage = (output.items(), output.usage) if answered is None else _behind(output, answered)
    asked = next((item for item in items if _question(item, "function_call") not in (None, answered)), None)
    if asked is not None:
        items, usage = list(takewhile(lambda item: item is not asked, items)), usage_before(usage, asked.begun)
    elif output.status not in _FINISH_REASONS:
        raise CompletionFailed(output.status, (output.ending or {}).get("error"))
    return {
        "id": head.completion_id,
        "object": "chat.completion",
        "created": head.created_s,
        "model": head.model,
        "choices": [_choice(head, output.status, items, asked)],
        "usage": completion_usage(usage),
    }


def _behind(output: Output, answered: str) -> tuple[list[Item], Usage | None]:
    """Return the items and the usage behind the answer to a question: none if its job has ended without it."""
    items = output.items()
    begin = next((item for item in items if _question(item, "function_call_output") == answered), None)
    if begin is None:
        return [], None
    return [item for item in items if item.index > begin.index], usage_from(output.usage, begin.begun)


def _question(item: Item, kind: str) -> str | None:
    """Return the question of an item of this kind."""
    return question_of(str((item.fields or {})["call_id"])) if item.kind == kind else None


def _choice(head: CompletionHead, status: Status, items: list[Item], asked: Item | None) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": _text(items, "message"), "refusal": None}
    reasoning = _text(items, "reasoning")
    if reasoning:
        message["reasoning_content"] = reasoning
    if asked is not None:
        question_id = question_of(str((asked.fields or {})["call_id"]))
        message["tool_calls"] = [question_call(head, question_id, asked.text)]
    finish_reason = _FINISH_REASONS[status] if asked is None else "tool_calls"
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}


def _text(items: list[Item], kind: str) -> str:
    return "".join(item.text for item in items if item.kind == kind)
