"""A run: what is open in it, what it has written so far, and the events of AG-UI that the next event of a log adds.

The events are those of https://docs.ag-ui.com/concepts/events. Free of I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson
from holdfast.gateway.dialects.ag_ui.kept import MAX_KEPT_BYTES, Piece, before, condensed, extended, without_calls
from holdfast.shared.ids import EventId

AgUiEvent = dict[str, Any]
Fields = dict[str, Any]

MAX_OPEN = 64  # open messages, sections, and tool calls without a result: each new one copies them
DELTAS = {"text.delta": "TEXT", "reasoning.delta": "REASONING"}
_CONTENT = {kind: f"{name}_MESSAGE_CONTENT" for kind, name in DELTAS.items()}


class Block(NamedTuple):
    """An open message of text or reasoning. An agent has one at most."""

    agent: str | None
    kind: str
    part: int
    id: str


class Call(NamedTuple):
    """A tool call without a result. `open`: its arguments are streaming. `written`: some of them were sent."""

    id: str
    at: EventId
    open: bool = True
    written: bool = False


class Step(NamedTuple):
    """An open section. The names of open steps differ."""

    agent: str | None
    number: int
    name: str


class Run(NamedTuple):
    """What later events depend on. `kept`: the newest piece of content that counts; `full`: there was more of it than
    is kept, and it is condensed."""

    job_id: str
    blocks: tuple[Block, ...] = ()
    calls: tuple[Call, ...] = ()
    steps: tuple[Step, ...] = ()
    kept: Piece | None = None
    full: bool = False


Added = tuple[Sequence[AgUiEvent], Run]
"""The events that an event of the log adds, and the run with them."""


def add_delta(run: Run, at: EventId, kind: str, event: Fields) -> Added:
    """Return what a text or reasoning adds. Raises an error of MALFORMED for an event without its fields."""
    agent, part, text = event.get("agent"), int(event["part"]), event["text"]
    if not isinstance(text, str) or not isinstance(agent, str | None):
        raise TypeError
    if not text:
        return (), run
    started: list[AgUiEvent] = []
    for block in run.blocks:
        if block.part == part and block.agent == agent and block.kind == kind:
            break
    else:
        started, run, block = _begun(run, at, kind, agent, part)
    piece = Piece(None, at, at, 0, "text" if kind == "text.delta" else "reasoning", block.id, text)
    return [*started, _content(block, text)], _keep(run, piece, boundary="checkpoint" in event)


def add(run: Run, at: EventId, kind: str, event: Fields) -> Added:
    """Return what another event of the job's agent adds. An unknown one adds nothing."""
    handler = _HANDLERS.get(kind)
    return ((), run) if handler is None else handler(run, at, event)


def end_all(run: Run) -> Added:
    """End everything that is open, as a run requires before it finishes."""
    calls = [{"type": "TOOL_CALL_END", "toolCallId": call.id} for call in run.calls if call.open]
    steps = [{"type": "STEP_FINISHED", "stepName": step.name} for step in run.steps]
    ended, run = _end_blocks(run)
    closed = tuple(call._replace(open=False) for call in run.calls)
    return [*ended, *calls, *steps], run._replace(calls=closed, steps=())


def discard(run: Run, discard_from: EventId) -> Run:
    """Return a run without the content from an event on, and with nothing open. Calls that were are made again: only
    with the next attempt their arguments are complete."""
    cut = {call.id for call in run.calls if call.open}
    calls = tuple(call for call in run.calls if call.at < discard_from and not call.open)
    return Run(run.job_id, calls=calls, kept=without_calls(before(run.kept, discard_from), cut))


def custom(name: str, value: Any) -> AgUiEvent:
    return {"type": "CUSTOM", "name": name, "value": value}


