"""Reads responses with OpenAI's clients, and goes on after a cut with `starting_after`, at any gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import openai
from openai import AsyncOpenAI

from tests.support.openai_node import openai_node

Json = dict[str, Any]
ENDS = ("response.completed", "response.failed", "response.incomplete")


class Read(Protocol):
    """Read a stream to its end or cut: a new response, or that of `response_id` after an event."""

    async def __call__(self, url: str, body: Json, response_id: str | None, after: int | None) -> list[Json]: ...


async def with_python(url: str, body: Json, response_id: str | None = None, after: int | None = None) -> list[Json]:
    events: list[Json] = []
    async with AsyncOpenAI(base_url=f"{url}/openai/v1", api_key="none", max_retries=0, timeout=60) as sdk:
        try:
            stream: Any
            if response_id is None:
                stream = await sdk.responses.create(**body, background=True, stream=True)
            else:
                cursor: Any = {} if after is None else {"starting_after": after}
                stream = await sdk.responses.retrieve(response_id, stream=True, **cursor)
            async for event in stream:
                events += [event.to_dict()]
        except openai.APIConnectionError:
            return events
    assert events[-1]["type"] in ENDS, "ended early as if it were finished"
    return events


async def with_node(url: str, body: Json, response_id: str | None = None, after: int | None = None) -> list[Json]:
    if response_id is None:
        lines = await openai_node(url, "create", body={**body, "background": True, "stream": True})
    else:
        lines = await openai_node(url, "resume", id=response_id, after=after)
    events = [line["event"] for line in lines if "event" in line]
    assert "error" in lines[-1] or events[-1]["type"] in ENDS, "ended early as if it were finished"
    return events


READERS: dict[str, Read] = {"python": with_python, "node": with_node}


async def read_to_the_end(read: Read, urls: Callable[[], str], body: Json, events: list[Json]) -> list[Json]:
    """Go on after these events until the response has ended."""
    while events[-1]["type"] not in ENDS:
        events += await read(urls(), body, events[0]["response"]["id"], events[-1]["sequence_number"])
    return events
