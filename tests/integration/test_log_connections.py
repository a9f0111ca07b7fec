"""Sessions on several log servers: whatever reads or writes a session asks for the connections to its server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from holdfast.gateway.dialects.sse import SSE
from holdfast.gateway.readiness import Readiness
from holdfast.gateway.stream.subscriber import Subscriber
from holdfast.gateway.stream.viewer import StreamRequest
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.log.log_replies import AppendOutcome
from holdfast.shared.open_sessions import OpenSessions
from holdfast.shared.redis.log_connections import LogConnection, LogConnections, connect_logs

from tests.support.log import Session, delta, said
from tests.support.redis_server import RedisServer
from tests.support.streams import ids_until, streams

NAMES = ["on-0", "on-1"]


class ByName(LogConnections):
    """The last digit of a session's name is the number of its server."""

    def connection_for(self, session_id: str) -> LogConnection:
        return self.servers[int(session_id[-1])]


@pytest.fixture
async def logs(redis_url: str, redis_server: Callable[[], RedisServer]) -> AsyncIterator[LogConnections]:
    urls = redis_url, redis_server().url
    logs = ByName(*(connect_logs(url, max_connections=2, deadline_s=5).servers[0] for url in urls))
    yield logs
    await logs.aclose()


@pytest.fixture
def sessions(logs: LogConnections) -> list[Session]:
    return [Session(logs, name) for name in NAMES]


async def names_on(server: LogConnection) -> set[str]:
    """The sessions of which a server has keys."""
    return {key.decode().partition("{")[2].partition("}")[0] for key in await server.redis.keys("*")}


async def test_jobs_of_both_servers_run_from_their_submission_to_their_end(
    logs: LogConnections, sessions: list[Session]
) -> None:
    for session in sessions:
        attempt = await session.started()
        appended = await session.append(attempt, 1, "a")
        assert await session.append_plain(
            appended.permit, EventId(attempt.epoch, 3), delta("j1", "b")
        ) is AppendOutcome.ADDED  # fmt: skip
        assert appended.permit is not None
        assert await session.renew_permit(appended.permit, EventId(attempt.epoch, 3)) is not None
        await session.record(attempt, resume=4)
        assert (await session.log_writer.recorded(session.id, "j1")).steps == {"pay:0:abc": b"1"}
        await session.finish(attempt, 3)
        page = await session.log.read(session.id, ORIGIN)
        assert [entry.kind for entry in page.entries] == ["job.started", "text.delta", "text.delta", "job.completed"]
        assert (await session.sessions.job(session.id, "j1")).status == "completed"
    assert [await names_on(server) for server in logs.servers] == [{"on-0"}, {"on-1"}]


async def test_intents_are_settled_and_turns_are_read_on_the_server_of_their_session(
    logs: LogConnections, sessions: list[Session]
) -> None:
    for session in sessions:
        attempt = await session.started()
        await session.append(attempt, 1, "as far as it came")
        assert len(await said(session.sessions, session.id)) == 2
        assert (await session.sessions.cancel(session.id, "j1")).lease_owner is not None
        assert list((await session.log_writer.intents(session.id, attempt.epoch)).cancel) == ["j1"]
        await session.log_writer.release(session.id, attempt.epoch)
        assert (await session.log_writer.settle(session.id)).ended == ["j1"]
        assert (await session.sessions.job(session.id, "j1")).status == "cancelled"
        assert len(await said(session.sessions, session.id)) == 2
        await session.sessions.delete(session.id)
        assert await session.log_writer.is_deleted(session.id)
    assert [await names_on(server) for server in logs.servers] == [{"on-0"}, {"on-1"}]


async def test_viewers_of_both_servers_get_what_was_there_and_then_what_comes(
    logs: LogConnections, sessions: list[Session]
) -> None:
    async with streams(logs) as served, AsyncExitStack() as stack:
        for session in sessions:
            attempt = await session.started()
            await session.append(attempt, 1, "a")
            subscription = await Subscriber(logs).subscribe(StreamRequest(session.id, SSE))
            assert subscription.presence == "there"
            assert subscription.first is not None
            assert len(subscription.first.entries) == 2
            stream = await stack.enter_async_context(served.open(session.id, raw="true"))
            assert await ids_until(stream, f"{attempt.epoch}-2") == [f"{attempt.epoch}-{seq}" for seq in (1, 2)]
            await session.append(attempt, 2, "b")
            assert await ids_until(stream, f"{attempt.epoch}-3") == [f"{attempt.epoch}-3"]


async def test_open_sessions_of_both_servers_are_found(logs: LogConnections, sessions: list[Session]) -> None:
    for session in sessions:
        await session.submit()
    open_sessions, cursor, found = OpenSessions(logs), 0, list[str]()
    for _ in range(100):
        cursor, names = await open_sessions.page(cursor)
        found += names
        if cursor == 0:
            break
    assert sorted(found) == NAMES
    heads = [(session.session_id, session.head) for session in await open_sessions.open([*NAMES, *NAMES[::-1]])]
    assert [(name, head is not None and head.session_id) for name, head in heads] == [
        (name, name) for name in [*NAMES, *NAMES[::-1]]
    ]


async def test_a_gateway_is_ready_when_all_servers_are(
    logs: LogConnections, redis_server: Callable[[], RedisServer]
) -> None:
    third = redis_server()
    more = LogConnections(*logs.servers, connect_logs(third.url, max_connections=1, deadline_s=5).servers[0])
    readiness = Readiness(logs.servers[0].url, logs.servers[0].redis, more)
    assert await readiness.reasons() == []
    third.kill()
    (reason,) = await readiness.reasons()
    assert reason.startswith("log redis: does not answer")
    await more.servers[-1].aclose()
