"""An agent that notes what it reads of its conversation, to compare with what a page shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from holdfast.worker import Run

from tests.support.served import Served, served
from tests.support.workers import Client, worker_on


class Reader:
    """`agent` answers with a number, and keeps in `read` the texts that it would send to a provider."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self._answers = 0

    async def agent(self, run: Run) -> None:
        self.read = [*(message["content"] for message in run.history), *_texts(run.input)]
        self._answers += 1
        await run.text(f"answer {self._answers}")


def _texts(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else [message["content"] for message in given["messages"]]


@asynccontextmanager
async def read_by(reader: Reader, redis_url: str) -> AsyncIterator[Served]:
    """A gateway, and a worker that offers the reader as `agent`."""
    async with served(redis_url) as gateway, worker_on(redis_url, [reader.agent]):
        client = Client(redis_url)
        await client.offered("agent")
        await client.close()
        yield gateway
