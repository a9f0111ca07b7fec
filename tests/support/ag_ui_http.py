"""AG-UI's routes as a test calls them by HTTP."""

from __future__ import annotations

from typing import Any

import httpx2
import orjson

from tests.support.served import Served

API = "/ag-ui/scripted"


def body(run: str = "r1", thread: str = "t1", text: str = "Hello", **fields: Any) -> dict[str, Any]:
    messages = [{"id": "m1", "role": "user", "content": text}]
    props = {"options": {"tokens": 2, "interval_ms": 1}}
    return {"threadId": thread, "runId": run, "messages": messages, "forwardedProps": props, **fields}


def behind(answer: httpx2.Response, text: str = "Hello") -> list[dict[str, Any]]:
    """Return the messages of a client that has received this answer, and a new one."""
    [start] = [event for _, event in frames(answer) if event["type"] == "TEXT_MESSAGE_START"]
    received = {"id": start["messageId"], "role": "assistant", "content": "w0 w1 "}
    return [received, {"id": f"{start['messageId']}-next", "role": "user", "content": text}]


def frames(response: httpx2.Response) -> list[tuple[str, dict[str, Any]]]:
    blocks = [block.partition("\ndata: ") for block in response.text.split("\n\n") if block.startswith("id: ")]
    return [(head.removeprefix("id: "), orjson.loads(data)) for head, _, data in blocks]


def types(response: httpx2.Response) -> list[str]:
    return [event["type"] for _, event in frames(response)]


async def jobs_of(gateway: Served, session: str = "t1") -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = (await gateway.client.get(f"/v1/sessions/{session}/jobs")).json()["jobs"]
    return jobs
