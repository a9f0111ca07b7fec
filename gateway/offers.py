"""What the agents on offer take: a job's input is checked here, before anything is accepted."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import orjson
from jsonschema import Draft202012Validator, ValidationError

from gateway.errors import BodyInvalid
from shared.errors import AgentUnknown
from shared.queue import Queue

MEMORY_S = 2.0
MAX_PROBLEMS = 20
MAX_DETAIL = 200


class Offer(NamedTuple):
    """An agent's schema as it stood at a time of the loop's clock."""

    source: bytes
    validator: Draft202012Validator
    seen_s: float


class Offers:
    """The schemas of the agents, each remembered for a moment."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._known: dict[str, Offer] = {}

    async def check(self, agent: str, given: Any) -> None:
        """Raises AgentUnknown, and BodyInvalid, which names every field of the input that the agent does not take."""
        offer = await self._offer(agent)
        found = sorted(offer.validator.iter_errors(given), key=lambda error: [str(part) for part in error.path])
        if found:
            raise BodyInvalid([_problem(error) for error in found[:MAX_PROBLEMS]])

    async def _offer(self, agent: str) -> Offer:
        now_s = asyncio.get_running_loop().time()
        known = self._known.get(agent)
        if known is not None and now_s - known.seen_s < MEMORY_S:
            return known
        source = await self._queue.schema(agent)
        if source is None:
            self._known.pop(agent, None)
            raise AgentUnknown(f"agent: no worker offers {agent!r}; GET /v1/agents lists those on offer")
        same = known is not None and known.source == source
        validator = known.validator if known and same else Draft202012Validator(orjson.loads(source))
        self._known[agent] = Offer(source, validator, now_s)
        return self._known[agent]


def _problem(error: ValidationError) -> tuple[str, str]:
    """The field, and what is allowed there. Of alternatives, the one that came nearest speaks."""
    nearest = max(error.context or [error], key=lambda inner: len(inner.absolute_path))
    field = ".".join(["input", *(str(part) for part in nearest.absolute_path)])
    return field, _allowed(nearest)


def _allowed(error: ValidationError) -> str:
    """What the schema wants. jsonschema's own texts quote the value, which may be long."""
    match error.validator:
        case "type":
            return f"must be of type {error.validator_value}"
        case "required":
            return str(error.message).rpartition(" is a required property")[0].strip("'") + " is required"
        case "additionalProperties":
            return "has a field that there is not"
        case rule:
            return f"must satisfy {rule}: {orjson.dumps(error.validator_value).decode()}"[:MAX_DETAIL]
