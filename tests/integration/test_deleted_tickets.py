"""Tickets in the minute after the deletion of their session: they read `session.deleted`, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from holdfast.gateway.authentication.credentials import TICKET_COOKIE
from holdfast.shared.log.ticket_series import TicketSeries
from websockets.asyncio.client import connect

from tests.support.access import JOB, Caller, guarded
from tests.support.log import Session
from tests.support.served import Served
from tests.support.sse import SseStream

CURSOR = "1763683200123-2"
RIGHTS = ["read", "submit", "stop", "answer"]


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with guarded(redis_url) as gateway:
        yield gateway


@pytest.fixture
def session(open_session: Callable[..., Session]) -> Session:
    return open_session(session_id="acme//s")


async def delete(owner: Caller, session: Session) -> str:
    """Delete the session as gateway and worker do together. Returns the id of its last event."""
    assert (await owner("DELETE", "/v1/sessions/s")).status_code == 202
    await session.log_writer.settle(session.id)
    last = await session.log.last(session.id)
    assert last is not None
    return str(last.id)


async def kinds_from(gateway: Served, ticket: str, cursor: str, path: str = "events") -> list[str]:
    async with SseStream(f"{gateway.url}/v1/sessions/s/{path}?ticket={ticket}", last_event_id=cursor) as stream:
        assert stream.status == 200
        return [frame.json["type"] async for frame in stream]


async def status(caller: Caller, method: str = "GET", path: str = "", body: object = None, **fields: str) -> int:
    return (await caller(method, f"/v1/sessions/s{path}", body, **fields)).status_code


async def test_a_ticket_reads_session_deleted_as_a_key_does(gateway: Served, owner: Caller, session: Session) -> None:
    job, ticket = await owner.job(), await owner.ticket()
    last = await delete(owner, session)
    assert await kinds_from(gateway, ticket, CURSOR) == ["session.deleted"]
    assert await kinds_from(gateway, ticket, CURSOR, f"jobs/{job}/events") == ["session.deleted"]
    address = f"ws://127.0.0.1:{gateway.port}/v1/sessions/s/ws?ticket={ticket}&last_event_id={CURSOR}"
    async with connect(address) as socket:
        assert '"type":"session.deleted"' in str([message async for message in socket])
    holder = Caller(gateway, ticket)
    for path, fields in [("/events", {"Last-Event-ID": last}), ("/events", {}), ("/messages", {}), ("", {})]:
        assert await status(holder, path=path, **fields) == await status(owner, path=path, **fields)
    assert await status(Caller(gateway, Cookie=f"{TICKET_COOKIE}={ticket}"), path="/events") == 404


async def test_a_ticket_of_a_deleted_session_reads_only(gateway: Served, owner: Caller, session: Session) -> None:
    holder = Caller(gateway, await owner.ticket(rights=RIGHTS))
    job = await owner.job()
    await delete(owner, session)
    assert await status(holder, "POST", "/jobs", JOB) == 403
    assert await status(holder, "POST", f"/jobs/{job}/cancel") == 403
    assert await status(holder, "POST", f"/jobs/{job}/answer", {"value": 1}) == 403
    assert (await holder("GET", "/v1/sessions")).json()["sessions"] == []


async def test_a_ticket_without_the_right_to_read_gets_none_by_the_deletion(
    gateway: Served, owner: Caller, session: Session
) -> None:
    holder = Caller(gateway, await owner.ticket(rights=["submit"]))
    await delete(owner, session)
    assert await status(holder, path="/events", **{"Last-Event-ID": CURSOR}) == 403


async def test_a_ticket_does_not_wait_for_the_next_session_of_the_id(
    gateway: Served, owner: Caller, session: Session
) -> None:
    holder = Caller(gateway, await owner.ticket())
    await delete(owner, session)
    assert await status(holder, path="/events?wait=true") == 404


@pytest.mark.parametrize("path", ["", "/events", "/events?wait=true", "/messages"])
async def test_a_ticket_of_a_deleted_session_is_void_for_the_next_one_of_the_id(
    gateway: Served, owner: Caller, session: Session, path: str
) -> None:
    holder = Caller(gateway, await owner.ticket())
    await delete(owner, session)
    await owner.job()
    assert await status(holder, path=path, **{"Last-Event-ID": CURSOR}) == 401
    assert await owner.ticket()
    assert await status(holder, path=path, **{"Last-Event-ID": CURSOR}) == 401


@pytest.mark.parametrize("fields", [{}, {"Last-Event-ID": CURSOR}])
@pytest.mark.parametrize(
    "path", ["/events?wait=true", "/events?from=now", "/jobs/next/events", "/messages", "/jobs/next", ""]
)
async def test_a_request_that_overlaps_the_creation_of_the_next_session_reads_nothing_of_it(
    gateway: Served,
    owner: Caller,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    fields: dict[str, str],
) -> None:
    holder, check = Caller(gateway, await owner.ticket()), TicketSeries.of_deleted
    await delete(owner, session)

    async def check_and_create(series: TicketSeries, session_id: str) -> str | None:
        found = await check(series, session_id)
        await session.submit("next")
        await session.append(await session.claim("next"), 1, "secret")
        return found

    monkeypatch.setattr(TicketSeries, "of_deleted", check_and_create)
    assert await status(holder, path=path, **fields) == 404
    assert await status(owner, path="/jobs/next") == 200


async def test_a_ticket_is_refused_once_the_deleted_log_has_expired(
    gateway: Served, owner: Caller, session: Session
) -> None:
    holder = Caller(gateway, await owner.ticket())
    await delete(owner, session)
    assert 0 < await session.redis.ttl(session.keys.log) <= 60
    await session.redis.delete(session.keys.log)
    assert await status(holder, path="/events", **{"Last-Event-ID": CURSOR}) == 401


async def test_a_revoked_ticket_stays_so_after_the_deletion(gateway: Served, owner: Caller, session: Session) -> None:
    holder = Caller(gateway, await owner.ticket())
    assert await status(owner, "DELETE", "/tickets") == 204
    await delete(owner, session)
    assert await status(holder, path="/events", **{"Last-Event-ID": CURSOR}) == 401
    assert await owner.job()


async def test_a_session_that_had_no_ticket_is_deleted_without_a_series(owner: Caller, session: Session) -> None:
    await delete(owner, session)
    [*_, (_, fields)] = await session.redis.xrange(session.keys.log)
    assert b"t" not in fields
