"""The response object of the Responses API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from holdfast.gateway.dialects.openai.output import Output
from holdfast.gateway.dialects.openai.response_ids import RESPONSE, response_id
from holdfast.gateway.dialects.openai.usage import response_usage
from holdfast.shared.job_record import JobState

ECHO = "openai"  # the field of a job's metadata with the parameters that a response repeats

# The parameters in a response that the client has not given, or that an agent decides itself.
_DEFAULTS: Mapping[str, Any] = {
    "background": False,
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}


class ResponseHead(NamedTuple):
    """What does not change during a response. `echo`: JSON of the other fields that it repeats."""

    response_id: str
    model: str
    created_at_s: int
    echo: bytes

    @property
    def job(self) -> str:
        """The part of the id that names the session and the job, for the ids of items."""
        return self.response_id.removeprefix(RESPONSE)

    def json(self, output: Output) -> dict[str, Any]:
        """Return the response object with this output."""
        ending = output.ending or {}
        ended_at = ending.get("at")
        return {
            "id": self.response_id,
            "object": "response",
            "created_at": self.created_at_s,
            "completed_at": ended_at // 1000 if output.status == "completed" and isinstance(ended_at, int) else None,
            "status": output.status,
            "model": self.model,
            "output": [item.json() for item in output.items()],
            "error": _error(ending) if output.status == "failed" else None,
            "incomplete_details": {"reason": "max_output_tokens"} if output.status == "incomplete" else None,
            "usage": response_usage(output.usage) if output.ended else None,
            **_DEFAULTS,
            **orjson.loads(self.echo),
        }


def head_of(job: JobState) -> ResponseHead:
    """Return the head of the response that a job is, whatever the dialect in which it was submitted."""
    metadata = dict(job.metadata) if isinstance(job.metadata, dict) else {}
    echo = metadata.pop(ECHO, None)
    repeated = {name: value for name, value in echo.items() if name in _DEFAULTS} if isinstance(echo, dict) else {}
    strings = {name: value for name, value in metadata.items() if isinstance(value, str)}
    fields = orjson.dumps({**repeated, "metadata": strings}, option=orjson.OPT_SORT_KEYS)
    return ResponseHead(response_id(job.session_id, job.job_id), job.agent, job.created_at // 1000, fields)


def _error(ending: Mapping[str, Any]) -> dict[str, Any]:
    error = ending.get("error")
    known = error if isinstance(error, dict) else {}
    return {"code": str(known.get("code", "server_error")), "message": str(known.get("message", "The job failed"))}
