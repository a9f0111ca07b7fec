"""What a job records under its fence, so that a later attempt neither runs a step again nor asks a person twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

import orjson

from shared.events import encode

Record = Callable[[str, bytes], Awaitable[None]]
Ask = Callable[[str, dict[str, Any], bytes | None], Awaitable[Any]]


class Journal:
    """One attempt's view of the journal. `steps` and `answers` are what earlier attempts recorded, as JSON.

    A step or a question is known again by its name, its arguments, and how many of the same there were before it.
    """

    def __init__(
        self, job_id: str, record: Record, ask: Ask, *, steps: dict[str, bytes], answers: dict[str, bytes]
    ) -> None:
        self._job_id = job_id
        self._record = record
        self._ask = ask
        self._steps = steps
        self._answers = answers
        self._seen: Counter[str] = Counter()
        self._asking = asyncio.Lock()

    def step(self, name: str, arguments: Any) -> Step:
        """The next step of this name with these arguments. Raises EventInvalid when they are not JSON."""
        key = self._key(name, arguments)
        return Step(key, f"{self._job_id}:{key}", self._record, self._steps.get(key))

    async def ask(self, event: dict[str, Any]) -> tuple[str, Any]:
        """Put a question to a person. Returns its id and the answer; one question at a time."""
        question_id = self._key("q", [event["prompt"], event["schema"]])
        async with self._asking:
            asked = {**event, "question_id": question_id}
            return question_id, await self._ask(question_id, asked, self._answers.get(question_id))

    def _key(self, name: str, arguments: Any) -> str:
        digest = sha256(encode([name, arguments])).hexdigest()[:16]
        ordinal = self._seen[digest]
        self._seen[digest] += 1
        return f"{name}:{ordinal}:{digest}"


class Step:
    """One step. `idempotency_key` is the same in every attempt, for whoever else must not do it twice."""

    def __init__(self, key: str, idempotency_key: str, record: Record, recorded: bytes | None) -> None:
        self._key = key
        self._record = record
        self._recorded = recorded
        self.idempotency_key = idempotency_key

    @property
    def done(self) -> bool:
        """Whether an earlier attempt recorded it."""
        return self._recorded is not None

    @property
    def result(self) -> Any:
        return None if self._recorded is None else orjson.loads(self._recorded)

    async def record(self, result: Any) -> Any:
        """Record what it came to, and return it as a later attempt would see it. Raises EventInvalid: not JSON."""
        self._recorded = encode(result)
        await self._record(self._key, self._recorded)
        return self.result
