"""The list of sessions: newest activity first, in pages, and only what is there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import chain
from typing import Any

import pytest
from holdfast.gateway import session_list
from holdfast.gateway.session_list import SessionList
from holdfast.shared import keys
from holdfast.shared.keys import session_keys
from holdfast.shared.queue import JobRef
from holdfast.shared.schema import SCHEMA
from holdfast.shared.session_index import SessionIndex
from structlog.testing import capture_logs

from tests.support.log import request
from tests.support.process import until
from tests.support.served import Served, served
from tests.support.workers import Client, worker_on

DAY_US = 86_400_000_000


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        await gateway.offer("scripted")
        yield gateway


@pytest.fixture
async def client(redis_url: str, gateway: Served) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


async def listing(gateway: Served, **query: Any) -> dict[str, Any]:
    answer = await gateway.client.get("/v1/sessions", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def ids(gateway: Served, **query: Any) -> list[str]:
    return [session["session_id"] for session in (await listing(gateway, **query))["sessions"]]


async def pages(gateway: Served, limit: int) -> list[list[str]]:
    found, query = [], {"limit": str(limit)}
    while True:
        page = await listing(gateway, **query)
        found.append([session["session_id"] for session in page["sessions"]])
        if page["next"] is None:
            return found
        query["cursor"] = page["next"]


async def post(gateway: Served, session_id: str, **body: Any) -> dict[str, Any]:
    whole = {"agent": "scripted", "input": "tea"} | body
    answer = await gateway.client.post(f"/v1/sessions/{session_id}/jobs", json=whole)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def move_back(gateway: Served, *session_ids: str, us: int = DAY_US + 60_000_000) -> None:
    """Let the newest activity of some sessions lie that far in the past."""
    for session_id in session_ids:
        await gateway.redis.zincrby(keys.SESSIONS, -us, session_id)


async def expire(gateway: Served, session_id: str) -> None:
    await gateway.redis.delete(*session_keys(session_id))


async def test_without_sessions_it_is_empty(gateway: Served) -> None:
    assert await listing(gateway) == {"sessions": [], "next": None}


async def test_a_session_is_told_with_its_title_its_state_and_its_times(gateway: Served) -> None:
    job = await post(gateway, "s", input="Where is\nRome?")
    (session,) = (await listing(gateway))["sessions"]
    created_at, updated_at = session.pop("created_at"), session.pop("updated_at")
    assert 1_700_000_000_000 < created_at <= updated_at + 1000
    assert session == {
        "session_id": "s",
        "title": "Where is Rome?",
        "status": "queued",
        "job_id": job["job_id"],
        "agent": "scripted",
        "started_at": None,
        "ended_at": None,
        "cursor": "0-0",
    }


async def test_a_session_keeps_the_title_of_its_first_input(gateway: Served) -> None:
    await post(gateway, "s", input="first")
    await post(gateway, "s", input="second")
    assert [session["title"] for session in (await listing(gateway))["sessions"]] == ["first"]


async def test_a_new_job_moves_its_session_to_the_top(gateway: Served) -> None:
    for session_id in ("a", "b", "c", "a"):
        await post(gateway, session_id)
    assert await ids(gateway) == ["a", "c", "b"]


async def test_the_end_of_a_job_moves_its_session_to_the_top(redis_url: str, gateway: Served, client: Client) -> None:
    await post(gateway, "a", options={"tokens": 1})
    await post(gateway, "b", agent="scripted", options={"ask": "Sure?"})
    async with worker_on(redis_url):
        await client.offered("scripted")

        async def ended() -> bool:
            return [session["status"] for session in (await listing(gateway))["sessions"]] == ["completed", "waiting"]

        await until(ended)
        assert await ids(gateway) == ["a", "b"]


@pytest.mark.parametrize("limit", [1, 3, 7, 50])
async def test_pages_join(gateway: Served, limit: int) -> None:
    for number in range(7):
        await post(gateway, f"s{number}")
    found = await pages(gateway, limit)
    assert list(chain.from_iterable(found)) == [f"s{number}" for number in reversed(range(7))]
    assert all(len(page) == limit for page in found[:-1])


async def test_activity_while_it_is_paged_doubles_and_hides_nothing_else(gateway: Served) -> None:
    for name in "abcd":
        await post(gateway, name)
    first = await listing(gateway, limit=2)
    await post(gateway, "a")
    await post(gateway, "e")
    assert [session["session_id"] for session in first["sessions"]] == ["d", "c"]
    assert await ids(gateway, limit=2, cursor=first["next"]) == ["b"]


async def test_sessions_of_the_same_microsecond_are_told_apart(gateway: Served, client: Client) -> None:
    """Where the server's clock stands still or steps back, the order goes on."""
    await client.queue.reserve("a", "j1", "scripted")
    await gateway.redis.zadd(keys.SESSIONS, {"a": 9_000_000_000_000_000})
    for name in "bc":
        await post(gateway, name)
    assert [score for _, score in await gateway.redis.zrange(keys.SESSIONS, 0, -1, withscores=True)] == [
        9e15,
        9e15 + 1,
        9e15 + 2,
    ]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("cursor=a", "cursor"),
        ("cursor=-1", "cursor"),
        ("cursor=" + "9" * 17, "cursor"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
    ],
)
async def test_a_malformed_query_is_refused_with_its_field(gateway: Served, query: str, field: str) -> None:
    answer = await gateway.client.get(f"/v1/sessions?{query}")
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "invalid_request", field)


