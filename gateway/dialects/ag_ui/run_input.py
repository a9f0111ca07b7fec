"""The request body of a run, `RunAgentInput`, and the job that it asks for.

https://docs.ag-ui.com/concepts/agents describes it. Options of the job are in `forwardedProps`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Literal

from holdfast.gateway.dialects.ag_ui.ids import job_of_message
from holdfast.gateway.errors import MAX_PROBLEMS, BodyInvalid, body_invalid
from pydantic import BaseModel, ConfigDict, Field, ValidationError

ROLES = ("developer", "system", "user", "assistant", "tool", "activity", "reasoning")
JOB_FIELDS = ("options", "metadata", "timeout_s", "on_busy", "budget")
_SENT_TO_AGENTS = {"developer": "system", "system": "system", "user": "user", "assistant": "assistant"}

Message = dict[str, Any]


class Resume(BaseModel):
    """The response to an interrupt."""

    model_config = ConfigDict(strict=True, extra="ignore")

    interruptId: str  # noqa: N815 - the protocol's word
    status: Literal["resolved", "cancelled"] = "resolved"
    payload: Any = None


class RunInput(BaseModel):
    """What is read of the body. `state`, `tools` and `context` are not, since agents run on the server: the response
    names them as ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    threadId: str  # noqa: N815 - the protocol's word
    runId: str  # noqa: N815 - the protocol's word
    messages: list[Any] = []
    forwardedProps: Any = None  # noqa: N815 - the protocol's word
    resume: Annotated[list[Resume], Field(max_length=1)] | None = None


def parse_run_input(value: Any) -> RunInput:
    """Check the JSON value of a body. Raises BodyInvalid, which names the invalid fields."""
    try:
        body = RunInput.model_validate(value)
    except ValidationError as error:
        raise body_invalid(
            error.errors(include_url=False, include_context=False, include_input=False), "body"
        ) from None
    problems = list(islice(_problems(body.messages), MAX_PROBLEMS))
    if problems:
        raise BodyInvalid(problems)
    return body


def ends_with_user(body: RunInput) -> bool:
    """Return whether the last message is one of the user."""
    return bool(body.messages) and body.messages[-1]["role"] == "user"


def jobs_before(body: RunInput) -> list[str]:
    """Return the jobs that the messages before the last one name, the nearest first."""
    named = (job_of_message(message["id"]) for message in body.messages[-2::-1])
    return [job_id for job_id in named if job_id is not None]


def follows_unanswered(body: RunInput) -> bool:
    """Return whether the message before the last one is one of the user without an answer, whose job only the session
    knows."""
    before = body.messages[-2:-1]
    return any(message["role"] == "user" and job_of_message(message["id"]) is None for message in before)


def job_value(body: RunInput, agent: str, *, whole: bool) -> dict[str, Any]:
    """Return the value of a JobBody, with the last message; `whole`: with all, for a new conversation."""
    props = body.forwardedProps if isinstance(body.forwardedProps, dict) else {}
    given = {name: props[name] for name in JOB_FIELDS if props.get(name) is not None}
    return {"agent": agent, "input": _input(body.messages if whole else body.messages[-1:]), **given}


def _problems(messages: list[Any]) -> Iterator[tuple[str, str]]:
    for index, message in enumerate(messages):
        field = f"messages.{index}"
        if not isinstance(message, dict):
            yield field, "should be an object"
            continue
        if message.get("role") not in ROLES:
            yield f"{field}.role", f"should be one of {', '.join(ROLES)}"
        if not isinstance(message.get("id"), str):
            yield f"{field}.id", "should be a string"
        if message.get("role") == "user" and not _is_content(message.get("content")):
            yield f"{field}.content", "should be a string or an array of objects"


def _is_content(content: Any) -> bool:
    return isinstance(content, str) or (isinstance(content, list) and all(isinstance(part, dict) for part in content))


def _input(messages: list[Message]) -> str | dict[str, list[Message]]:
    """Return a text where there is only one of the user, since every agent accepts that."""
    converted = [
        {"role": _SENT_TO_AGENTS[message["role"]], "content": _content(message["content"])}
        for message in messages
        if message["role"] in _SENT_TO_AGENTS and (message.get("content") or message["role"] == "user")
    ]
    if len(converted) == 1 and converted[0]["role"] == "user" and isinstance(converted[0]["content"], str):
        return str(converted[0]["content"])
    return {"messages": converted} if converted else ""


def _content(content: Any) -> Any:
    """Return parts of text only as one text, and other content unchanged."""
    if isinstance(content, list) and all(isinstance(part, dict) and _is_text(part) for part in content):
        return "".join(part["text"] for part in content)
    return content


def _is_text(part: dict[str, Any]) -> bool:
    return part.get("type") == "text" and isinstance(part.get("text"), str)
