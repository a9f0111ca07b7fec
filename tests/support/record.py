"""A run whose events stay in a list."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from holdfast.worker.attempt.journal import Position, Step, current_step
from holdfast.worker.sdk.run import Run


class Record:
    """Where a run's events go in a test. `until(count, kind)` waits for them."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._changed = asyncio.Condition()

    async def put(self, kind: str, body: bytes, step: Step | None = None) -> None:
        async with self._changed:
            self.events.append(orjson.loads(body))
            self._changed.notify_all()

    async def flush(self) -> None:
        """Everything is there at once."""

    async def until(self, count: int, *kinds: str) -> None:
        """Wait until that many events of these kinds were emitted."""
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: len(self.of(*kinds)) >= count)

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] in kinds]

    def kinds(self) -> list[str]:
        """The types in their order, each run of one type once."""
        kinds = [event["type"] for event in self.events]
        return [kind for before, kind in zip(["", *kinds], kinds, strict=False) if kind != before]

    def joined(self, kind: str, name: str = "text") -> str:
        """The pieces of all deltas of the kind."""
        return "".join(event[name] for event in self.of(kind))


class Notebook:
    """A journal of no earlier attempts. `answers` are those of a person, in order, and `asked` the questions."""

    def __init__(self, *answers: Any) -> None:
        self.answers = [*answers]
        self.asked: list[dict[str, Any]] = []

    async def step(self, name: str, arguments: Any, agent: str | None = None) -> Step:
        return Step(name, name, Position(agent, (), 0), current_step(), None)

    async def record(self, step: Step, result: Any) -> Any:
        step.value = orjson.dumps(result)
        return step.result

    async def ask(self, event: dict[str, Any]) -> tuple[str, Any]:
        self.asked.append(event)
        return "q", self.answers.pop(0)

    async def kept_number(self, agent: str | None, kind: str, name: str) -> Any:
        return None


def a_run(
    record: Record,
    input: Any = "hi",
    *,
    history: list[dict[str, Any]] | None = None,
    check_day: Callable[[], Awaitable[None]] | None = None,
    models: frozenset[str] | None = None,
    **options: Any,
) -> Run:
    return Run(
        record,
        session_id="s",
        job_id="j",
        attempt=1,
        input=input,
        options=options,
        metadata={},
        history=history or [],
        check_day=check_day,
        models=models,
        journal=Notebook(),  # type: ignore[arg-type]
    )
