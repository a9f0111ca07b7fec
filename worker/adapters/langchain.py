"""LangChain: any Runnable as an agent.

    poet = langchain.agent("poet", prompt | model)

What chat models say, and the tools that are called, become events as they stream; what a chain without a model yields
becomes text. A model with the tag `nostream` is not heard. The events of an agent within (one made by `create_agent`
with a name, or any Runnable with the metadata `lc_agent_name`) carry its name in `agent`.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from holdfast.worker.adapters.adapter import ToInput, adapted, current_run
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
from holdfast.worker.registry import AgentFunction, Input
from holdfast.worker.run import Run
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.runnables import Runnable
from pydantic.errors import PydanticUserError

__all__ = ["agent", "current_run"]

_NOT_HEARD = "nostream"  # as LangGraph has it

Event = dict[str, Any]


def agent(
    name: str, runnable: Runnable[Any, Any], *, input: Input | None = None, to_input: ToInput | None = None
) -> AgentFunction:
    """Offer a Runnable as an agent of this name. Without `to_input` it gets the conversation, in the shape that its
    input schema asks for: the messages, or the text of the last one, or an object with what it requires of both. Its
    result is the text of the final message, or the output itself."""
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
    """What the Runnable says of its input; nothing where it has no types, or such as cannot be resolved."""
    try:
        return _resolved(runnable.get_input_jsonschema())
    except PydanticUserError:
        return {}


def _given(messages: list[BaseMessage], schema: dict[str, Any]) -> Any:
    """The conversation, in the shape that the schema asks for."""
    properties = schema.get("properties", {})
    if schema.get("type") == "string" or properties.keys() == {"root"}:
        return messages[-1].text
    wanted = {*schema.get("required", ()), "messages"} & properties.keys()
    return _filled({name: properties[name] for name in wanted}, messages) if wanted else messages


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return schema["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _filled(fields: dict[str, Any], messages: list[BaseMessage]) -> dict[str, Any]:
    """The input variables of a prompt: lists are the conversation, anything else the last text. With both, the lists
    are what came before it."""
    lists = {name for name, field in fields.items() if field.get("type") == "array"}
    spoken = messages if len(lists) == len(fields) else messages[:-1]
    return {name: spoken if name in lists else messages[-1].text for name in fields}


class _Translator:
    """Says what a Runnable streams. `output` is what the whole of it gave."""

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
        """The Runnable itself yields or ends."""
        chunk = event["data"].get("chunk")
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
        """The name of the agent that speaks, when it is not the one that was asked."""
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
