"""The assistant message that a job becomes: what it consists of so far, and the chunks that the next event adds.

The chunks are those of the AI SDK's UI message stream (`uiMessageChunkSchema` of the package `ai`). Free of I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import orjson
from holdfast.gateway.dialects.ai_sdk.sources import source_chunk
from holdfast.shared.ids import EventId

Chunk = dict[str, Any]
Fields = dict[str, Any]

MAX_CALLS = 256  # the calls that are remembered, since each new one copies them
MAX_BLOCKS = 64
MAX_TOKENS = 1 << 53  # the largest integer that JavaScript counts to
BREAK = "\n\n"
DELTAS = {"text.delta": "text", "reasoning.delta": "reasoning"}


class Block(NamedTuple):
    """An open text or reasoning part. An agent has one at most."""

    agent: str | None
    kind: str
    part: int
    id: str


class Call(NamedTuple):
    """A tool call. `open`: its input is streaming. `done`: it has a result."""

    id: str
    open: bool = False
    done: bool = False


class Usage(NamedTuple):
    """The sum of the tokens of the events that count."""

    input: int
    output: int


class Message(NamedTuple):
    """What later chunks depend on. `blocks`: the open ones. `opened`: how many there have been. `question`: the data of
    the last one."""

    blocks: tuple[Block, ...] = ()
    opened: int = 0
    calls: tuple[Call, ...] = ()
    usage: Usage = Usage(0, 0)
    question: Fields | None = None


Added = tuple[Sequence[Chunk], Message]
"""The chunks that an event adds, and the message with them."""

EMPTY: Final = Message()


def add(message: Message, event_id: EventId, kind: str, event: Fields) -> Added:
    """Return what an event of the job's agent adds, other than a text. An unknown one adds nothing."""
    if kind == "data":
        source = source_chunk(str(event_id), event["name"], event["value"])
        return _part(message, event, source or {"type": f"data-{event['name']}", "data": event["value"]})
    handler = _HANDLERS.get(kind)
    return ((), message) if handler is None else handler(message, event)


def end_blocks(message: Message, agents: Sequence[str | None] | None = None) -> Added:
    """End the open blocks of these agents; None: of all."""
    ended = [block for block in message.blocks if agents is None or block.agent in agents]
    if not ended:
        return (), message
    blocks = tuple(block for block in message.blocks if block not in ended)
    return [{"type": f"{block.kind}-end", "id": block.id} for block in ended], message._replace(blocks=blocks)


def usage_chunk(usage: Usage) -> Chunk:
    """Return the chunk that sets the usage in the message's metadata."""
    total = {"inputTokens": usage.input, "outputTokens": usage.output, "totalTokens": usage.input + usage.output}
    return {"type": "message-metadata", "messageMetadata": {"usage": total}}


def add_delta(message: Message, kind: str, event: Fields) -> Added:
    """Return what a text or reasoning adds. Raises an error of MALFORMED for an event without its fields."""
    kind, text, agent, part = DELTAS[kind], event["text"], event.get("agent"), event["part"]
    if not text:
        return (), message
    if type(text) is not str or type(part) is not int or not isinstance(agent, str | None):
        raise TypeError(event)
    for block in message.blocks:
        if block.agent == agent and block.kind == kind and block.part == part:
            return [_text(block, text)], message
    excess = [block.agent for block in message.blocks[: max(0, len(message.blocks) - MAX_BLOCKS + 1)]]
    chunks, message = end_blocks(message, [agent, *excess])
    block = Block(agent, kind, part, f"{kind}-{message.opened + 1}")
    message = message._replace(blocks=(*message.blocks, block), opened=message.opened + 1)
    return [*chunks, {"type": f"{kind}-start", "id": block.id, **_by(agent)}, _text(block, text)], message


def _text(block: Block, text: str) -> Chunk:
    return {"type": f"{block.kind}-delta", "id": block.id, "delta": text}


def _part(message: Message, event: Fields, *chunks: Chunk) -> Added:
    """Add parts behind the agent's text so far."""
    ends, message = end_blocks(message, [event.get("agent")])
    return [*ends, *chunks], message


def _status(message: Message, event: Fields) -> Added:
    data = {"message": event["message"], **_agent(event)}
    return [{"type": "data-status", "data": data, "transient": True}], message


def _tool_started(message: Message, event: Fields) -> Added:
    if _call(message, event["call_id"]) is not None:
        return (), message
    message = _with_call(message, Call(event["call_id"], open=True))
    return _part(message, event, _input("tool-input-start", event))


def _tool_delta(message: Message, event: Fields) -> Added:
    call = _call(message, event["call_id"])
    if call is None or not call.open or not event["delta"]:
        return (), message
    return [{"type": "tool-input-delta", "toolCallId": call.id, "inputTextDelta": event["delta"]}], message


