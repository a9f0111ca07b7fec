"""What an earlier version has left in Redis, in a file: written by that version, read by the tests of this one.

    python -m tests.support.golden tests/data/schema-0.json

writes it with the code and the tests that it is started with. `schema-0.json` was made with those of commit 2d4de90.
Every session is at another place in its life:

- `done`: a job with text, tools, a question, steps and usage has ended, and a failed one;
- `begun`: a second attempt has written something, and its worker is gone;
- `steps`: a first attempt has recorded a step, and its worker is gone;
- `asked`: a person is asked, and the worker is gone;
- `queued`: two jobs wait.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from holdfast.shared.redis.client import Redis
from holdfast.worker import AgentError, Run

from tests.support.redis_server import RedisServer
from tests.support.workers import Client, worker_on

Key = tuple[str, str, Any]  # name, type, and what stands there


async def tells(run: Run) -> dict[str, int]:
    """Uses everything that leaves something in Redis."""
    await run.status("Looking…")
    async with run.section("One"), run.tool("search", {"q": "x"}) as call:
        call.result = await run.step("search", _found)
    await run.agent("helper").text("From a helper. ")
    answer = await run.ask("Which city?", {"type": "string"})
    await run.text(f"To {answer}. ")
    await run.usage(10, 5, "m")
    return {"pages": 2}


async def fails(run: Run) -> None:
    await run.text("So far ")
    raise AgentError("quota", "Try later", retryable=True)


async def begins(run: Run) -> None:
    await run.text(f"Attempt {run.attempt}: ")
    for number in range(3):
        await run.text(f"{number} ")
    await run.flush()
    await asyncio.Event().wait()


async def pays(run: Run) -> None:
    await run.text("Paying. ")
    paid = await run.step("pay", _paid, 5)
    await run.text(f"Paid {paid}. ")
    await run.flush()
    await asyncio.Event().wait()


async def asks(run: Run) -> None:
    await run.text(f"To {await run.ask('Which city?')}.")


async def waits(run: Run) -> None:
    await asyncio.Event().wait()


async def _found() -> list[str]:
    return ["found"]


async def _paid(amount: int) -> str:
    return f"{amount} €"


async def _record(url: str) -> list[Key]:
    client = Client(url)
    try:
        await _fill(client, url)
        return await dump(client.redis)
    finally:
        await client.close()


async def _fill(client: Client, url: str) -> None:
    agents = (tells, fails, begins, pays, asks, waits)
    async with worker_on(url, agents):
        await client.offered(*(agent.__name__ for agent in agents))
        await client.post("done", agent="tells")
        await client.until("done", "j1", lambda state: state.status == "waiting")
        found = await client.sessions.answer("done", "j1", None, b'"Rome"')
        assert found.lease_owner is not None
        await client.queue.notify(found.lease_owner, "done")
        await client.end("done")
        await client.post("done", "j2", agent="fails")
        await client.end("done", "j2")
        await client.post("begun", agent="begins")
        await client.spoke("begun", tokens=4)
    async with worker_on(url, agents):
        await client.spoke("begun", tokens=8)
        await client.post("steps", agent="pays")
        await client.spoke("steps", tokens=2)
        await client.post("asked", agent="asks")
        await client.until("asked", "j1", lambda state: state.status == "waiting")
    for job in ("j1", "j2"):
        await client.post("queued", job, agent="waits")


async def dump(redis: Redis, left_out: tuple[str, ...] = (":workers", ":wake")) -> list[Key]:
    """All keys but those that end so: by default those of workers and wake-ups."""
    names = sorted(name.decode() for name in await redis.keys("*"))
    return [await _dumped(redis, name) for name in names if not name.endswith(left_out)]


async def _dumped(redis: Redis, name: str) -> Key:
    kind = (await redis.type(name)).decode()
    readers = {
        "string": ("GET", name),
        "hash": ("HGETALL", name),
        "list": ("LRANGE", name, 0, -1),
        "set": ("SMEMBERS", name),
        "zset": ("ZRANGE", name, 0, -1, "WITHSCORES"),
        "stream": ("XRANGE", name, "-", "+"),
    }
    return name, kind, _text(await redis.execute_command(*readers[kind]))


def _text(reply: Any) -> Any:
    if isinstance(reply, bytes):
        return reply.decode()
    if isinstance(reply, dict):
        return {_text(name): _text(value) for name, value in reply.items()}
    return [_text(part) for part in reply] if isinstance(reply, list | tuple | set) else reply


async def restore(redis: Redis, keys: list[Key]) -> None:
    """Put everything back, as if it had been written just now."""
    for name, kind, value in keys:
        await _restored(redis, name, kind, value)


async def _restored(redis: Redis, name: str, kind: str, value: Any) -> None:
    now_ms = str(time.time_ns() // 1_000_000)
    match kind:
        case "string":
            await redis.call("SET", name, value)
        case "hash":
            fields = value | _renewed(name, value, now_ms)
            await redis.call("HSET", name, *(part for pair in fields.items() for part in pair))
        case "list":
            await redis.call("RPUSH", name, *value)
        case "set":
            await redis.call("SADD", name, *value)
        case "zset":
            members = zip(value[1::2], value[::2], strict=True)
            await redis.call("ZADD", name, *(part for member in members for part in member))
        case "stream":
            for entry_id, fields in value:
                await redis.call("XADD", name, entry_id, *(part for pair in fields.items() for part in pair))


def _renewed(name: str, fields: dict[str, str], now_ms: str) -> dict[str, str]:
    """Return the fields of a hash that hold the time from which a lifetime counts, with the present time."""
    if name.endswith(":idempotency"):  # the job, the digest of its request, the time
        return {key: f"{entry.rpartition(' ')[0]} {now_ms}" for key, entry in fields.items()}
    return {field: now_ms for field in fields if field.endswith((":created_at", ":asked_at"))}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder) / "redis")
        server.start()
        try:
            keys = asyncio.run(_record(server.url))
        finally:
            server.kill()
    Path(sys.argv[1]).write_text(json.dumps(keys, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
