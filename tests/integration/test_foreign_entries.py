"""Entries in a session's log that no worker wrote: declared as a gap, and all else goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from holdfast.shared.log import session_claims
from holdfast.shared.log.log_replies import Attempt
from structlog.testing import capture_logs

from tests.support.log import Session
from tests.support.scene import scene, words
from tests.support.served import Served, served
from tests.support.sse import Frame, SseStream
from tests.support.streams import frames_until
from tests.support.workers import worker_on

FOREIGN: dict[str, dict[bytes | str, bytes | str]] = {
    "fields of another kind": {"foo": "bar"},
    "many fields": {"foo": "bar", "a": "1", "b": "2"},
    "a name that is no UTF-8": {b"\xff\xfe status": b"{}"},
    "no JSON": {"j1 status": "bar"},
    "broken JSON": {"j1 status": "{bar}"},
    "no object": {"j1 status": "[1]"},
    "a forged start": {"j1 job.started": '{"discard_from":"what'},
}

# Entries of our form: named like an event of the running job, with a body that begins and ends like one.
MALFORMED = {
    "a delta without text": ("text.delta", '{"type":"text.delta","job_id":"j1"}'),
    "a delta whose text is null": ("text.delta", '{"type":"text.delta","job_id":"j1","text":null}'),
    "a delta of no agent": ("text.delta", '{"type":"text.delta","job_id":"j1","text":"a","agent":[]}'),
    "a call without an id": ("tool.called", '{"type":"tool.called","job_id":"j1","name":"t"}'),
    "a call whose id is a list": ("tool.called", '{"type":"tool.called","call_id":[1],"name":"t"}'),
    "a call nested too deeply": (
        "tool.called",
        '{"type":"tool.called","call_id":"c","name":"t","arguments":' + "[" * 300 + "]" * 300 + "}",
    ),
    "a result without an id": ("tool.result", '{"type":"tool.result","job_id":"j1"}'),
    "a body that is no JSON": ("text.delta", '{"type":"text.delta", what}'),
    "a start that is no JSON": ("job.started", '{"type":"job.started", what}'),
    "a start that discards from nowhere": ("job.started", '{"type":"job.started","discard_from":"what"}'),
    "a start that discards from a number": ("job.started", '{"type":"job.started","discard_from":5}'),
}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url, ping_seconds=0.2) as gateway:
        yield gateway


def come(gateway: Served, query: str = "", cursor: str | None = None) -> SseStream:
    return SseStream(f"{gateway.url}/v1/sessions/s/events{query}", last_event_id=cursor)


def is_last(attempt: Attempt) -> Any:
    return lambda frame: frame.json["type"] == "job.completed" and frame.id.startswith(str(attempt.epoch))


def shown(frames: list[Frame]) -> list[Any]:
    return [(frame.json["type"], frame.json.get("reason"), frame.id) for frame in frames]


async def add_foreign(session: Session, entry: dict[bytes | str, bytes | str], entry_id: str = "*") -> str:
    return str((await session.redis.xadd(session.keys.log, entry, id=entry_id)).decode())


async def go_on(session: Session, delivery: int) -> Attempt:
    """Another attempt takes the session, whoever wrote last, and ends its job."""
    attempt = await session.claim(delivery=delivery)
    await session.append(attempt, 1, "b")
    await session.finish(attempt, 2)
    return attempt


class TestReading:
    @pytest.mark.parametrize("entry", FOREIGN.values(), ids=FOREIGN)
    @pytest.mark.parametrize("place", ["later", "next"])
    @pytest.mark.parametrize("query", ["", "?raw=true"])
    async def test_it_is_a_gap_at_its_place_for_a_viewer_that_catches_up(
        self, gateway: Served, session: Session, entry: dict[bytes | str, bytes | str], place: str, query: str
    ) -> None:
        first = await session.started()
        await session.append(first, 1, "a")
        await add_foreign(session, entry, f"{first.epoch}-3" if place == "next" else f"{first.epoch + 5000}-0")
        await add_foreign(session, {"foo": "bar"})
        second = await go_on(session, 2)
        last_own = f"{first.epoch}-2"
        async with come(gateway, query, last_own) as stream:
            frames = await frames_until(stream, is_last(second))
        assert shown(frames) == [
            ("gap", "lost", last_own),
            ("job.started", None, f"{second.epoch}-1"),
            ("text.delta", None, f"{second.epoch}-2"),
            ("job.completed", None, f"{second.epoch}-3"),
        ]
        assert frames[0].json["position"] == last_own

    async def test_it_is_a_gap_for_a_live_viewer_which_goes_on_behind_it(
        self, gateway: Served, session: Session
    ) -> None:
        first = await session.started()
        async with come(gateway) as stream:
            await frames_until(stream, lambda frame: frame.id == f"{first.epoch}-1")
            await add_foreign(session, {"foo": "bar"}, f"{first.epoch + 5000}-0")
            gap = (await frames_until(stream, lambda frame: frame.json["type"] == "gap"))[-1]
            assert (gap.json["reason"], gap.id) == ("lost", f"{first.epoch}-1")
            second = await go_on(session, 2)
            frames = await frames_until(stream, is_last(second))
        assert [frame.json["type"] for frame in frames] == ["job.started", "text.delta", "job.completed"]

    async def test_ndjson_has_the_same_gap(self, gateway: Served, session: Session) -> None:
        first = await session.started()
        await add_foreign(session, {"foo": "bar"})
        second = await go_on(session, 2)
        url = "/v1/sessions/s/jobs/j1/events"
        async with gateway.client.stream("GET", url, headers={"Accept": "application/x-ndjson"}) as answer:
            lines = [orjson.loads(line) async for line in answer.aiter_lines() if line]
        assert [(line["id"], line["type"]) for line in lines] == [
            (f"{first.epoch}-1", "gap"),
            (f"{second.epoch}-1", "job.started"),
            (f"{second.epoch}-2", "text.delta"),
            (f"{second.epoch}-3", "job.completed"),
        ]

    async def test_a_viewer_from_the_start_reads_on_where_the_log_begins_with_one(
        self, gateway: Served, session: Session
    ) -> None:
        await session.submit()
        await add_foreign(session, {"foo": "bar"})
        attempt = await go_on(session, 1)
        async with come(gateway) as stream:
            frames = await frames_until(stream, is_last(attempt))
        assert [frame.id for frame in frames] == ["0-0", *(f"{attempt.epoch}-{seq}" for seq in (1, 2, 3))]

    async def test_a_trimmed_cursor_gets_a_gap_too_where_the_log_now_begins_with_one(
        self, gateway: Served, session: Session
    ) -> None:
        first = await session.started()
        await session.append(first, 1, "a", "b")
        foreign = await add_foreign(session, {"foo": "bar"}, f"{first.epoch + 5000}-0")
        second = await go_on(session, 2)
        await session.redis.xtrim(session.keys.log, minid=foreign, approximate=False)
        async with come(gateway, cursor=f"{first.epoch}-1") as stream:
            frames = await frames_until(stream, is_last(second))
        assert [frame.json["type"] for frame in frames] == ["gap", "job.started", "text.delta", "job.completed"]

    async def test_thousands_of_them_are_passed_over(self, gateway: Served, session: Session) -> None:
        first = await session.started()
        ids = [f"{first.epoch + 5000}-{number}" for number in range(2500)]
        await session.redis.transaction(*(("XADD", session.keys.log, entry_id, "foo", "bar") for entry_id in ids))
        second = await go_on(session, 2)
        async with come(gateway) as stream:
            with capture_logs() as lines:
                frames = await frames_until(stream, is_last(second))
        assert [frame.json["type"] for frame in frames if frame.json["type"] != "gap"] == [
            *("job.started", "text.delta", "job.completed"),
        ]
        assert len([line for line in lines if line["log_level"] == "warning"]) == 1

    @pytest.mark.parametrize("entry_id", ["*", "{later}-0", "9999999999999999-5"])
    async def test_every_cursor_that_is_handed_out_can_be_resumed_from(
        self, gateway: Served, session: Session, entry_id: str
    ) -> None:
        first = await session.started()
        await session.append(first, 1, "a")
        await add_foreign(session, {"foo": "bar"}, entry_id.format(later=first.epoch + 5000))
        async with come(gateway, "?from=now") as stream:
            async for chunk in stream.chunks():
                stream.parser.feed(chunk)
                if stream.parser.last_event_id:
                    break
        answers = [(await gateway.client.get(f"/v1/sessions/s{path}")).json() for path in ("", "/messages", "/jobs/j1")]
        for cursor in (stream.parser.last_event_id, *(answer["cursor"] for answer in answers)):
            async with come(gateway, cursor=cursor) as resumed:
                assert resumed.status == 200
                async for chunk in resumed.chunks():
                    frames = resumed.parser.feed(chunk)
                    assert not any(frame.json["type"] == "text.delta" for frame in frames), "an event came again"
                    if ": ping" in chunk.decode():
                        break

    async def test_a_job_behind_one_can_be_replayed_from_where_its_conversation_says(
        self, gateway: Served, session: Session
    ) -> None:
        await session.submit()
        await add_foreign(session, {"foo": "bar"})
        attempt = await session.claim()
        replay_from = (await gateway.client.get("/v1/sessions/s/messages")).json()["replay_from"]
        async with come(gateway, cursor=replay_from) as stream:
            frames = await frames_until(stream, lambda frame: frame.id == f"{attempt.epoch}-1")
        assert frames[-1].json["type"] == "job.started"

    async def test_it_is_logged_once(self, gateway: Served, session: Session) -> None:
        first = await session.started()
        foreign = await add_foreign(session, {"foo": "bar"}, f"{first.epoch + 5000}-0")
        with capture_logs() as lines:
            for _ in range(3):
                async with come(gateway) as stream:
                    await frames_until(stream, lambda frame: frame.json["type"] == "gap")
        warnings = [line for line in lines if line["log_level"] == "warning"]
        assert [(line["session_id"], line["last"]) for line in warnings] == [("s", foreign)]

    async def test_the_conversation_has_everything_else(self, gateway: Served, session: Session) -> None:
        first = await session.started()
        await session.append(first, 1, "a")
        await session.redis.xadd(session.keys.log, {"foo": "bar"}, id=f"{first.epoch}-3")
        await session.redis.xadd(session.keys.log, {"j1 text.delta": "what"}, id=f"{first.epoch}-4")
        await session.append(first, 4, "b")
        messages = (await gateway.client.get("/v1/sessions/s/messages")).json()["messages"]
        assert messages[-1]["content"] == "ab"


@pytest.mark.parametrize(("kind", "body"), MALFORMED.values(), ids=MALFORMED)
class TestMalformed:
    """What has the form of an event but lacks what its kind demands is left out of the conversation."""

    async def add(self, session: Session, kind: str, body: str) -> Attempt:
        attempt = await session.started()
        await session.append(attempt, 1, "a")
        await session.redis.xadd(session.keys.log, {f"j1 {kind}": body}, id=f"{attempt.epoch}-3")
        await session.append(attempt, 3, "b")
        return attempt

    async def test_the_conversation_has_everything_else_and_it_is_logged_once(
        self, gateway: Served, session: Session, kind: str, body: str
    ) -> None:
        await self.add(session, kind, body)
        with capture_logs() as lines:
            for _ in range(2):
                messages = (await gateway.client.get("/v1/sessions/s/messages")).json()["messages"]
                assert [message["content"] for message in messages] == ["hello", "ab"]
        assert [(line["session_id"], line["job_id"]) for line in lines if line["log_level"] == "warning"] == [
            ("s", "j1")
        ]

    async def test_the_stream_goes_on(self, gateway: Served, session: Session, kind: str, body: str) -> None:
        attempt = await self.add(session, kind, body)
        await session.finish(attempt, 4)
        for query in ("", "?raw=true"):
            async with come(gateway, query) as stream:
                async with asyncio.timeout(20):
                    async for _ in stream.chunks():
                        if b"id: %d-5\n" % attempt.epoch in stream.body:
                            break

    async def test_a_cancelled_job_ends_by_its_next_claim(self, session: Session, kind: str, body: str) -> None:
        await self.add(session, kind, body)
        await session.sessions.cancel("s", "j1")
        assert (await session.try_claim(delivery=2)).verdict == "ended"  # type: ignore[union-attr]

    async def test_a_cancelled_job_is_settled(
        self, session: Session, monkeypatch: pytest.MonkeyPatch, kind: str, body: str
    ) -> None:
        monkeypatch.setattr(session_claims, "CANCEL_PATIENCE_MS", 0)
        await self.add(session, kind, body)
        await session.sessions.cancel("s", "j1")
        assert (await session.log_writer.settle("s")).ended == ["j1"]


@pytest.mark.parametrize("place", ["next", "later"])
async def test_a_job_that_runs_while_one_is_added_completes_and_its_conversation_is_whole(
    redis_url: str, place: str
) -> None:
    """With the id of the job's next event it takes that event's place; with a later one it fences the attempt."""
    async with scene(redis_url) as play, worker_on(redis_url):
        await play.client.offered("scripted")
        await play.post(tokens=40, interval_ms=20)
        await play.client.spoke(tokens=5)
        log = "holdfast:{s}:log"
        last = (await play.client.log_redis.xrevrange(log, count=1))[0][0].decode()
        later = f"{int(last.partition('-')[0]) + 5000}-0"
        await play.client.log_redis.xadd(log, {"foo": "bar"}, id=later if place == "later" else "*")
        assert (await play.client.end())["type"] == "job.completed"
        async with SseStream(f"{play.url}/v1/sessions/s/jobs/j1/events") as stream:
            frames = [frame async for frame in stream]
        assert [frame.json["reason"] for frame in frames if frame.json["type"] == "gap"] == ["lost"]
        messages = (await play.client.sessions.messages("s")).messages
        assert orjson.loads(messages[-1])["content"] == words(40)