def as_text(value: Any) -> str:
    """Return a text as it is, and any other value as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _begun(run: Run, at: EventId, kind: str, agent: str | None, part: int) -> tuple[list[AgUiEvent], Run, Block]:
    """Begin a message. The agent's last one ends, and the oldest one of all if too many are open."""
    excess = [block.agent for block in run.blocks[: max(0, len(run.blocks) - MAX_OPEN + 1)]]
    ended, run = _end_blocks(run, [agent, *excess])
    block = Block(agent, kind, part, f"{run.job_id}/{at}")
    start: AgUiEvent = {"type": "TEXT_MESSAGE_START", "messageId": block.id, "role": "assistant"}
    if kind == "reasoning.delta":
        start = {"type": "REASONING_MESSAGE_START", "messageId": block.id, "role": "reasoning"}
    elif agent is not None:
        start["name"] = agent
    return [*ended, start], run._replace(blocks=(*run.blocks, block)), block


def _content(block: Block, text: str) -> AgUiEvent:
    return {"type": _CONTENT[block.kind], "messageId": block.id, "delta": text}


def _end_blocks(run: Run, agents: Sequence[str | None] | None = None) -> tuple[list[AgUiEvent], Run]:
    """End the open messages of these agents; None: of all."""
    ended = [block for block in run.blocks if agents is None or block.agent in agents]
    if not ended:
        return [], run
    events: list[AgUiEvent] = [{"type": f"{DELTAS[block.kind]}_MESSAGE_END", "messageId": block.id} for block in ended]
    return events, run._replace(blocks=tuple(block for block in run.blocks if block not in ended))


def _keep(run: Run, piece: Piece, *, boundary: bool = True) -> Run:
    if run.full and piece.kind not in ("usage", "reasoning"):
        return run
    kept = extended(run.kept, piece, boundary=boundary)
    if run.full or kept.size > MAX_KEPT_BYTES:
        return run._replace(kept=condensed(kept), full=True)
    return Run(run.job_id, run.blocks, run.calls, run.steps, kept)  # faster than _replace


def _tool_call_id(run: Run, event: Fields) -> str:
    """Return the id of a call in a thread, where the ids of a job's calls may repeat."""
    return f"{run.job_id}/{event['call_id']}"


def _call(run: Run, event: Fields) -> Call | None:
    return next((call for call in run.calls if call.id == _tool_call_id(run, event)), None)


def _with_call(run: Run, call: Call) -> Run:
    others = tuple(other for other in run.calls if other.id != call.id)
    return run._replace(calls=(*others, call))


def _tool_started(run: Run, at: EventId, event: Fields) -> Added:
    if _call(run, event) is not None:
        return (), run
    oldest = run.calls[: max(0, len(run.calls) - MAX_OPEN + 1)]
    ends: list[AgUiEvent] = [{"type": "TOOL_CALL_END", "toolCallId": call.id} for call in oldest if call.open]
    ended, run = _end_blocks(run, [event.get("agent")])
    call, parent = Call(_tool_call_id(run, event), at), f"{run.job_id}/{at}"
    run = _keep(run, Piece(None, at, at, 0, "call", call.id, "", (event["name"], parent)))
    run = run._replace(calls=(*run.calls[len(oldest) :], call))
    start = {"toolCallId": call.id, "toolCallName": event["name"], "parentMessageId": parent}
    return [*ends, *ended, {"type": "TOOL_CALL_START", **start}], run


def _arguments(run: Run, at: EventId, call: Call, text: str, *, boundary: bool) -> Added:
    run = _keep(run, Piece(None, at, at, 0, "arguments", call.id, text), boundary=boundary)
    event = {"type": "TOOL_CALL_ARGS", "toolCallId": call.id, "delta": text}
    return [event], _with_call(run, call._replace(written=True))


def _tool_delta(run: Run, at: EventId, event: Fields) -> Added:
    call = _call(run, event)
    if call is None or not call.open or not event["delta"]:
        return (), run
    return _arguments(run, at, call, event["delta"], boundary="checkpoint" in event)


