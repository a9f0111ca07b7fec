"""The chat completion object."""

from __future__ import annotations

from typing import Any

from holdfast.gateway.dialects.openai.completions import CompletionHead
from holdfast.gateway.dialects.openai.errors import CompletionFailed, CompletionUnfinished
from holdfast.gateway.dialects.openai.output import Output
from holdfast.gateway.dialects.openai.usage import completion_usage


def completion_json(head: CompletionHead, output: Output) -> dict[str, Any]:
    """Return a completion with the text of an output.

    Raises CompletionUnfinished if the job has not ended, CompletionFailed if it has not completed."""
    if not output.ended:
        raise CompletionUnfinished(head.completion_id)
    if output.status != "completed":
        raise CompletionFailed(output.status, (output.ending or {}).get("error"))
    message = {"role": "assistant", "content": output.text("message"), "refusal": None}
    reasoning = output.text("reasoning")
    if reasoning:
        message["reasoning_content"] = reasoning
    return {
        "id": head.completion_id,
        "object": "chat.completion",
        "created": head.created_s,
        "model": head.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": completion_usage(output.usage),
    }
