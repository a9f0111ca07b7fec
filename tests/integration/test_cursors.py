"""F40: at every place that takes a cursor, what is not one is refused, and never read as another one."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from tests.support.served import Served, raw_request, served

EVENT_ID = r"(?:0|[1-9][0-9]*)-(?:0|[1-9][0-9]*)"
NASTY = [
    *(
        "0",
        "-1",
        "-",
        "--",
        "1-",
        "-1-1",
        "1-1-1",
        "01-1",
        "1-01",
        "1e3-1",
        "1.0-1",
        "+1-1",
        "1_0-1",
        "0x1-1",
        "$",
        "+",
    ),
    *(">", "*", "(1-1", "now", "null", "NaN", "'", '"', "%00", "\0", "1-1\0", "1-1\n", "1-1\r\nX: 1", "١-١", "1-1\x85"),
    *(
        "9007199254740993-1",
        f"1-{2**64}",
        f"{10**400}-1",
        f"1-{'1' * 5000}",
        "1-1;1-2",
        "1-1,1-2",
        "é",
        "\U0001f600",
        "../1-1",
    ),
]
WEBSOCKET = [
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]
HEADER = "{header}"
# Each place: the target with the cursor in it, or HEADER behind it; and what is valid there besides.
PLACES = {
    "events": ("/v1/sessions/s/events?last_event_id={}", EVENT_ID),
    "events, header": ("/v1/sessions/s/events" + HEADER, EVENT_ID),
    "events of a job": ("/v1/sessions/s/jobs/{job}/events?last_event_id={}", EVENT_ID),
    "events of a job, header": ("/v1/sessions/s/jobs/{job}/events" + HEADER, EVENT_ID),
    "websocket": ("/v1/sessions/s/ws?last_event_id={}", EVENT_ID),
    "jobs": ("/v1/sessions/s/jobs?cursor={}", r"[A-Za-z0-9_-]+"),
    "sessions": ("/v1/sessions?cursor={}", r"[0-9]{1,16}"),
    "ag-ui": ("/ag-ui/scripted/s/events?last_event_id={}", EVENT_ID),
    "ag-ui, header": ("/ag-ui/scripted/s/events" + HEADER, EVENT_ID),
    "ai-sdk": ("/ai-sdk/workflow/scripted/s/stream?startIndex={}", r"-?[0-9]{1,15}"),
    "responses": ("/openai/v1/responses/resp_s_{job}?stream=true&starting_after={}", r"[0-9]{1,15}"),
}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        await gateway.offer("scripted")
        yield gateway


def garbled(choose: random.Random) -> str:
    return "".join(choose.choices("0123456789-+. \t%\0é", k=choose.randint(1, 30)))


@pytest.mark.parametrize("place", PLACES)
async def test_f40_what_is_no_cursor_is_refused(gateway: Served, place: str) -> None:
    posted = await gateway.client.post("/v1/sessions/s/jobs", json={"agent": "scripted", "input": "tea"})
    target, valid = PLACES[place]
    target = target.replace("{job}", posted.json()["job_id"])
    choose = random.Random(40)
    for given in [*NASTY, *(garbled(choose) for _ in range(30))]:
        value = given.strip(" \t") if HEADER in target else given
        if not value or (re.fullmatch(valid, value) and len(value) < 30):
            continue
        lines = ["Host: localhost", "Connection: close"]
        lines += [f"Last-Event-ID: {value}"] if HEADER in target else []
        lines += WEBSOCKET if place == "websocket" else []
        path = target.removesuffix(HEADER).replace("{}", quote(value, safe=""))
        answer = await raw_request(gateway.port, "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode())
        assert answer.status in (400, 422, 431), (value, answer)
