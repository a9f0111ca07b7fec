"""Converts the input of OpenAI's requests into that of a job: `{"messages": [...]}`, or a string."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from holdfast.gateway.dialects.openai.errors import ParameterUnsupported
from holdfast.gateway.limits import MAX_VALUES, ValueCount, parse_json
from holdfast.shared.errors import RequestInvalid
from holdfast.shared.log.conversation import is_text, joined

Json = dict[str, Any]
Input = str | Json

_ROLES: Mapping[str, str] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
}
_TEXT_PARTS = ("input_text", "output_text", "summary_text", "text")


def response_input(given: Any, instructions: str | None) -> Input:
    """Convert the input of a response. Raises RequestInvalid, which names the item."""
    items = [{"role": "user", "content": given}] if isinstance(given, str) else _objects(given, "input")
    _check_arguments(items, "input")
    messages = [message for index, item in enumerate(items) for message in _messages_of(item, f"input.{index}")]
    if instructions is not None:
        messages.insert(0, {"role": "system", "content": instructions})
    return _shortest(messages)


def completion_input(given: Any) -> Input:
    """Convert the messages of a chat completion. Raises RequestInvalid, which names the message."""
    objects = _objects(given, "messages")
    lists = [message["tool_calls"] for message in objects if isinstance(message.get("tool_calls"), list)]
    _check_arguments([_object(_object(call).get("function")) for calls in lists for call in calls], "messages")
    return _shortest([_completion_message(message, f"messages.{index}") for index, message in enumerate(objects)])


def answer_in(given: Any) -> tuple[str, str] | None:
    """Return the call id and the text of an input that only answers a question."""
    if not isinstance(given, list) or len(given) != 1 or not isinstance(given[0], dict):
        return None
    call_id, output = given[0].get("call_id"), given[0].get("output")
    if given[0].get("type") != "function_call_output" or not isinstance(call_id, str) or not isinstance(output, str):
        return None
    return call_id, output


def tool_answer_in(messages: Any) -> tuple[str, Any] | None:
    """Return the call id and the content of the tool message that ends the messages of a completion, if one does."""
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(last, dict) or last.get("role") != "tool" or not isinstance(last.get("tool_call_id"), str):
        return None
    return last["tool_call_id"], last.get("content") or ""


def answer_text(content: Any, field: str) -> str:
    """Return the text of an answer. Raises RequestInvalid for one with other parts."""
    text = joined(_content(content, field))
    if isinstance(text, str):
        return text
    number = next(number for number, part in enumerate(text) if not is_text(part))
    raise RequestInvalid(f"{field}.content.{number}", "an answer has no files or images, only text")


def parse_values(text: str) -> Any:
    """Parse the JSON in a string of a body. Raises RequestInvalid, also if it has too many values."""
    _check_values([text], "arguments")
    return parse_json(text.encode())


def _check_arguments(calls: list[Json], field: str) -> None:
    texts = [call.get("arguments") for call in calls]
    _check_values([text for text in texts if isinstance(text, str)], field)


def _check_values(texts: list[str], field: str) -> None:
    """Limit the values of all JSON in strings, which are not counted with those of the body."""
    count = ValueCount()
    for text in texts:
        count.add(b"," + text.encode())
    if not count.is_allowed:
        raise RequestInvalid(field, f"the arguments of functions must have at most {MAX_VALUES} names and values")


def _objects(given: Any, field: str) -> list[Json]:
    if not isinstance(given, list) or not given:
        raise RequestInvalid(field, "must be a string or a non-empty array of objects")
    for index, one in enumerate(given):
        if not isinstance(one, dict):
            raise RequestInvalid(f"{field}.{index}", "must be an object")
    return given


def _shortest(messages: list[Json]) -> Input:
    """Return one message of the user as a string, which all agents accept."""
    if len(messages) == 1 and messages[0]["role"] == "user" and isinstance(messages[0]["content"], str):
        return str(messages[0]["content"])
    return {"messages": messages}


def _messages_of(item: Json, field: str) -> Iterator[Json]:
    match item.get("type", "message"):
        case "message":
            yield {"role": _role(item, field), "content": _content(item.get("content"), field)}
        case "function_call":
            yield _assistant([item], field)
        case "function_call_output":
            yield _tool(item, item.get("output"), field)
        case "mcp_call":
            yield _assistant([{**item, "call_id": item.get("id")}], field)
            yield _tool({"call_id": item.get("id")}, item.get("output") or "", field)
        case "reasoning":  # of an earlier response; agents read it from the log
            return
        case _:
            allowed = "message, function_call, function_call_output, mcp_call, reasoning"
            raise ParameterUnsupported(f"{field}.type", f"must be one of {allowed}")


def _completion_message(message: Json, field: str) -> Json:
    role = _role(message, field)
    if role == "tool":
        return _tool({"call_id": message.get("tool_call_id")}, message.get("content"), field)
    calls = message.get("tool_calls")
    if role == "assistant" and calls:
        functions = [{"call_id": call.get("id"), **_object(call.get("function"))} for call in _objects(calls, field)]
        return {**_assistant(functions, field), "content": _content(message.get("content") or "", field)}
    return {"role": role, "content": _content(message.get("content") or "", field)}


def _role(message: Json, field: str) -> str:
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise RequestInvalid(f"{field}.role", f"must be one of {', '.join(_ROLES)}")
    return _ROLES[role]


def _content(content: Any, field: str) -> Any:
    """Return a text as it is, and text parts in one form. Other parts are left to the schema of the agent."""
    if isinstance(content, str):
        return content
    parts = _objects(content, f"{field}.content")
    return [{"type": "text", "text": part["text"]} if _is_text(part) else part for part in parts]


def _is_text(part: Json) -> bool:
    return part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str)


def _assistant(calls: list[Json], field: str) -> Json:
    return {"role": "assistant", "content": "", "tool_calls": [_tool_call(call, field) for call in calls]}


def _tool_call(call: Json, field: str) -> Json:
    call_id, name = call.get("call_id"), call.get("name")
    if not isinstance(call_id, str) or not isinstance(name, str):
        raise RequestInvalid(field, "a function call needs an id and a name")
    try:
        arguments = orjson.loads(call.get("arguments") or "{}")
    except (orjson.JSONDecodeError, TypeError):
        raise RequestInvalid(f"{field}.arguments", "must be a string of JSON") from None
    return {"call_id": call_id, "name": name, "arguments": arguments}


def _tool(item: Json, output: Any, field: str) -> Json:
    if not isinstance(item.get("call_id"), str):
        raise RequestInvalid(field, "the output of a function needs the id of its call")
    return {"role": "tool", "call_id": item["call_id"], "content": _content(output, field)}


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