def _tool_called(run: Run, at: EventId, event: Fields) -> Added:
    started, run = _tool_started(run, at, event)
    call = _call(run, event)
    assert call is not None
    if not call.open:
        return started, run
    written: Sequence[AgUiEvent] = ()
    if not call.written and event["arguments"] is not None:
        written, run = _arguments(run, at, call, as_text(event["arguments"]), boundary=True)
    run = _with_call(run, call._replace(open=False, written=True))
    return [*started, *written, {"type": "TOOL_CALL_END", "toolCallId": call.id}], run


def _tool_result(run: Run, at: EventId, event: Fields) -> Added:
    return _result(run, at, event, as_text(event["result"]))


def _tool_failed(run: Run, at: EventId, event: Fields) -> Added:
    return _result(run, at, event, f"error: {as_text(event['error'])}")


def _result(run: Run, at: EventId, event: Fields, content: str) -> Added:
    call, call_id, message_id = _call(run, event), _tool_call_id(run, event), f"{run.job_id}/{at}"
    ended, run = _end_blocks(run, [event.get("agent")])
    if call is not None and call.open:
        ended.append({"type": "TOOL_CALL_END", "toolCallId": call_id})
    run = run._replace(calls=tuple(other for other in run.calls if other.id != call_id))
    run = _keep(run, Piece(None, at, at, 0, "result", message_id, content, (call_id,)))
    fields = {"messageId": message_id, "toolCallId": call_id, "content": content, "role": "tool"}
    return [*ended, {"type": "TOOL_CALL_RESULT", **fields}], run


def _section_started(run: Run, at: EventId, event: Fields) -> Added:
    title, taken = event["title"], {step.name for step in run.steps}
    name = next(name for name in (title, *(f"{title} ({n})" for n in range(2, MAX_OPEN + 2))) if name not in taken)
    oldest = run.steps[: max(0, len(run.steps) - MAX_OPEN + 1)]
    ends = [{"type": "STEP_FINISHED", "stepName": step.name} for step in oldest]
    step = Step(event.get("agent"), event["index"], name)
    run = run._replace(steps=(*run.steps[len(oldest) :], step))
    return [*ends, {"type": "STEP_STARTED", "stepName": name}], run


def _section_ended(run: Run, at: EventId, event: Fields) -> Added:
    ended = [step for step in run.steps if step[:2] == (event.get("agent"), event["index"])]
    events = [{"type": "STEP_FINISHED", "stepName": step.name} for step in ended]
    return events, run._replace(steps=tuple(step for step in run.steps if step not in ended))


def _status(run: Run, at: EventId, event: Fields) -> Added:
    return [custom("holdfast.status", {"message": event["message"], **_agent(event)})], run


def _data(run: Run, at: EventId, event: Fields) -> Added:
    return [custom(event["name"], event["value"])], run


def _fallback(run: Run, at: EventId, event: Fields) -> Added:
    """The fallback answers anew, in another message."""
    ended, run = _end_blocks(run, [event.get("agent")])
    value = {"reason": event["reason"], "to": event["to"], **_agent(event)}
    return [*ended, custom("holdfast.fallback", value)], run


def _answered(run: Run, at: EventId, event: Fields) -> Added:
    return [custom("holdfast.answer", {"questionId": str(event["question_id"]), "value": event.get("value")})], run


def _usage(run: Run, at: EventId, event: Fields) -> Added:
    tokens = event["input_tokens"], event["output_tokens"]
    return (), _keep(run, Piece(None, at, at, 0, "usage", event["model"], "", tokens))


def _agent(event: Fields) -> Fields:
    return {"agent": event["agent"]} if event.get("agent") else {}


_HANDLERS: dict[str, Callable[[Run, EventId, Fields], Added]] = {
    "status": _status,
    "tool.started": _tool_started,
    "tool.arguments.delta": _tool_delta,
    "tool.called": _tool_called,
    "tool.result": _tool_result,
    "tool.failed": _tool_failed,
    "section.started": _section_started,
    "section.ended": _section_ended,
    "data": _data,
    "question.answered": _answered,
    "fallback": _fallback,
    "usage": _usage,
}
