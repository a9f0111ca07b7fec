"""Run any LangChain Runnable as an agent.

    poet = langchain.agent("poet", prompt | model)

The output of chat models and tool calls become events as they stream. What a chain without a model yields becomes text.
A model with the tag `nostream` is ignored. Events of a sub-agent (one made by `create_agent` with a name, or any
Runnable with the metadata `lc_agent_name`) carry its name in `agent`.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from holdfast.worker.adapters.adapter import ToInput, adapted, current_run
from holdfast.worker.adapters.approval import unsupported
from holdfast.worker.adapters.emitter import FrameworkEmitter
from holdfast.worker.adapters.langchain_messages import (
    LAZY_MODULES,
    emit_chunk,
    emit_message,
    emit_usage,
    given_messages,
    text_of,
)
from holdfast.worker.adapters.rehearsal import warm
from holdfast.worker.sdk.registry import AgentFunction, Input
from holdfast.worker.sdk.run import Run
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.runnables import Runnable
from pydantic.errors import PydanticUserError

__all__ = ["agent", "current_run"]

_NOT_HEARD = "nostream"  # as LangGraph has it

Event = dict[str, Any]


def agent(
    name: str, runnable: Runnable[Any, Any], *, input: Input | None = None, to_input: ToInput | None = None
) -> AgentFunction:
    """Wrap a Runnable as an agent of this name.

    Without `to_input` it gets the conversation in the form that its input schema requires: the messages, the text of
    the last one, or an object of both. The result is the text of the final message, or the output itself."""
    schema = {} if to_input else _input_schema(runnable)

    async def run_target(run: Run, emitter: FrameworkEmitter) -> Any:
        given = to_input(run) if to_input else _given(given_messages(run), schema)
        translator = _Translator(emitter)
        async with aclosing(runnable.astream_events(given, version="v2")) as events:  # type: ignore[type-var]
            async for event in events:
                await translator.take(event)  # type: ignore[arg-type]  # a TypedDict
        return text_of(translator.output)

    return adapted(name, run_target, input=input, warm=warm(*LAZY_MODULES))


def _input_schema(runnable: Runnable[Any, Any]) -> dict[str, Any]:
    """Return the Runnable's input schema; empty where it has no types, or unresolvable ones."""
    try:
        schema = runnable.get_input_jsonschema()
    except PydanticUserError:
        return {}
    return schema["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _given(messages: list[BaseMessage], schema: dict[str, Any]) -> Any:
    """Return the conversation in the form that the schema requires."""
    properties = schema.get("properties", {})
    if schema.get("type") == "string" or properties.keys() == {"root"}:
        return messages[-1].text
    wanted = {*schema.get("required", ()), "messages"} & properties.keys()
    return _filled({name: properties[name] for name in wanted}, messages) if wanted else messages


def _filled(fields: dict[str, Any], messages: list[BaseMessage]) -> dict[str, Any]:
    """Return the input variables of a prompt: lists get the conversation, others the last text. With both, the lists
    get the messages before it."""
    lists = {name for name, field in fields.items() if field.get("type") == "array"}
    spoken = messages if len(lists) == len(fields) else messages[:-1]
    return {name: spoken if name in lists else messages[-1].text for name in fields}


class _Translator:
    """Translates the events of a Runnable. `output`: its final output."""

    def __init__(self, emitter: FrameworkEmitter) -> None:
        self._emitter = emitter
        self._root: Event | None = None
        self._a_model_spoke = False
        self.output: Any = None

    async def take(self, event: Event) -> None:
        self._root = self._root or event
        if event["run_id"] == self._root["run_id"] and event["event"] != "on_custom_event":
            await self._whole(event)
        if _NOT_HEARD in event.get("tags", []):
            return
        data, emitter = event["data"], self._emitter.agent(self._agent(event))
        match event["event"]:
            case "on_chat_model_stream" | "on_llm_stream":
                await self._piece(emitter, event["run_id"], data["chunk"])
            case "on_chat_model_end":
                await self._message(emitter, event, data["output"])
            case "on_tool_end":
                await _tool_ended(emitter, event)
            case "on_tool_error":
                await _tool_failed(emitter, event)
            case "on_custom_event":
                await emitter.data(event["name"], data)

    async def _whole(self, event: Event) -> None:
        """Handle an event of the outermost Runnable."""
        chunk = event["data"].get("chunk")
        if isinstance(chunk, dict) and "__interrupt__" in chunk:
            raise unsupported("The graph interrupts itself to ask a person: run it with the adapter for LangGraph")
        if isinstance(chunk, str) and not self._a_model_spoke:
            await self._emitter.text(event["run_id"], chunk)
        if event["event"].endswith("_end"):
            self.output = event["data"].get("output")

    async def _piece(self, emitter: FrameworkEmitter, key: str, chunk: Any) -> None:
        self._a_model_spoke = True
        if isinstance(chunk, AIMessageChunk):
            await emit_chunk(emitter, key, chunk)
        else:
            await emitter.text(key, getattr(chunk, "text", chunk))

    async def _message(self, emitter: FrameworkEmitter, event: Event, message: AIMessage) -> None:
        self._a_model_spoke = True
        await emit_message(emitter, event["run_id"], message)
        await emit_usage(emitter, message, event["metadata"].get("ls_model_name") or "")

    def _agent(self, event: Event) -> str | None:
        """Return the name of the sub-agent that emitted the event, if any."""
        name = event["metadata"].get("lc_agent_name")
        return None if self._root is None or name == self._root["metadata"].get("lc_agent_name") else name


async def _tool_ended(emitter: FrameworkEmitter, event: Event) -> None:
    output = event["data"].get("output")
    if isinstance(output, ToolMessage):
        await emit_message(emitter, event["run_id"], output)
    else:  # not a model's call, but a step of the chain
        await emitter.called(event["run_id"], event["name"], event["data"].get("input"))
        await emitter.result(event["run_id"], output)


async def _tool_failed(emitter: FrameworkEmitter, event: Event) -> None:
    data = event["data"]
    call_id = data.get("tool_call_id") or event["run_id"]
    await emitter.called(call_id, event["name"], data.get("input"))
    await emitter.failed(call_id, f"{type(data['error']).__name__}: {data['error']}")
