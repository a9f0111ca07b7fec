"""The newest messages of a session, as far as a reader wants them."""

from __future__ import annotations

import orjson
from holdfast.shared.sessions import RecentMessages

from tests.support.log import Session


async def test_the_newest_messages_are_read_up_to_a_count_and_a_size(session: Session) -> None:
    await session.submit("j1", input=b'"Hello"')
    await session.submit("j2")
    await session.redis.rpush(session.keys.messages, *(b"%03d" % n for n in range(100)))
    recent = await session.sessions.recent("s", "j1", 40, 10_000)
    assert recent.stored == [b"%03d" % n for n in range(60, 100)]
    assert recent.later == {"j1", "j2"}
    assert recent.given == "Hello"
    recent = await session.sessions.recent("s", "j2", 200, 100)
    assert recent.stored == [b"%03d" % n for n in range(66, 100)], "the oldest one may exceed the size"
    assert recent.later == {"j2"}
    assert len((await session.sessions.recent("s", "j2", 200, 10_000)).stored) == 100


async def test_a_session_without_messages_has_none(session: Session) -> None:
    await session.submit("j1", input=orjson.dumps({"a": 1}))
    recent = await session.sessions.recent("s", "j1", 40, 10_000)
    assert recent == RecentMessages([], frozenset({"j1"}), {"a": 1})
