"""A response continues behind any earlier one, and its agent reads exactly the path to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from holdfast.worker import Run
from openai import AsyncOpenAI

from tests.support.served import Served, served
from tests.support.workers import Client, worker_on

# The turn that each turn continues; a number twice is a branch.
PREVIOUS = [None, 0, 1, 0, 3, 1, 5, 4, 7, 2]
seen: dict[str, list[tuple[str, Any]]] = {}


async def writer(run: Run) -> str:
    """Keeps what a provider would be sent."""
    seen[str(run.input)] = [
        *((message["role"], message["content"]) for message in run.history),
        ("user", str(run.input)),
    ]
    return f"answer to {run.input}"


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    seen.clear()
    client = Client(redis_url)
    async with served(redis_url) as gateway, worker_on(redis_url, [writer]):
        await client.offered("writer")
        yield gateway
    await client.close()


def path_to(turn: int) -> list[tuple[str, Any]]:
    """What the page of a turn shows."""
    previous = PREVIOUS[turn]
    before = [] if previous is None else [*path_to(previous), ("assistant", f"answer to turn {previous}")]
    return [*before, ("user", f"turn {turn}")]


@pytest.mark.parametrize("stream", [False, True])
async def test_ten_turns_with_branches_read_exactly_their_path(gateway: Served, *, stream: bool) -> None:
    ids: list[str] = []
    async with AsyncOpenAI(base_url=f"{gateway.url}/openai/v1", api_key="none", max_retries=0) as sdk:
        for turn, previous in enumerate(PREVIOUS):
            behind: Any = {} if previous is None else {"previous_response_id": ids[previous]}
            if stream:
                async with sdk.responses.stream(model="writer", input=f"turn {turn}", **behind) as events:
                    response: Any = await events.get_final_response()
            else:
                response = await sdk.responses.create(model="writer", input=f"turn {turn}", **behind)
            assert response.output_text == f"answer to turn {turn}"
            ids.append(response.id)
    assert seen == {f"turn {turn}": path_to(turn) for turn in range(len(PREVIOUS))}
