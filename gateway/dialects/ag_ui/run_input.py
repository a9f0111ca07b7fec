"""The request body of a run, `RunAgentInput`, and the job that it becomes.

https://docs.ag-ui.com/concepts/agents describes it. Options of the job are in `forwardedProps`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Literal

from holdfast.gateway.dialects.ag_ui.ids import job_of_message
from holdfast.gateway.dialects.following import Continuation, as_input
from holdfast.gateway.errors import MAX_PROBLEMS, BodyInvalid, body_invalid
from holdfast.gateway.routes.job_body import Objects
from holdfast.shared.log.conversation import joined
from pydantic import BaseModel, ConfigDict, Field, ValidationError

ROLES = ("developer", "system", "user", "assistant", "tool", "activity", "reasoning")
JOB_FIELDS = ("options", "metadata", "timeout_s", "on_busy", "budget")
CLIENT_FIELDS = ("state", "context", "tools")
_SENT_TO_AGENTS = {"developer": "system", "system": "system", "user": "user", "assistant": "assistant"}

Message = dict[str, Any]


class Resume(BaseModel):
    """The response to an interrupt."""

    model_config = ConfigDict(strict=True, extra="ignore")

    interruptId: str  # noqa: N815 - the protocol's word
    status: Literal["resolved", "cancelled"] = "resolved"
    payload: Any = None


class RunInput(BaseModel):
    """What is read of the body."""

    model_config = ConfigDict(strict=True, extra="ignore")

    threadId: str  # noqa: N815 - the protocol's word
    runId: str  # noqa: N815 - the protocol's word
    messages: list[Any] = []
    forwardedProps: Any = None  # noqa: N815 - the protocol's word
    resume: Annotated[list[Resume], Field(max_length=1)] | None = None
    state: Any = None
    context: Objects | None = None
    tools: Objects | None = None


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


def without_effect(body: RunInput) -> list[str]:
    """Return the fields that reach no agent, or change nothing: tools cannot be called, and a run that answers a
    question continues a job, which keeps the page that it began with."""
    names = ("tools", "state", "context") if body.resume else ("tools",)
    return [name for name in names if getattr(body, name)]


def ends_with_user(body: RunInput) -> bool:
    """Return whether the last message is one of the user."""
    return bool(body.messages) and body.messages[-1]["role"] == "user"


def job_ids_of(body: RunInput) -> list[str | None]:
    """Return the job's id of each message before the last one, if it is of a job."""
    return [job_of_message(message["id"]) for message in body.messages[:-1]]


def job_value(body: RunInput, agent: str, continuation: Continuation) -> dict[str, Any]:
    """Return the value of a JobBody."""
    props = body.forwardedProps if isinstance(body.forwardedProps, dict) else {}
    given = {name: props[name] for name in JOB_FIELDS if props.get(name) is not None}
    input_ = _input(body.messages[continuation.first :])
    page = {name: getattr(body, name) for name in CLIENT_FIELDS}
    return {"agent": agent, "input": input_, "client": page, "after": continuation.after, **given}


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
    return as_input(
        [
            {"role": _SENT_TO_AGENTS[message["role"]], "content": joined(message["content"])}
            for message in messages
            if message["role"] in _SENT_TO_AGENTS and (message.get("content") or message["role"] == "user")
        ]
    )