def _tool_called(message: Message, event: Fields) -> Added:
    known = _call(message, event["call_id"]) is not None
    message = _with_call(message, Call(event["call_id"]))
    chunk = {**_input("tool-input-available", event), "input": event["arguments"]}
    return ([chunk], message) if known else _part(message, event, chunk)


def _tool_result(message: Message, event: Fields) -> Added:
    return _output(message, event, {"type": "tool-output-available", "output": event["result"]})


def _tool_failed(message: Message, event: Fields) -> Added:
    return _output(message, event, {"type": "tool-output-error", "errorText": as_text(event["error"])})


def _output(message: Message, event: Fields, chunk: Chunk) -> Added:
    """Add the output of a call. The SDK refuses one of an unknown call."""
    calls: Sequence[Chunk] = ()
    if _call(message, event["call_id"]) is None:
        calls, message = _tool_called(message, {"name": "unknown", "arguments": None, **event})
    message = _with_call(message, Call(event["call_id"], done=True))
    return [*calls, {**chunk, "toolCallId": event["call_id"], "providerExecuted": True}], message


def _section(message: Message, event: Fields, state: str) -> Added:
    data = {"index": event["index"], "title": event["title"], "state": state, **_agent(event)}
    part_id = f"section-{event['index']}-{event.get('agent') or ''}"
    return _part(message, event, {"type": "data-section", "id": part_id, "data": data})


def _asked(message: Message, event: Fields) -> Added:
    question_id, prompt = str(event["question_id"]), event.get("prompt")
    data = {"questionId": question_id, "prompt": prompt, "schema": event.get("schema"), "state": "asked"}
    question = {"type": "data-question", "id": question_id, "data": data}
    if prompt is None:
        return _part(message._replace(question=data), event, question)
    text_id = f"text-{message.opened + 1}"
    text = f"{BREAK if message.opened else ''}{as_text(prompt)}{BREAK}"  # many pages join all texts of a message
    return _part(
        message._replace(question=data, opened=message.opened + 1),
        event,
        question,
        {"type": "text-start", "id": text_id, "providerMetadata": {"holdfast": {"questionId": question_id}}},
        {"type": "text-delta", "id": text_id, "delta": text},
        {"type": "text-end", "id": text_id},
    )


def _answered(message: Message, event: Fields) -> Added:
    question_id = str(event["question_id"])
    asked = message.question
    known = asked if asked is not None and asked["questionId"] == question_id else {"questionId": question_id}
    data = {**known, "state": "answered", "value": event.get("value")}
    return [{"type": "data-question", "id": question_id, "data": data}], message


def _fallback(message: Message, event: Fields) -> Added:
    data = {"reason": event["reason"], "to": event["to"], **_agent(event)}
    return _part(message, event, {"type": "data-fallback", "data": data})


def _usage(message: Message, event: Fields) -> Added:
    given = event["input_tokens"], event["output_tokens"]
    usage = Usage(*(min(before + count, MAX_TOKENS) for before, count in zip(message.usage, given, strict=True)))
    return [usage_chunk(usage)], message._replace(usage=usage)


def _input(chunk_type: str, event: Fields) -> Chunk:
    """Return the chunk of a tool's input. The agent has run the tool: a client must not run it, or send its output."""
    chunk = {"type": chunk_type, "toolCallId": event["call_id"], "toolName": event["name"], "providerExecuted": True}
    return chunk | _by(event.get("agent"))


def _call(message: Message, call_id: str) -> Call | None:
    return next((call for call in message.calls if call.id == call_id), None)


def _with_call(message: Message, call: Call) -> Message:
    others = [other for other in message.calls if other.id != call.id]
    if len(others) == MAX_CALLS:
        others.remove(next((other for other in others if other.done), others[0]))
    return message._replace(calls=(*others, call))


def _by(agent: str | None) -> Fields:
    return {} if agent is None else {"providerMetadata": {"holdfast": {"agent": agent}}}


def _agent(event: Fields) -> Fields:
    return {"agent": event["agent"]} if event.get("agent") else {}


def as_text(value: Any) -> str:
    """Return a text as it is, and any other value as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


_HANDLERS: dict[str, Callable[[Message, Fields], Added]] = {
    "status": _status,
    "tool.started": _tool_started,
    "tool.arguments.delta": _tool_delta,
    "tool.called": _tool_called,
    "tool.result": _tool_result,
    "tool.failed": _tool_failed,
    "section.started": lambda message, event: _section(message, event, "started"),
    "section.ended": lambda message, event: _section(message, event, "ended"),
    "question.asked": _asked,
    "question.answered": _answered,
    "fallback": _fallback,
    "usage": _usage,
}