async def test_a_session_is_listed_once_it_is_accepted_wherever_its_gateway_dies(
    gateway: Served, client: Client
) -> None:
    """It is on the list before the log accepts its job."""
    await client.queue.reserve("s", "j1", "scripted")
    assert await ids(gateway) == []
    await client.post("s", "j1")
    assert await ids(gateway) == ["s"]


async def test_a_list_that_was_lost_has_the_sessions_with_open_jobs_again(gateway: Served, client: Client) -> None:
    await client.post("s", "j1")
    await gateway.redis.delete(keys.SESSIONS, keys.ENTRIES, keys.DEFERRED, f"{keys.READY}scripted")
    assert await client.queue.restore([JobRef("s", "j1", "scripted")]) == 1
    assert await ids(gateway) == ["s"]


async def test_a_session_that_is_deleted_disappears_at_once(gateway: Served) -> None:
    await post(gateway, "s")
    await post(gateway, "t")
    assert (await gateway.client.delete("/v1/sessions/s")).status_code == 202
    assert await ids(gateway) == ["t"]
    assert await gateway.redis.zrange(keys.SESSIONS, 0, -1) == [b"t"]


async def test_the_end_of_its_jobs_does_not_bring_a_deleted_session_back(
    redis_url: str, gateway: Served, client: Client
) -> None:
    await post(gateway, "s", options={"tokens": 10_000, "interval_ms": 20})
    async with worker_on(redis_url):
        await client.spoke("s", (await gateway.client.get("/v1/sessions/s")).json()["job_id"])
        await gateway.client.delete("/v1/sessions/s")
        await client.empty()
    assert await gateway.redis.zrange(keys.SESSIONS, 0, -1) == []


async def test_a_session_that_expired_disappears_and_is_forgotten(gateway: Served) -> None:
    for name in "abc":
        await post(gateway, name)
    await move_back(gateway, "b", "c", us=120_000_000)
    await expire(gateway, "b")
    assert await ids(gateway) == ["a", "c"]
    assert await gateway.redis.zscore(keys.SESSIONS, "b") is None


async def test_one_whose_first_job_may_still_be_accepted_is_not_forgotten(gateway: Served, client: Client) -> None:
    await client.queue.reserve("s", "j1", "scripted")
    assert await ids(gateway) == []
    assert await gateway.redis.zscore(keys.SESSIONS, "s") is not None


async def test_one_that_is_made_anew_while_it_is_forgotten_stays(gateway: Served, client: Client) -> None:
    index = SessionIndex(gateway.redis)
    await client.queue.reserve("s", "j1", "scripted")
    read = await index.newest(None, None, 1)
    await client.queue.reserve("s", "j2", "scripted")
    await index.forget(read)
    assert await gateway.redis.zscore(keys.SESSIONS, "s") is not None


async def test_expired_sessions_are_cleared_away_and_those_with_an_open_job_stay(
    gateway: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_list, "CLEAN_SESSIONS", 3)
    for number in range(8):
        await post(gateway, f"s{number}")
    await move_back(gateway, *(f"s{number}" for number in range(7)))
    for number in (0, 2, 4, 6):
        await expire(gateway, f"s{number}")
    listed = SessionList(SessionIndex(gateway.redis), client.sessions, 86_400)
    while await listed.clean() < session_list.CLEAN_SECONDS:
        pass
    assert await gateway.redis.zrange(keys.SESSIONS, 0, -1) == [b"s1", b"s3", b"s5", b"s7"]


