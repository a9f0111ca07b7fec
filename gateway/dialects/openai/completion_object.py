"""The chat completion object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.gateway.dialects.openai.completions import CompletionHead
from holdfast.gateway.dialects.openai.errors import CompletionFailed
from holdfast.gateway.dialects.openai.output import Output, Status
from holdfast.gateway.dialects.openai.usage import completion_usage

_FINISH_REASONS: Mapping[Status, str] = {"completed": "stop", "incomplete": "length"}


def completion_json(head: CompletionHead, output: Output) -> dict[str, Any]:
    """Return a completion with the text of an output. Its finish_reason is `length` if that is not the whole text.

    Raises CompletionFailed if its job has not completed."""
    if output.status not in _FINISH_REASONS:
        raise CompletionFailed(output.status, (output.ending or {}).get("error"))
    message = {"role": "assistant", "content": output.text("message"), "refusal": None}
    reasoning = output.text("reasoning")
    if reasoning:
        message["reasoning_content"] = reasoning
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _FINISH_REASONS[output.status]}
    return {
        "id": head.completion_id,
        "object": "chat.completion",
        "created": head.created_s,
        "model": head.model,
        "choices": [choice],
        "usage": completion_usage(output.usage),
    }
