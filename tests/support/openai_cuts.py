"""Cuts OpenAI's clients at random moments, and counts what they lost and what they got twice.

    python -m tests.support.openai_cuts python 1000

cuts the Python client a thousand times (or `node`), with a Redis, a gateway and a worker of its own."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
from openai import AsyncOpenAI

from tests.support.fault_proxy import FaultProxy
from tests.support.openai_node import openai_node
from tests.support.openai_reader import ENDS, Json
from tests.support.redis_server import RedisServer
from tests.support.served import served
from tests.support.travel import told, travels
from tests.support.workers import Client, worker_on

WORDS = 300
CALM_SECONDS = 0.04  # on average, between two cuts


@dataclass
class Count:
    cuts: int = 0
    events: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0

    def add(self, events: list[Json], cuts: int) -> None:
        """Count a response. `wrong`: its final text is not that of the log."""
        numbers = [event["sequence_number"] for event in events]
        self.cuts += cuts
        self.events += len(events)
        self.lost += len(set(range(max(numbers) + 1)) - set(numbers))
        self.doubled += len(numbers) - len(set(numbers))
        deltas = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
        final = [item for item in events[-1]["response"]["output"] if item["type"] == "message"]
        texts = {deltas, "".join(part["text"] for item in final for part in item["content"])}
        self.wrong += texts != {told(words=WORDS)}


async def endure_with_python(url: str, response_id: str) -> tuple[list[Json], int]:
    """Read a response from its beginning to its end, and go on after the last event when cut."""
    events: list[Json] = []
    cuts = 0
    async with AsyncOpenAI(base_url=f"{url}/openai/v1", api_key="none", max_retries=0) as sdk:
        while not events or events[-1]["type"] not in ENDS:
            cursor: Any = {"starting_after": events[-1]["sequence_number"]} if events else {}
            try:
                async for event in await sdk.responses.retrieve(response_id, stream=True, **cursor):
                    events += [event.to_dict()]
                assert events[-1]["type"] in ENDS, "ended early as if it were finished"
            except openai.APIConnectionError:
                cuts += 1
    return events, cuts


async def endure_with_node(url: str, response_id: str) -> tuple[list[Json], int]:
    lines = await openai_node(url, "endure", id=response_id)
    return [line["event"] for line in lines if "event" in line], lines[-1]["final"]["cuts"]


CLIENTS = {"python": endure_with_python, "node": endure_with_node}


async def _cut(proxy: FaultProxy, chance: random.Random) -> None:
    while True:
        await asyncio.sleep(chance.uniform(0, 2 * CALM_SECONDS))
        proxy.cut()


async def cut_often(redis_url: str, client: str, cuts: int, seed: int = 0) -> Count:
    """Read responses under random cuts until there were so many."""
    count, chance = Count(), random.Random(seed)
    control = Client(redis_url)
    async with served(redis_url) as gateway, worker_on(redis_url, [travels]), FaultProxy(gateway.port) as proxy:
        await control.offered("travels")
        while count.cuts < cuts:
            body = {"model": "travels", "input": "go", "temperature": 1, "max_output_tokens": WORDS, "background": True}
            created = (await gateway.client.post("/openai/v1/responses", json=body)).json()
            cutting = asyncio.create_task(_cut(proxy, chance))
            count.add(*await CLIENTS[client](f"http://127.0.0.1:{proxy.port}", created["id"]))
            cutting.cancel()
    await control.close()
    return count


async def _main(client: str, cuts: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder) / "redis")
        server.start()
        try:
            sys.stdout.write(f"{client}: {await cut_often(server.url, client, cuts)}\n")
        finally:
            server.kill()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
