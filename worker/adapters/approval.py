"""Calls that a framework runs only with a person's approval: ask for it, and go on from where the framework paused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from hashlib import sha256
from typing import Any, NamedTuple

from holdfast.worker.adapters.emitter import FrameworkEmitter, as_text
from holdfast.worker.sdk.run import AgentError, Run

APPROVE, EDIT, REJECT = "approve", "edit", "reject"
UNSUPPORTED = "approval_unsupported"
MAX_PROMPT_CHARS = 4000  # the event of the call has all of its arguments

Json = dict[str, Any]


class Stretch(NamedTuple):
    """What a framework did without a person. `paused`: what it needs to go on, as JSON; None when it has ended."""

    output: Any
    paused: Json | None = None


class Decision(NamedTuple):
    """A person's decision on a call. `message`: for the model. `arguments`: those to use instead, if changed."""

    kind: str
    message: str | None
    arguments: Json | None


async def stretch(emitter: FrameworkEmitter, work: Callable[[], Awaitable[Stretch]]) -> Stretch:
    """Run a framework until it ends or pauses.

    A pause is recorded like a step. A later attempt goes on from there, and neither runs nor emits again what was
    before."""
    step = await emitter.run.open_step("framework", [])
    if step.done:
        emitter.resume(step.result["emitted"])
        return Stretch(None, step.result["paused"])
    with step.entered():
        done = await work()
    if done.paused is not None:
        await emitter.run.record_step(step, {"paused": done.paused, "emitted": emitter.emitted()})
    return done


async def decide(
    run: Run,
    name: str,
    arguments: Any,
    *,
    allowed: Collection[str] = (APPROVE, REJECT),
    prompt: str = "",
    place: str = "",
) -> Decision:
    """Ask a person whether a call may run. An answer counts for a call with the same name and arguments only, at the
    same place in the framework."""
    text = as_text(arguments)
    schema = _schema(allowed, f"{place} {name} {text}".strip())
    answer = await run.ask(_shortened(prompt or f"Run {name} with {text}?"), schema)
    return Decision(answer["decision"], answer.get("message") or None, answer.get("arguments"))


def unsupported(why: str) -> AgentError:
    """Return the error of a job whose framework waits for something that no answer can give it."""
    return AgentError(UNSUPPORTED, why)


def _shortened(prompt: str) -> str:
    left_out = len(prompt) - MAX_PROMPT_CHARS
    return prompt if left_out <= 0 else f"{prompt[:MAX_PROMPT_CHARS]}… ({left_out} more characters)"


def _schema(allowed: Collection[str], call: str) -> Json:
    """Return the schema of a decision on this call. Its comment makes it the schema of no other call: the prompt may
    name none of the arguments, and a recorded answer is found by prompt and schema."""
    edited = {"arguments": {"type": "object", "title": "Other arguments, for edit"}} if EDIT in allowed else {}
    return {
        "$comment": f"sha256 of the call: {sha256(call.encode()).hexdigest()}",
        "type": "object",
        "required": ["decision"],
        "properties": {
            "decision": {"type": "string", "enum": [*allowed], "title": "Decision"},
            "message": {"type": "string", "title": "Message to the model"},
            **edited,
        },
        "additionalProperties": False,
    }
