"""What a conversation shows of a job that has not ended: read from the log, in time and memory that are bounded."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable
from typing import Any

import orjson
import pytest
from holdfast.shared.ids import EventId
from holdfast.shared.log import turns
from holdfast.shared.log.conversation import Fold
from holdfast.shared.log.event_log import EventLog
from holdfast.shared.log.log_replies import Event

from tests.support.log import Session, said
from tests.support.served import served

EVENTS = 100_000
LONGEST_PAUSE_S = 0.1  # of CPU time: some 5 ms are usual, and the whole fold takes 300
WRITE_MANY = """
for number = ARGV[2], ARGV[3] do
    local body = '{"type":"text.delta","job_id":"j1","part":0,"text":"word number ' .. number .. ' of an answer "}'
    redis.call('XADD', KEYS[1], ARGV[1] .. '-' .. number + 2, 'j1 text.delta', body)
end
"""


async def write(session: Session, epoch: int, *events: dict[str, Any], first: int = 1) -> None:
    """Append events of `j1` as they are, from a seq on."""
    bodies = [(f"{epoch}-{seq}", f"j1 {event['type']}", event) for seq, event in enumerate(events, first)]
    commands = [
        ("XADD", session.keys.log, entry_id, name, orjson.dumps({"job_id": "j1", **event}))
        for entry_id, name, event in bodies
    ]
    await session.redis.transaction(*commands)


def text(*words: str) -> list[dict[str, Any]]:
    return [{"type": "text.delta", "text": word, "part": 0} for word in words]


async def contents(session: Session) -> list[str]:
    return [message["content"] for message in await said(session.sessions)]


async def many(session: Session) -> str:
    """A running job with 100,000 events; returns its text."""
    attempt = await session.started()
    for begin in range(0, EVENTS, 10_000):
        await session.redis.eval(WRITE_MANY, 1, session.keys.log, attempt.epoch, begin, begin + 9_999)
    return "".join(f"word number {number} of an answer " for number in range(EVENTS))


async def longest_pause(doing: Awaitable[Any]) -> tuple[Any, float, float]:
    """The answer, the CPU seconds of this thread that it took, and the most of them at a stretch."""
    work = asyncio.ensure_future(doing)
    gc.collect()
    gc.disable()
    try:
        begun = before = time.thread_time()
        longest = 0.0
        while not work.done():
            await asyncio.sleep(0)
            longest, before = max(longest, time.thread_time() - before), time.thread_time()
        return await work, before - begun, longest
    finally:
        gc.enable()


async def test_f64_the_conversation_of_a_hundred_thousand_events_is_read_in_short_steps(
    redis_url: str, session: Session
) -> None:
    whole = await many(session)
    async with served(redis_url) as gateway:
        answer, cpu_s, pause_s = await longest_pause(gateway.client.get("/v1/sessions/s/messages"))
    assert [message["content"] for message in answer.json()["messages"]] == ["hello", whole]
    assert pause_s < LONGEST_PAUSE_S
    assert cpu_s < 4  # the quadratic fold took 12 s and more


async def test_f64_a_killed_job_of_a_hundred_thousand_events_is_cancelled_in_short_steps(session: Session) -> None:
    whole = await many(session)
    await session.sessions.cancel("s", "j1")
    ended, _, pause_s = await longest_pause(session.try_claim(delivery=2))
    assert ended.verdict == "ended"
    assert await contents(session) == ["hello", whole]
    assert pause_s < LONGEST_PAUSE_S


async def test_a_turn_is_folded_with_a_pause_after_each_page(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = 0
    sleep = asyncio.sleep

    async def counted(seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", counted)
    attempt = await session.started()
    await write(session, attempt.epoch, *text(*["x"] * 10_000), first=2)
    pauses = 0
    await contents(session)
    assert pauses >= 10


async def test_of_large_events_few_are_folded_and_read_without_a_pause(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded = [0]
    read: list[int] = []
    sleep, add, backwards = asyncio.sleep, Fold.add, EventLog.backwards

    async def paused(seconds: float) -> None:
        folded.append(0)
        await sleep(seconds)

    def adding(fold: Fold, kind: str, body: bytes) -> bool:
        folded[-1] += len(body)
        return add(fold, kind, body)

    async def reading(*args: Any) -> Any:
        found = await backwards(*args)
        read.append(sum(len(entry.body) for entry in found[0]))
        return found

    attempt = await session.started()
    await write(session, attempt.epoch, *text(*['"' * 50_000] * 150), first=2)
    await write(session, attempt.epoch, *text(*["x"] * 1000), first=152)
    monkeypatch.setattr(asyncio, "sleep", paused)
    monkeypatch.setattr(Fold, "add", adding)
    monkeypatch.setattr(EventLog, "backwards", reading)
    await session.sessions.messages("s")
    assert 10_000_000 < sum(folded) < 20_000_000
    assert max(folded) <= turns.PAGE_BYTES + 110_000
    assert max(read) <= 101 * 101_000


async def test_twice_the_events_are_twice_the_reads(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = await session.started()
    reads: list[int] = []
    backwards = EventLog.backwards

    async def counted(*args: Any) -> Any:
        reads.append(len((found := await backwards(*args))[0]))
        return found

    monkeypatch.setattr(EventLog, "backwards", counted)
    await write(session, attempt.epoch, *text(*["x"] * 10_000), first=2)
    await contents(session)
    once, pages = sum(reads), len(reads)
    reads.clear()
    await write(session, attempt.epoch, *text(*["x"] * 10_000), first=10_002)
    await contents(session)
    assert once == 10_001
    assert sum(reads) == 20_001
    assert len(reads) < 2.5 * pages < 300


async def test_no_more_of_a_log_is_read_than_its_bound_and_the_answer_says_that_it_is_cut(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "READ_BYTES", 100_000)
    attempt = await session.started()
    words = [f"w{number} " for number in range(10_000)]
    await write(session, attempt.epoch, *text(*words), first=2)
    given, answer = await said(session.sessions)
    assert given["content"] == "hello"
    assert answer["truncated"] is True
    assert "".join(words).endswith(answer["content"])
    assert 500 < answer["content"].count(" ") < 5000


async def test_pages_are_smaller_where_events_are_large(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PAGE_BYTES", 10_000)
    attempt = await session.started()
    sizes: list[int] = []
    backwards = EventLog.backwards

    async def measured(*args: Any) -> Any:
        found = await backwards(*args)
        sizes.append(sum(len(entry.body) for entry in found[0]))
        return found

    monkeypatch.setattr(EventLog, "backwards", measured)
    await write(session, attempt.epoch, *text(*["x" * 1000] * 1000), first=2)
    assert await contents(session) == ["hello", "x" * 1_000_000]
    assert max(sizes[1:]) < 20_000


class TestDiscards:
    """`discard_from` names an event of any attempt; what lies between it and the start that names it is void."""

    async def test_a_later_attempt_that_discards_the_whole_job_begins_again(self, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "old")
        again = await session.claim(delivery=2)
        await session.append(again, 1, "new")
        assert await contents(session) == ["hello", "new"]

    async def test_a_later_attempt_keeps_what_is_before_the_event_that_it_discards_from(self, session: Session) -> None:
        epoch = (await session.started()).epoch
        await write(session, epoch, *text("a", "b", "c"), first=2)
        await write(session, epoch + 1, {"type": "job.started", "discard_from": f"{epoch}-4"}, *text("d"))
        assert await contents(session) == ["hello", "abd"]

    async def test_discards_of_several_attempts_nest_and_overlap(self, session: Session) -> None:
        epoch = (await session.started()).epoch
        await write(session, epoch, *text("a", "b", "c"), first=2)
        await write(session, epoch + 1, {"type": "job.started", "discard_from": f"{epoch}-4"}, *text("d", "e"))
        await write(session, epoch + 2, {"type": "job.started", "discard_from": f"{epoch + 1}-3"}, *text("f"))
        assert await contents(session) == ["hello", "abdf"]
        await write(session, epoch + 3, {"type": "job.started", "discard_from": f"{epoch}-3"}, *text("g"))
        assert await contents(session) == ["hello", "ag"]

    async def test_it_holds_across_pages(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(turns, "FIRST_PAGE_EVENTS", 2)
        monkeypatch.setattr(turns, "PAGE_BYTES", 1)
        monkeypatch.setattr(turns, "SMALLEST_PAGE_EVENTS", 2)
        await self.test_discards_of_several_attempts_nest_and_overlap(session)

    async def test_an_answer_of_which_nothing_is_missing_is_not_marked_as_cut(self, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "old")
        await session.append(await session.claim(delivery=2), 1, "new")
        assert not any("truncated" in message for message in await said(session.sessions))

    async def test_an_answer_whose_beginning_was_trimmed_is_marked_as_cut(self, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "a", "b", "c")
        await session.redis.xtrim(session.keys.log, minid=str(EventId(attempt.epoch, 3)), approximate=False)
        assert [(m["content"], m.get("truncated")) for m in await said(session.sessions)] == [
            ("hello", None),
            ("bc", True),
        ]


class TestStored:
    """The conversation that outlives its jobs has a bound in bytes, too."""

    async def test_the_newest_messages_within_four_megabytes_are_kept(self, session: Session) -> None:
        for number in range(10):
            attempt = await session.started(job := f"j{number}")
            answer = orjson.dumps({"role": "assistant", "content": f"{number}" * 1_000_000, "job_id": job})
            event = orjson.dumps({"type": "job.completed", "job_id": job, "result": None})
            await session.log_writer.finish(
                "s", attempt.epoch, 1, Event("job.completed", job, event), messages=[answer], usage=b""
            )
        assert [content[0] for content in await contents(session)] == ["6", "7", "8", "9"]
        stored = await session.redis.lrange(session.keys.messages, 0, -1)
        assert int(await session.redis.hget(session.keys.state, "messages_bytes")) == sum(map(len, stored))

    async def test_a_list_of_before_the_bytes_were_counted_gets_the_same_bound(self, session: Session) -> None:
        old = [orjson.dumps({"role": "user", "content": f"{number}" * 1_000_000}) for number in range(6)]
        await session.redis.rpush(session.keys.messages, *old)
        attempt = await session.started()
        end = Event("job.completed", "j1", b"{}")
        answer = b'{"role":"assistant","content":"end"}'
        await session.log_writer.finish("s", attempt.epoch, 1, end, messages=[answer], usage=b"")
        stored = await session.redis.lrange(session.keys.messages, 0, -1)
        assert stored == [*old[2:], answer]
        assert int(await session.redis.hget(session.keys.state, "messages_bytes")) == sum(map(len, stored))

    async def test_the_history_of_a_job_is_what_the_jobs_before_it_left(self, session: Session) -> None:
        first = await session.started("j1")
        await session.log_writer.finish(
            "s",
            first.epoch,
            1,
            Event("job.completed", "j1", b"{}"),
            messages=[b'{"role":"user","content":"hi"}'],
            usage=b"",
        )
        second = await session.started("j2")
        await session.append(second, 1, "not yet")
        assert await session.sessions.history("s", "j2") == [{"role": "user", "content": "hi"}]
