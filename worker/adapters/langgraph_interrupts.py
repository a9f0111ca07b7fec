"""Ask a person what a graph of LangGraph interrupts itself for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdfast.worker.adapters.approval import EDIT, decide
from holdfast.worker.adapters.emitter import as_text
from holdfast.worker.sdk.run import Run

if TYPE_CHECKING:
    from langgraph.types import Interrupt

Json = dict[str, Any]

ToQuestion = Callable[["Interrupt"], tuple[str, Json]]
"""Returns the prompt and the JSON schema of the question for an interrupt."""


async def answer(run: Run, interrupt: Interrupt, place: str, to_question: ToQuestion | None) -> Any:
    """Return what the interrupted node gets. Without `to_question`, the forms of LangChain's HumanInTheLoopMiddleware
    and of `{"question", "options"}` are known; of others a person sees the value and may answer anything.

    `place`: the same in every attempt. It makes an equal question at another place another question."""
    if to_question is not None:
        return await _ask(run, place, *to_question(interrupt))
    match interrupt.value:
        case {"action_requests": [*actions], "review_configs": [*configs]}:
            allowed = {config["action_name"]: config["allowed_decisions"] for config in configs}
            return {"decisions": [await _decision(run, place, action, allowed[action["name"]]) for action in actions]}
        case {"question": str(prompt), "options": [*options]} if options:
            return await _ask(run, place, prompt, {"enum": options})
        case {"question": str(prompt)}:
            return await _ask(run, place, prompt, {})
        case value:
            return await _ask(run, place, as_text(value), {})


async def _ask(run: Run, place: str, prompt: str, schema: Json) -> Any:
    comment = f"interrupt at {place} {schema.get('$comment', '')}".rstrip()
    return await run.ask(prompt, {**schema, "$comment": comment})


async def _decision(run: Run, place: str, action: Json, allowed: list[str]) -> Json:
    """Ask a person about one call. Returns the decision as the middleware takes it."""
    name, arguments = action["name"], action["args"]
    prompt = action.get("description") or ""
    decision = await decide(run, name, arguments, allowed=allowed, prompt=prompt, place=place)
    if decision.kind == EDIT:
        edited = arguments if decision.arguments is None else decision.arguments
        return {"type": EDIT, "edited_action": {"name": name, "args": edited}}
    return {"type": decision.kind} | ({"message": decision.message} if decision.message else {})
