"""The newest messages of a session, as far as a reader wants them."""

from __future__ import annotations

import orjson
from holdfast.shared.sessions import RecentMessages

from tests.support.log import Session


def message(number: int, job_id: str) -> bytes:
    return orjson.dumps({"content": f"{number:03d}", "job_id": job_id})


async def test_the_newest_messages_are_read_up_to_a_count_and_a_size(session: Session) -> None:
    await session.submit("j1", input=b'"Hello"')
    await session.submit("j2")
    stored = [message(n, "j0") for n in range(100)]
    await session.redis.rpush(session.keys.messages, *stored)
    recent = await session.sessions.recent("s", "j1", 40, 10_000)
    assert recent == RecentMessages(stored[60:], [], "Hello")
    recent = await session.sessions.recent("s", "j2", 200, 33 * len(stored[0]) + 1)
    assert recent.earlier == stored[66:], "the oldest one may exceed the size"
    assert len((await session.sessions.recent("s", "j2", 200, 10_000)).earlier) == 100


async def test_messages_of_later_jobs_are_left_out(session: Session) -> None:
    for n in range(5):
        await session.submit(f"j{n}")
    stored = [message(n, f"j{n}") for n in range(5)]
    await session.redis.rpush(session.keys.messages, *stored)
    recent = await session.sessions.recent("s", "j2", 40, 10_000)
    assert (recent.earlier, recent.own) == (stored[:2], stored[2:3])


async def test_a_session_without_messages_has_none(session: Session) -> None:
    await session.submit("j1", input=orjson.dumps({"a": 1}))
    recent = await session.sessions.recent("s", "j1", 40, 10_000)
    assert recent == RecentMessages([], [], {"a": 1})
