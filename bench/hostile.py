"""Request bodies that are expensive to check, and a client that posts them: `python -m bench.hostile PORT CONNECTIONS`.

It posts until a line arrives on stdin, then prints its results as a line of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
from holdfast.worker.sdk.registry import CHAT_INPUT
from pydantic import BaseModel, Field

MIB = 1024 * 1024
_ROOM = MIB - 100  # below the default limit, with the rest of the body


class Tags(BaseModel):
    tags: set[int]


class Named(BaseModel):
    name: str = Field(pattern="^(a+)+$")


class Rows(BaseModel):
    rows: list[dict[str, int]] | None = None


class Both(BaseModel):
    left: Both | Either | int
    kind: int = 0


class Either(BaseModel):
    left: Both | Either | int
    kind: str


SCHEMAS: dict[str, dict[str, Any]] = {
    "chat": CHAT_INPUT,
    "free": {},
    "tags": Tags.model_json_schema(),
    "named": Named.model_json_schema(),
    "rows": Rows.model_json_schema(),
    "tree": Both.model_json_schema(),
}


def filled(unit: bytes, size: int = _ROOM, *, head: bytes = b"[", tail: bytes = b"1]") -> bytes:
    """Repeat a unit up to this size, between a head and a tail."""
    return head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


def job(agent: str, given: bytes, more: bytes = b"") -> bytes:
    return b'{"agent":"%s","input":%s%s}' % (agent.encode(), given, more)


def chat(messages: bytes) -> bytes:
    return job("chat", b'{"messages":%s}' % messages)


def option(value: bytes) -> bytes:
    return job("chat", b'"x"', b',"options":{"a":%s}' % value)


def unknown(fields: Iterator[bytes]) -> bytes:
    return job("chat", b'"x"', b"".join(b',"%s":1' % name for name in fields))


def tree(depth: int) -> bytes:
    """Nodes that match neither alternative of a recursive schema."""
    return b'{"left":' * depth + b"0" + b',"kind":[]}' * depth


_MESSAGE = b'{"role":"user","content":"x"},'
HOSTILE = {
    "numbers for messages": chat(filled(b"1,")),
    "49,000 numbers for messages": chat(filled(b"1,", 98_000)),
    "80,000 unknown fields": unknown(b"%06d" % number for number in range(80_000)),
    "24,000 unknown fields": unknown(b"%06d" % number for number in range(24_000)),
    "unknown fields of control characters": unknown(b"\\u0001" * 500 + b"%d" % number for number in range(99)),
    "brackets": job("chat", b"[" * (_ROOM // 2) + b"]" * (_ROOM // 2)),
    "7,500 equal arrays in a set": job("tags", b'{"tags":%s}' % filled(b"[1],", 30_000)),
    "4,000 different objects and one twice in a set": job(
        "tags", b'{"tags":[%s,{"n":0}]}' % b",".join(b'{"n":%d}' % number for number in range(4000))
    ),
    "7,500 numbers in a set": job("tags", b'{"tags":[%s,0,0]}' % b",".join(b"%d" % number for number in range(7500))),
    "32,000 messages": chat(filled(_MESSAGE, 32_000 * len(_MESSAGE))),
    "9,900 messages and a bad one": chat(filled(_MESSAGE, 9_900 * len(_MESSAGE))),
    "a text for a pattern that backtracks": job("named", b'{"name":"%sb"}' % (b"a" * (_ROOM - 20))),
    "rows of other fields": job("rows", b'{"rows":%s}' % filled(b'{"ab":"x"},', 180_000)),
    "alternatives in alternatives": job("tree", tree(90)),
    "integers of 4,000 digits": option(filled(b"9" * 4000 + b",")),
    "a number beyond all floats": option(b"1e999"),
    "one field many times": option(filled(b'"a":1,', head=b"{", tail=b'"a":1}')),
    "large metadata": job("chat", b'"x"', b',"metadata":{"a":"%s"}' % (b"x" * (16 * 1024))),
    "large options": option(b'"%s"' % (b"x" * (256 * 1024))),
    "small objects": job("free", filled(b'{"ab":1},')),
}
ALLOWED = {
    "9,900 messages": chat(filled(_MESSAGE, 9_900 * len(_MESSAGE), tail=_MESSAGE[:-1] + b"]")),
    "a long text of quotes": job("chat", b'"%s"' % (b'\\"' * (_ROOM // 2 - 20))),
    "a long text": job("chat", b'"%s"' % (b"x, y: [{ " * (_ROOM // 9 - 20))),
}


_HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class Client:
    """Posts the bodies in turn over several connections, each as soon as the previous one is answered."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._bodies = itertools.cycle(HOSTILE.values())
        self.answers: Counter[int] = Counter()
        self.slowest_s = 0.0

    async def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._connected()

    async def _connected(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            while True:
                began_s = time.monotonic()
                body = next(self._bodies)
                writer.write(_HEAD % len(body) + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(answer.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
                self.answers[int(answer[9:12])] += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
        finally:
            writer.close()


async def main(port: int, connections: int) -> None:
    client = Client(port)
    posting = [asyncio.create_task(client.run()) for _ in range(connections)]
    began_s = time.monotonic()
    await asyncio.to_thread(sys.stdin.readline)
    answers = {str(status): count for status, count in client.answers.items()}
    told = {"answers": answers, "seconds": time.monotonic() - began_s, "slowest_s": client.slowest_s}
    print(orjson.dumps(told).decode(), flush=True)
    for task in posting:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
