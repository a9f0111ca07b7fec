"""Run a compiled LangGraph graph as an agent.

    graph_agent = langgraph.agent("researcher", builder.compile())

The output of models in the graph and their tool calls become events as they stream. Other changes of the graph's state
become `data`, as do values written with `get_stream_writer()`; strings written there become `status`. Events of a
subgraph carry its name in `agent`. An `interrupt(...)` asks a person, as `run.ask` does; it needs a checkpointer, such
as an `InMemorySaver()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import aclosing
from itertools import dropwhile
from typing import Any

from holdfast.worker.adapters.adapter import ToInput, adapted, current_run
from holdfast.worker.adapters.approval import unsupported
from holdfast.worker.adapters.emitter import FrameworkEmitter
from holdfast.worker.adapters.langchain_messages import (
    LAZY_MODULES,
    emit_calls,
    emit_chunk,
    emit_message,
    emit_usage,
    given_messages,
    is_given,
    new_messages,
    text_of,
)
from holdfast.worker.adapters.langgraph_interrupts import ToQuestion, answer
from holdfast.worker.adapters.rehearsal import warm
from holdfast.worker.sdk.registry import AgentFunction, Input
from holdfast.worker.sdk.run import Run
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph.types import Command, Interrupt, StateSnapshot, StreamMode

__all__ = ["agent", "current_run"]

ToConfig = Callable[[Run], RunnableConfig]

_UNNAMED = "LangGraph"  # what a graph is named that was compiled without a name
_MODES: list[StreamMode] = ["messages", "updates", "custom", "values", "tasks"]


def agent(
    name: str,
    graph: Pregel[Any, Any, Any, Any],
    *,
    input: Input | None = None,
    to_input: ToInput | None = None,
    to_config: ToConfig | None = None,
    to_question: ToQuestion | None = None,
) -> AgentFunction:
    """Wrap a graph as an agent of this name.

    By default it gets `{"messages": [...]}`: the session's history and the job's input. The result is the
    `structured_response` of the state, else the text of the last message, else the whole state.

    Holdfast stores the history, so a checkpointer keeps the state of one attempt only. `to_config` may set another
    `thread_id`; a thread that has messages already gets only those of the job, and does not answer them twice.
    `to_question` returns the prompt and the JSON schema of the question for an interrupt, whose answer is what
    `interrupt(...)` returns.
    """
    names = _names(graph)

    async def run_target(run: Run, emitter: FrameworkEmitter) -> Any:
        config = to_config(run) if to_config else _config(run)
        lasts = to_config and not to_input and graph.checkpointer
        thread = await graph.aget_state(config) if lasts else None
        given = to_input(run) if to_input else await _given(run, emitter, thread)
        translator = _Translator(emitter, names)
        while True:
            stream = graph.astream(given, config, stream_mode=_MODES, subgraphs=True)
            async with aclosing(stream) as parts:  # type: ignore[type-var]  # it is an async generator
                async for part in parts:
                    await translator.take(*part)
            if not (interrupts := translator.interrupts()):
                return _result(translator.state)
            if not graph.checkpointer:
                raise unsupported(f"{name} needs a checkpointer to go on after an interrupt, such as InMemorySaver()")
            # In a thread that lasts, an interrupt that was answered does not come again.
            places = [(one, one.id if thread else place) for one, place in interrupts]
            given = Command(resume={one.id: await answer(run, one, place, to_question) for one, place in places})

    return adapted(name, run_target, input=input, warm=warm(*LAZY_MODULES))


def _config(run: Run) -> RunnableConfig:
    return {"configurable": {"thread_id": f"{run.session_id}/{run.job_id}/{run.attempt}"}}


async def _given(run: Run, emitter: FrameworkEmitter, thread: StateSnapshot | None) -> Any:
    """Return the input of the graph: without the history where its `thread` lasts, and has it.

    Returns None where an earlier attempt has begun this job in the thread, which then continues, or only returns its
    state if it has ended. What that attempt has added is emitted, since its events were discarded."""
    known = thread.values.get("messages") if thread and isinstance(thread.values, dict) else None
    if not known:
        return {"messages": given_messages(run)}
    new = new_messages(run)
    begun = [*dropwhile(lambda message: getattr(message, "id", None) != new[0].id, known)]
    for message in begun:
        if not is_given(message):
            await emit_message(emitter, message.id, message)
    return None if begun else {"messages": new}


def _names(graph: Pregel[Any, Any, Any, Any]) -> dict[tuple[str, ...], str]:
    """Return the names that subgraphs were compiled with, by the nodes that lead to them."""
    subgraphs = graph.get_subgraphs(recurse=True)
    return {tuple(nodes.split("|")): found.name for nodes, found in subgraphs if found.name and found.name != _UNNAMED}


def _result(state: Any) -> Any:
    structured = state.get("structured_response") if isinstance(state, dict) else None
    return text_of(state) if structured is None else structured


class _Translator:
    """Translates the stream of a graph. `state`: the last state of the whole graph.

    `names`: those of subgraphs, by the nodes that lead to them."""

    def __init__(self, emitter: FrameworkEmitter, names: dict[tuple[str, ...], str]) -> None:
        self._emitter = emitter
        self._names = names
        self._agents: dict[tuple[str, ...], str] = {}
        self._interrupts: dict[str, Interrupt] = {}
        self._places: dict[str, str] = {}
        self.state: Any = None

    def interrupts(self) -> list[tuple[Interrupt, str]]:
        """Return the interrupts at which the graph has stopped, once, each with the nodes that lead to it."""
        interrupts, self._interrupts = self._interrupts, {}
        return [(interrupt, self._places.get(key, "")) for key, interrupt in interrupts.items()]

    async def take(self, namespace: tuple[str, ...], mode: str, payload: Any) -> None:
        emitter = self._emitter.agent(self._agent(namespace))
        match mode:
            case "messages":
                await self._message(namespace, *payload)
            case "updates":
                await self._updates(emitter, payload)
            case "custom" if isinstance(payload, str):
                await emitter.run.status(payload)
            case "custom":
                await emitter.data("custom", payload)
            case "tasks":
                for interrupt in payload.get("interrupts", ()):
                    self._places.setdefault(interrupt["id"], "/".join([*_nodes(namespace), payload["name"]]))
            case "values" if not namespace:
                self.state = payload

    def _agent(self, namespace: tuple[str, ...]) -> str | None:
        """Return the name of the subgraph at the namespace: its own, else that of its node."""
        if not namespace:
            return None
        nodes = _nodes(namespace)
        return self._agents.get(namespace) or self._names.get(nodes) or nodes[-1]

    async def _message(self, namespace: tuple[str, ...], message: BaseMessage, metadata: dict[str, Any]) -> None:
        if is_given(message):
            return
        if namespace and (own_name := metadata.get("lc_agent_name")):
            self._agents[namespace] = own_name
        emitter = self._emitter.agent(self._agent(namespace))
        if isinstance(message, AIMessageChunk):
            await emit_chunk(emitter, message.id, message)
        elif isinstance(message, AIMessage | ToolMessage):
            await emit_message(emitter, message.id, message)
        if isinstance(message, AIMessage):
            await emit_usage(emitter, message, metadata.get("ls_model_name") or "")

    async def _updates(self, emitter: FrameworkEmitter, updates: dict[str, Any]) -> None:
        self._interrupts |= {interrupt.id: interrupt for interrupt in updates.pop("__interrupt__", ())}
        for key, value in _written(updates):
            messages = value if isinstance(value, list) else [value]
            if any(isinstance(message, BaseMessage) for message in messages):
                await emit_calls(emitter, [message for message in messages if not is_given(message)])
            elif value is not None:
                await emitter.data(key, value)


def _nodes(namespace: tuple[str, ...]) -> tuple[str, ...]:
    """Return the nodes of a namespace, without the ids of their tasks."""
    return tuple(part.partition(":")[0] for part in namespace)


def _written(updates: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Emit the values that nodes wrote into the graph's state."""
    for node, update in updates.items():
        for written in update if isinstance(update, list) else [update]:
            yield from written.items() if isinstance(written, dict) else [(node, written)]
