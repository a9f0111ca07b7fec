"""The doors to the events: cursors, where a stream begins, its headers, and when there is nothing to come any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import orjson
import pytest
from holdfast.shared.ids import EventId
from holdfast.shared.log.log_replies import Attempt

from tests.support.log import Session
from tests.support.redis_server import RedisServer
from tests.support.served import Served, raw_request, served
from tests.support.sse import Frame, SseParser, SseStream


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        yield gateway


async def ended(session: Session, job_id: str = "j1") -> Attempt:
    """A job that has said `a` and `b` and is completed: four events."""
    attempt = await session.started(job_id)
    await session.append(attempt, 1, "a", "b")
    await session.finish(attempt, 3)
    return attempt


def url(gateway: Served, job_id: str | None = None, query: str = "") -> str:
    job = f"/jobs/{job_id}" if job_id else ""
    return f"{gateway.url}/v1/sessions/s{job}/events{query}"


async def read(url: str, count: int, **options: str) -> list[Frame]:
    frames = []
    async with SseStream(url, **options) as stream:  # type: ignore[arg-type]
        async for frame in stream:
            frames.append(frame)
            if len(frames) == count:
                break
    return frames


def kinds(frames: list[Frame]) -> list[str]:
    return [frame.json["type"] for frame in frames]


@pytest.mark.parametrize("job_id", [None, "j1"])
async def test_a_stream_has_the_headers_that_keep_proxies_from_holding_it_back(
    gateway: Served, session: Session, job_id: str | None
) -> None:
    await ended(session)
    async with SseStream(url(gateway, job_id)) as stream:
        await anext(aiter(stream))
    assert stream.status == 200
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["cache-control"] == "no-cache, no-transform"
    assert stream.headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in stream.headers
    assert stream.parser.retry_ms is not None


async def test_without_a_cursor_a_job_is_told_from_its_start_to_its_end(gateway: Served, session: Session) -> None:
    await ended(session)
    async with SseStream(url(gateway, "j1", "?raw=true")) as stream:
        frames = [frame async for frame in stream]
    assert kinds(frames) == ["job.started", "text.delta", "text.delta", "job.completed"]


async def test_the_header_is_where_a_viewer_goes_on_whatever_its_address_says(
    gateway: Served, session: Session
) -> None:
    epoch = (await ended(session)).epoch
    address = url(gateway, "j1", f"?raw=true&last_event_id={epoch}-1")
    assert [frame.id for frame in await read(address, 2)] == [f"{epoch}-2", f"{epoch}-3"]
    (frame,) = await read(address, 5, last_event_id=f"{epoch}-3")
    assert (frame.id, frame.json["type"]) == (f"{epoch}-4", "job.completed")


async def test_a_cursor_from_before_the_job_means_its_first_event(gateway: Served, session: Session) -> None:
    await ended(session, "j1")
    second = await ended(session, "j2")
    frames = await read(url(gateway, "j2"), 9, last_event_id="0-0")
    assert (frames[0].id, frames[0].json["job_id"]) == (str(EventId(second.epoch, 1)), "j2")


@pytest.mark.parametrize("query", ["", "?from=now"])
async def test_a_browser_that_has_seen_the_end_is_told_to_stop(gateway: Served, session: Session, query: str) -> None:
    epoch = (await ended(session)).epoch
    for cursor in (f"{epoch}-4", f"{epoch}-5", f"{epoch + 1}-1"):
        answer = await gateway.client.get(url(gateway, "j1", query), headers={"Last-Event-ID": cursor})
        assert (answer.status_code, answer.content) == (204, b"")


async def test_only_what_comes_begins_with_the_id_to_come_back_with(gateway: Served, session: Session) -> None:
    attempt = await session.started()
    await session.append(attempt, 1, "old")
    async with SseStream(url(gateway, query="?from=now")) as stream:
        chunks = stream.chunks()
        while stream.parser.last_event_id != f"{attempt.epoch}-2":
            assert stream.parser.feed(await anext(chunks)) == []
        await session.append(attempt, 2, "new")
        frames: list[Frame] = []
        while not frames:
            frames = stream.parser.feed(await anext(chunks))
    assert frames[0].json["text"] == "new"


async def test_a_cursor_wins_over_the_wish_for_only_what_comes(gateway: Served, session: Session) -> None:
    epoch = (await ended(session)).epoch
    (frame,) = await read(url(gateway, query="?from=now"), 1, last_event_id=f"{epoch}-3")
    assert frame.id == f"{epoch}-4"


async def test_lines_of_json_carry_their_id(gateway: Served, session: Session) -> None:
    epoch = (await ended(session)).epoch
    headers = {"Accept": "application/x-ndjson"}
    answer = await gateway.client.get(url(gateway, "j1", "?raw=true"), headers=headers)
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    lines = [orjson.loads(line) for line in answer.content.split(b"\n") if line]
    assert [line["id"] for line in lines] == [f"{epoch}-{seq}" for seq in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("Application/X-NDJSON; q=1", "application/x-ndjson"),
        ("application/x-ndjson;q=0, */*", "text/event-stream"),
        ("text/event-stream,\tapplication/x-ndjson;q=0", "text/event-stream"),
    ],
)
async def test_nobody_gets_the_form_that_he_rules_out(
    gateway: Served, session: Session, accept: str, given: str
) -> None:
    await ended(session)
    answer = await gateway.client.get(url(gateway, "j1"), headers={"Accept": accept})
    assert answer.headers["content-type"].partition(";")[0] == given


async def deleted(session: Session, gateway: Served) -> EventId:
    """Delete the session as gateway and worker do together; the id of its last event."""
    await gateway.client.delete("/v1/sessions/s")
    await session.log_writer.settle("s")
    last = await session.log.last("s")
    assert last is not None
    assert last.kind == "session.deleted"
    return last.id


async def test_a_browser_that_has_seen_the_deletion_is_told_to_stop(gateway: Served, session: Session) -> None:
    await ended(session)
    last = await deleted(session, gateway)
    answer = await gateway.client.get(url(gateway), headers={"Last-Event-ID": str(last)})
    assert (answer.status_code, answer.content) == (204, b"")


async def test_a_viewer_that_was_cut_off_in_the_deletion_still_hears_of_it(gateway: Served, session: Session) -> None:
    epoch = (await ended(session)).epoch
    last = await deleted(session, gateway)
    async with SseStream(url(gateway), last_event_id=f"{epoch}-4") as stream:
        frames = [frame async for frame in stream]
    assert (frames[-1].id, frames[-1].json["type"]) == (str(last), "session.deleted")


async def test_nobody_new_may_look_at_a_deleted_session(gateway: Served, session: Session) -> None:
    await ended(session)
    await deleted(session, gateway)
    for path in ("/events", "/jobs/j1/events", "/messages", "/jobs/j1"):
        answer = await gateway.client.get(f"/v1/sessions/s{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "session_unknown")


@pytest.mark.parametrize("cursor", [None, "0-0"])
async def test_a_session_begun_again_shows_nothing_of_the_deleted_one_before_it(
    gateway: Served, session: Session, cursor: str | None
) -> None:
    """Within a minute of the deletion the log still begins with the ends of the old session. From the start, a viewer
    got those, with a gap in front and the end of the stream behind, of a session that it had never seen."""
    await ended(session)
    await session.submit("j2")
    last = await deleted(session, gateway)
    await session.submit("j3")
    async with SseStream(url(gateway), last_event_id=cursor) as stream:
        attempt = await session.claim("j3")
        frame = await anext(aiter(stream))
    assert (frame.id, frame.json["type"], frame.json["prev"]) == (f"{attempt.epoch}-1", "job.started", str(last))
    (first,) = await read(url(gateway), 1)
    assert first.id == f"{attempt.epoch}-1"


async def test_a_deleted_session_that_never_had_an_event_is_passed_over_as_well(
    gateway: Served, session: Session
) -> None:
    await session.submit("j1")
    await deleted(session, gateway)
    attempt = await session.started("j2")
    (frame,) = await read(url(gateway), 1)
    assert frame.id == f"{attempt.epoch}-1"


async def test_a_viewer_that_is_one_too_many_is_sent_away_with_a_200(redis_url: str, session: Session) -> None:
    await session.started()
    async with served(redis_url, max_viewers=1) as gateway, SseStream(url(gateway)) as first:
        await anext(aiter(first))
        answer = await gateway.client.get(url(gateway))
        assert (answer.status_code, answer.text[:7]) == (200, "retry: ")
        lines = await gateway.client.get(url(gateway), headers={"Accept": "application/x-ndjson"})
        assert (lines.status_code, "retry-after" in lines.headers) == (503, True)


async def test_an_http_1_0_client_gets_the_stream_as_well(gateway: Served, session: Session) -> None:
    await ended(session)
    answer = await raw_request(gateway.port, b"GET /v1/sessions/s/jobs/j1/events HTTP/1.0\r\n\r\n")
    assert answer.status == 200
    assert b'"type":"job.completed"' in answer.body


async def test_state_tells_what_came_of_a_job(gateway: Served, session: Session) -> None:
    epoch = (await ended(session)).epoch
    state = (await gateway.client.get("/v1/sessions/s/jobs/j1")).json()
    assert (state["status"], state["attempt"], state["cursor"], state["position"]) == (
        "completed",
        1,
        f"{epoch}-4",
        None,
    )
    assert state["created_at"] <= state["started_at"] <= state["ended_at"]
    assert (await gateway.client.get("/v1/sessions/s")).json()["status"] == "completed"


async def test_cancelling_a_job_that_has_ended_changes_nothing(gateway: Served, session: Session) -> None:
    epoch = (await ended(session)).epoch
    answer = await gateway.client.post("/v1/sessions/s/jobs/j1/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "completed")
    assert (await gateway.client.get("/v1/sessions/s")).json()["cursor"] == f"{epoch}-4"


async def test_a_conversation_is_true_at_the_cursor_that_it_names(gateway: Served, session: Session) -> None:
    attempt = await session.started()
    await session.append(attempt, 1, "half ", "a word")
    conversation = (await gateway.client.get("/v1/sessions/s/messages")).json()
    assert conversation["cursor"] == f"{attempt.epoch}-3"
    assert [(message["role"], message["content"]) for message in conversation["messages"]] == [
        ("user", "hello"),
        ("assistant", "half a word"),
    ]


@pytest.mark.parametrize("job_id", [None, "j1"])
async def test_while_redis_is_frozen_a_stream_is_refused_for_the_moment(
    redis_server: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch, job_id: str | None
) -> None:
    monkeypatch.setattr("holdfast.gateway.lifespan.REDIS_TIMEOUT_S", 1)
    server = redis_server()
    session = Session(server.url)
    await ended(session)
    async with served(server.url) as gateway:
        (await gateway.client.get(url(gateway, "j1"))).raise_for_status()
        server.stop()
        try:
            for accept, status, begin in (("text/event-stream", 200, b"retry: "), ("application/x-ndjson", 503, b"{")):
                answer = await gateway.client.get(url(gateway, job_id), headers={"Accept": accept})
                assert (answer.status_code, answer.content[: len(begin)]) == (status, begin)
        finally:
            server.cont()
    await session.aclose()


class TestDeletion:
    """From the 202 on, before a worker has carried the deletion out."""

    @pytest.mark.parametrize("path", ["", "j1"])
    @pytest.mark.parametrize("seq", [1, 2, 4])
    async def test_an_old_cursor_gets_nothing_but_session_deleted(
        self, gateway: Served, session: Session, path: str, seq: int
    ) -> None:
        attempt = await ended(session)
        await session.submit("j2")
        assert (await gateway.client.delete("/v1/sessions/s")).status_code == 202
        async with SseStream(url(gateway, path), last_event_id=f"{attempt.epoch}-{seq}") as stream:
            assert await anext(stream.chunks()) == b"retry: 1000\n\n"
            await session.log_writer.settle("s")
            frames = [frame async for frame in stream]
        assert [frame.json["type"] for frame in frames] == ["session.deleted"]
        answer = await gateway.client.get(url(gateway, path), headers={"Last-Event-ID": frames[0].id})
        assert answer.status_code == 204

    async def test_a_new_viewer_gets_404(self, gateway: Served, session: Session) -> None:
        await ended(session)
        await gateway.client.delete("/v1/sessions/s")
        for path in ("", "j1"):
            assert (await gateway.client.get(url(gateway, path))).status_code == 404

    @pytest.mark.parametrize("path", ["", "j1"])
    async def test_a_live_viewer_gets_nothing_but_session_deleted(
        self, gateway: Served, session: Session, path: str
    ) -> None:
        attempt = await session.started()
        async with SseStream(url(gateway, path)) as stream:
            frames = aiter(stream)
            await anext(frames)
            await gateway.client.delete("/v1/sessions/s")
            await session.append(attempt, 1, "of a worker that has not heard of it yet")
            await session.log_writer.settle("s")
            assert [frame.json["type"] async for frame in frames] == ["session.deleted"]

    async def test_a_viewer_that_catches_up_gets_no_page_more(self, redis_url: str, session: Session) -> None:
        attempt = await session.started()
        for seq in range(1, 201, 20):
            await session.append(attempt, seq, *["x" * 50_000] * 20)
        async with (
            served(redis_url, ping_seconds=0.2) as gateway,
            SseStream(f"{url(gateway)}?raw=true", narrow=True) as stream,
        ):
            chunks = stream.chunks()
            stream.parser.feed(await anext(chunks))
            await session.sessions.delete("s")  # as by another gateway
            seen = await until_silent(stream, chunks)
            await session.log_writer.settle("s")
            rest = [frame async for chunk in chunks for frame in stream.parser.feed(chunk)]
        assert seen < 100
        assert [frame.json["type"] for frame in rest] == ["session.deleted"]


async def until_silent(stream: SseStream, chunks: AsyncIterator[bytes]) -> int:
    """Read until nothing comes but pings. Answers how many events came before."""
    seen = pings = 0
    while pings < 3:
        chunk = await anext(chunks)
        pings = pings + 1 if chunk == b": ping\n\n" else 0
        seen += len(stream.parser.feed(chunk))
    return seen


class TestPings:
    @pytest.fixture
    async def gateway(self, redis_url: str) -> AsyncIterator[Served]:
        async with served(redis_url, ping_seconds=0.2) as gateway:
            yield gateway

    @pytest.mark.parametrize("job_id", [None, "j1"])
    async def test_a_ping_event_names_the_last_id_and_has_none_of_its_own(
        self, gateway: Served, session: Session, job_id: str | None
    ) -> None:
        attempt = await session.started()
        async with SseStream(url(gateway, job_id, "?ping=event")) as stream:
            chunks = stream.chunks()
            for seq in (1, 2, 3):
                while ping(attempt, seq) != await anext(chunks):
                    pass
                await session.append(attempt, seq, "a")
        assert not any(frame.id for frame in SseParser().feed(ping(attempt, 1)))

    async def test_a_line_of_ndjson_is_the_same_event(self, gateway: Served, session: Session) -> None:
        attempt = await session.started()
        headers = {"Accept": "application/x-ndjson"}
        async with gateway.client.stream("GET", url(gateway, None, "?ping=event"), headers=headers) as answer:
            lines = [line async for line in first_lines(answer.aiter_lines(), 3)]
        assert lines[0] == ""
        assert orjson.loads(lines[2]) == {"type": "ping", "cursor": f"{attempt.epoch}-1"}

    async def test_of_a_session_without_events_it_names_the_beginning(self, gateway: Served, session: Session) -> None:
        await session.submit()
        async with SseStream(url(gateway, None, "?ping=event")) as stream:
            assert (await anext(aiter(stream))).json == {"type": "ping", "cursor": "0-0"}

    async def test_pings_are_comments_unless_asked_for(self, gateway: Served, session: Session) -> None:
        await session.started()
        async with SseStream(url(gateway)) as stream:
            chunks = [await anext(stream.chunks()) for _ in range(3)]
        assert chunks[-1] == b": ping\n\n"

    async def test_another_value_is_refused(self, gateway: Served, session: Session) -> None:
        await session.started()
        answer = await gateway.client.get(url(gateway, None, "?ping=often"))
        assert (answer.status_code, answer.json()["field"]) == (422, "ping")


def ping(attempt: Attempt, seq: int) -> bytes:
    return b'data: {"type":"ping","cursor":"%d-%d"}\n\n' % (attempt.epoch, seq)


async def first_lines(lines: AsyncIterator[str], count: int) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        count -= 1
        if not count:
            return