async def newer_schema(gateway: Served) -> None:
    await gateway.redis.call("HSET", session_keys("b").state, "schema", SCHEMA + 1)


async def jobs_of_another_type(gateway: Served) -> None:
    await gateway.redis.delete(session_keys("b").jobs)
    await gateway.redis.sadd(session_keys("b").jobs, "x")


async def a_cursor_that_is_none(gateway: Served) -> None:
    await gateway.redis.call("HSET", session_keys("b").state, "created", "what")


@pytest.mark.parametrize("damage", [newer_schema, jobs_of_another_type, a_cursor_that_is_none])
async def test_one_that_cannot_be_read_is_left_out_and_not_forgotten(
    gateway: Served, client: Client, damage: Callable[[Served], Awaitable[None]]
) -> None:
    for name in "abc":
        await post(gateway, name)
    await move_back(gateway, *"abc")
    await damage(gateway)
    with capture_logs() as lines:
        assert await ids(gateway) == ["c", "a"]
        assert await ids(gateway) == ["c", "a"]
    assert [line["session_id"] for line in lines if line["log_level"] == "warning"] == ["b"]
    await expire(gateway, "a")
    await SessionList(SessionIndex(gateway.redis), client.sessions, 86_400).clean()
    assert await gateway.redis.zrange(keys.SESSIONS, 0, -1) == [b"b", b"c"]


async def test_one_of_which_only_the_state_is_left_is_gone(gateway: Served) -> None:
    for name in "ab":
        await post(gateway, name)
    await move_back(gateway, "b")
    kept = session_keys("b")
    await gateway.redis.delete(*(key for key in kept if key != kept.state))
    assert await ids(gateway) == ["a"]
    assert (await gateway.client.get("/v1/sessions/b")).status_code == 404
    assert await gateway.redis.zrange(keys.SESSIONS, 0, -1) == [b"a"]


async def test_a_server_that_refuses_every_session_is_no_empty_list(gateway: Served) -> None:
    await post(gateway, "a")
    await gateway.redis.call("ACL", "SETUSER", "default", "-hmget")
    try:
        assert (await gateway.client.get("/v1/sessions")).status_code == 503
    finally:
        await gateway.redis.call("ACL", "SETUSER", "default", "+@all")


async def test_a_page_costs_no_more_where_there_are_many_sessions(gateway: Served, client: Client) -> None:
    for number in range(300):
        await client.sessions.submit(f"s{number}", "j1", request())
        await client.queue.reserve(f"s{number}", "j1", "scripted")
    await listing(gateway, limit=10)
    await gateway.redis.config_resetstat()
    assert len(await ids(gateway, limit=10)) == 10
    stats = await gateway.redis.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 10
    assert stats["cmdstat_zrange"]["calls"] == 1


@pytest.mark.parametrize("text", ["zz", "s1"])
async def test_a_search_reads_no_more_of_the_sessions_that_it_does_not_show_than_their_titles(
    gateway: Served, client: Client, text: str
) -> None:
    for number in range(150):
        await client.sessions.submit(f"s{number}", "j1", request())
        await client.queue.reserve(f"s{number}", "j1", "scripted")
    await ids(gateway, limit=1, q=text)  # loads the scripts
    await gateway.redis.config_resetstat()
    assert await ids(gateway, limit=1, q=text) == (["s149"] if text == "s1" else [])
    stats = await gateway.redis.info("commandstats")
    assert stats["cmdstat_hget"]["calls"] <= 150 + 2
    assert sum(each["calls"] for each in stats.values()) <= 150 + 30


async def test_a_search_goes_on_behind_matching_sessions_that_do_not_exist(gateway: Served, client: Client) -> None:
    for name in ("tea1", "tea2", "other", "tea3"):
        await post(gateway, name, input="milk")
    await move_back(gateway, "tea1", "tea2", "other", "tea3", us=120_000_000)
    await expire(gateway, "tea3")
    first = await listing(gateway, limit=1, q="TEA")
    assert [session["session_id"] for session in first["sessions"]] == ["tea2"]
    assert await ids(gateway, limit=1, q="TEA", cursor=first["next"]) == ["tea1"]


async def test_a_title_that_cannot_be_read_is_no_match(gateway: Served) -> None:
    for name in "ab":
        await post(gateway, name)
    await gateway.redis.delete(session_keys("b").state)
    await gateway.redis.sadd(session_keys("b").state, "x")
    with capture_logs():
        assert await ids(gateway, q="unreadable") == []
        assert await ids(gateway, q="tea") == ["a"]
