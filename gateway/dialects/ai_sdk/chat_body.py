"""The request body of a chat transport, and the job that it becomes.

`DefaultChatTransport` sends `id`, `messages`, `trigger` and `messageId`, and whatever the application adds;
`WorkflowChatTransport` sends `messages` only.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from typing import Annotated, Any, Literal

import orjson
from holdfast.gateway.dialects.following import Continuation, as_input
from holdfast.gateway.errors import MAX_PROBLEMS, NOT_JSON, BodyInvalid, body_invalid
from holdfast.shared.errors import RequestInvalid
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Message = dict[str, Any]
Input = str | dict[str, list[Message]]

ROLES = ("system", "user", "assistant")
JOB_FIELDS = ("options", "metadata", "timeout_s", "on_busy", "budget")
WITHOUT_EFFECT = ("messageId",)  # which the SDK sends always


class ChatBody(BaseModel):
    """What is read of the body. The fields of a job are passed on to its own checks."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: str | None = None
    messages: Annotated[list[Any], Field(min_length=1)]
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    options: Any = None
    metadata: Any = None
    timeout_s: Any = None
    on_busy: Any = None
    budget: Any = None


def parse_chat_body(value: Any) -> ChatBody:
    """Check the JSON value of a body. Raises BodyInvalid, which names the invalid fields."""
    try:
        body = ChatBody.model_validate(value)
    except ValidationError as error:
        raise body_invalid(
            error.errors(include_url=False, include_context=False, include_input=False), "body"
        ) from None
    problems = list(islice(_problems(body.messages), MAX_PROBLEMS))
    if problems:
        raise BodyInvalid(problems)
    if body.messages[-1]["role"] != "user":
        raise RequestInvalid("messages", "the last message must be one of the user")
    return body


def _problems(messages: list[Any]) -> Iterator[tuple[str, str]]:
    for index, message in enumerate(messages):
        field = f"messages.{index}"
        if not isinstance(message, dict):
            yield field, "should be an object"
        elif message.get("role") not in ROLES:
            yield f"{field}.role", f"should be one of {', '.join(ROLES)}"
        elif not isinstance(message.get("parts"), list) or not all(isinstance(part, dict) for part in message["parts"]):
            yield f"{field}.parts", "should be an array of objects"


def job_ids_of(body: ChatBody) -> list[str | None]:
    """Return the job's id of each message before the new one, which is the id of an answer."""
    return [_job_of(message) for message in body.messages[:-1]]


def _job_of(message: Message) -> str | None:
    job_id = message.get("id")
    return job_id if message["role"] == "assistant" and isinstance(job_id, str) else None


def job_value(body: ChatBody, agent: str, continuation: Continuation) -> dict[str, Any]:
    """Return the value of a JobBody."""
    given = {name: getattr(body, name) for name in JOB_FIELDS if getattr(body, name) is not None}
    if body.trigger == "regenerate-message":  # the SDK does not stop the job whose answer it replaces
        given.setdefault("on_busy", "interrupt")
    input_ = _input(body.messages[continuation.first :])
    return {"agent": agent, "input": input_, "after": continuation.after, **given}


def message_key(body: ChatBody, agent: str, after: str | None = None) -> str | None:
    """Return an idempotency key: a message that is sent again, with the same parts and options and behind the same job
    (`after`), starts no other job.

    None where the user wants another answer, or the message has no id. Raises RequestInvalid for a value that is not
    JSON."""
    message = body.messages[-1]
    if body.trigger == "regenerate-message" or not isinstance(message.get("id"), str):
        return None
    sent = {"agent": agent, "messages": [message["id"], message["parts"]]}
    digest = sha256()
    fields = [(name, getattr(body, name)) for name in JOB_FIELDS]
    if body.budget is None:  # the key of earlier versions
        fields.remove(("budget", None))
    if after is not None:
        fields.append(("after", after))
    for field, value in [*sent.items(), *fields]:
        try:
            digest.update(orjson.dumps(value, option=orjson.OPT_SORT_KEYS) + b"\n")
        except orjson.JSONEncodeError:
            raise RequestInvalid(field, NOT_JSON) from None
    return f"ai-sdk-{digest.hexdigest()}"


def _input(messages: list[Message]) -> Input:
    converted = [{"role": message["role"], "content": _content(message["parts"])} for message in messages]
    return as_input([message for message in converted if message["content"] or message["role"] == "user"])


def _content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return the text of a message, or its text and file parts if it has files."""
    shown = [part for part in parts if part.get("type") in ("text", "file")]
    if any(part["type"] == "file" for part in shown):
        return [{"type": "text", "text": _text(part)} if part["type"] == "text" else part for part in shown]
    return "".join(_text(part) for part in shown)


def _text(part: dict[str, Any]) -> str:
    text = part.get("text")
    return text if isinstance(text, str) else ""
