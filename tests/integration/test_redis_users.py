"""The users of `holdfast redis-users` on a real server: each may do the work of its process, and nothing else."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from holdfast.shared import keys
from holdfast.shared.keys import session_keys
from holdfast.shared.redis.client import Redis, connect
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.redis.users import USERS, user_rules
from structlog.testing import capture_logs

from holdfast.cli.check import rights_findings
from tests.support.job_viewer import JobViewer
from tests.support.process import Processes, until
from tests.support.redis_server import RedisServer
from tests.support.served import served
from tests.support.workers import Client, worker_on

PASSWORD = "a/pass:word@%"
LOG = session_keys("acme/jo/s").log
READY, LEASED, ENTRIES = keys.READY + "scripted", keys.LEASED + "w", keys.ENTRIES
AUTH_KEYS = keys.AUTH_KEYS
JOBS = "/v1/sessions/s/jobs"


class Users:
    """A server with the users. `admin` may do everything on it."""

    def __init__(self, server: RedisServer, admin: Redis) -> None:
        self.server = server
        self.admin = admin

    async def define(self, *more: str) -> None:
        """Define the users anew. `more`: rules that are added to each."""
        for user in USERS:
            rules = re.findall(r"\([^)]*\)|\S+", user_rules(user, [PASSWORD]))
            await self.admin.call("ACL", "SETUSER", *rules, *more)

    def url(self, user: str) -> str:
        return self.server.url.replace("redis://", f"redis://{user}:a%2Fpass%3Aword%40%25@")

    async def denied(self) -> list[str]:
        """What the server has denied, oldest first."""
        denials = await self.admin.call("ACL", "LOG")
        found = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in denials]
        return [f"{entry[b'username']} {entry[b'context']} {entry[b'object']}" for entry in reversed(found)]


@pytest.fixture
async def users(redis_server: Callable[..., RedisServer]) -> AsyncIterator[Users]:
    server = redis_server()
    admin = connect(server.url, max_connections=2)
    users = Users(server, admin)
    await users.define()
    yield users
    await admin.aclose()


REFUSED = {
    "gateway": [
        ("XADD", LOG, "1-1", "a", "b"),
        ("XTRIM", LOG, "MAXLEN", "0"),
        ("XSETID", LOG, "9-9"),
        ("XDEL", LOG, "1-1"),
        ("DEL", LOG),
        ("UNLINK", LOG),
        ("EXPIRE", LOG, "1"),
        ("RENAME", LOG, LOG),
        ("SET", LOG, "a"),
        ("RESTORE", LOG, "0", "a"),
        ("SADD", LEASED, "s/j"),
        ("ZPOPMIN", READY),
        ("HGETALL", ENTRIES),
        ("HINCRBY", keys.WORKERS, "w", "1"),
        ("BLPOP", keys.WAKE, "0"),
        ("HSET", AUTH_KEYS, "a", "b"),
        ("HSET", keys.AUTH + "tenants", "a", "b"),
        ("CLIENT", "LIST"),
    ],
    "worker": [
        *((command, AUTH_KEYS) for command in ("HGETALL", "HLEN", "TYPE", "EXISTS", "DUMP", "DEL")),
        ("HGET", AUTH_KEYS, "a"),
        ("HSET", AUTH_KEYS, "a", "b"),
        ("GET", keys.AUTH + "secret"),
        ("GET", keys.SECRET),
        ("COPY", AUTH_KEYS, keys.QUEUE + "a"),
        ("RENAME", AUTH_KEYS, keys.QUEUE + "a"),
    ],
    "operator": [
        ("XADD", LOG, "1-1", "a", "b"),
        ("DEL", LOG),
        ("HSET", session_keys("s").state, "a", "b"),
        ("ZADD", READY, "1", "a"),
        ("GET", keys.AUTH + "secret"),
        ("GET", keys.SECRET),
        ("CLIENT", "LIST"),
    ],
}
ADMINISTRATION = [
    ("CONFIG", "GET", "*"),
    ("CONFIG", "SET", "maxmemory-policy", "noeviction"),
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("SWAPDB", "0", "1"),
    ("KEYS", "*"),
    ("DEBUG", "SLEEP", "0"),
    ("MODULE", "LIST"),
    ("SCRIPT", "FLUSH"),
    ("FUNCTION", "FLUSH"),
    ("SHUTDOWN",),
    ("SAVE",),
    ("MONITOR",),
    ("CLIENT", "KILL", "ID", "1"),
    ("CLIENT", "UNPAUSE"),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", "gateway", "+@all"),
    ("REPLICAOF", "NO", "ONE"),
]


@pytest.mark.parametrize("user", REFUSED)
async def test_a_user_may_do_nothing_that_is_not_its_work(users: Users, user: str) -> None:
    for command in (*REFUSED[user], *ADMINISTRATION):
        verdict = await users.admin.call("ACL", "DRYRUN", user, *command)
        assert verdict != b"OK", f"{user} may {command}"
        assert b"permissions" in verdict


@pytest.mark.parametrize(
    ("user", "key", "command"),
    [
        ("gateway", LOG, "'XADD', KEYS[1], '1-1', 'a', 'b'"),
        ("gateway", LOG, "'XSETID', KEYS[1], '9-9'"),
        ("gateway", LOG, "'XTRIM', KEYS[1], 'MAXLEN', 0"),
        ("gateway", LOG, "'DEL', KEYS[1]"),
        ("gateway", keys.READY, f"'SADD', '{LEASED}', 's/j'"),
        ("worker", keys.READY, f"'HGETALL', '{AUTH_KEYS}'"),
        ("worker", keys.READY, f"'HSET', '{AUTH_KEYS}', 'a', 'b'"),
    ],
)
async def test_a_script_gives_no_user_a_right(users: Users, user: str, key: str, command: str) -> None:
    await users.admin.call("XADD", LOG, "1-1", "job text", "body")
    before = await users.admin.call("DUMP", LOG)
    client = connect(users.url(user), max_connections=1)
    assert await client.call("EVAL", "return 1", 1, key) == 1
    with pytest.raises(RedisError, match=r"(?i)ACL failure in script|can't (run|access)"):
        await client.call("EVAL", f"return redis.call({command})", 1, key)
    assert await users.admin.call("DUMP", LOG) == before
    await client.aclose()


async def test_gateway_and_worker_do_all_their_work_as_their_users(users: Users, processes: Processes) -> None:
    """Questions, cancellation, interruption, takeover, lost entries, deletion, lists: nothing of it is denied."""
    lease = {"HOLDFAST_LEASE_SECONDS": "1"}
    first = processes.worker(users.url("worker"), **lease)
    client = Client(users.server.url)
    async with served(users.url("gateway"), lease_seconds=1) as gateway:
        assert (await gateway.client.get("/readyz")).status_code == 200
        await client.offered("scripted")

        async def post(session: str, *, on_busy: str = "queue", **options: Any) -> str:
            body = {"agent": "scripted", "input": "go", "options": options, "on_busy": on_busy}
            posted = await gateway.client.post(
                f"/v1/sessions/{session}/jobs", json=body, headers={"Idempotency-Key": f"{session}-{len(options)}"}
            )
            assert posted.status_code == 202, posted.text
            return str(posted.json()["job_id"])

        asking = await post("asks", ask="Go on?", tokens=1)
        await client.until("asks", asking, lambda state: state.status == "waiting")
        answered = await gateway.client.post(f"/v1/sessions/asks/jobs/{asking}/answer", json={"value": 1})
        assert answered.status_code == 202
        assert (await client.end("asks", asking))["type"] == "job.completed"

        stopped = await post("s", tokens=100_000)
        assert await post("s", tokens=100_000) == stopped
        await client.spoke("s", stopped)
        interrupting = await post("s", on_busy="interrupt", tokens=100_000, interval_ms=21)
        await client.spoke("s", interrupting)
        assert (await gateway.client.post(f"{JOBS}/{interrupting}/cancel")).status_code == 202
        assert (await client.end("s", interrupting))["type"] == "job.cancelled"

        taken = await post("taken", tokens=60)
        await client.spoke("taken", taken)
        processes.worker(users.url("worker"), **lease)
        first.kill()
        await users.admin.call("DEL", ENTRIES)  # an accepted job whose entry was lost is found again
        viewer = JobViewer([gateway.url], f"/v1/sessions/taken/jobs/{taken}/events")
        await viewer.watch()
        assert viewer.kinds[-1] == "job.completed"
        assert (await client.job("taken", taken)).attempt > 1

        for path in ("", "/messages", "/jobs"):
            assert (await gateway.client.get(f"/v1/sessions/taken{path}")).status_code == 200
        assert len((await gateway.client.get("/v1/sessions")).json()["sessions"]) == 3
        assert (await gateway.client.delete("/v1/sessions/s")).status_code in {200, 202, 204}
        await client.empty()
        await until(lambda: _gone(gateway.client))
        assert (await gateway.client.get("/metrics")).status_code == 200
    await client.close()
    assert await users.denied() == []


async def _gone(client: httpx2.AsyncClient) -> bool:
    return (await client.get("/v1/sessions/s")).status_code == 404


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("-time", "log redis: the user gateway may not TIME"),
        ("-info", "queue redis: the user gateway may not INFO"),
    ],
)
async def test_a_right_that_a_gateway_lacks_is_named_by_readyz(users: Users, rule: str, reason: str) -> None:
    await users.define(rule)
    async with served(users.url("gateway")) as gateway:
        answer = await gateway.client.get("/readyz")
        assert answer.status_code == 503
        assert reason in answer.json()["reasons"]
        await users.define()
        await until(lambda: _ready(gateway.client))


async def test_the_keys_of_a_missing_right_are_named_too(users: Users) -> None:
    await users.define("clearselectors", "+@all", "-xread", "-hset", "~holdfast:*")
    async with served(users.url("gateway")) as gateway:
        reasons = (await gateway.client.get("/readyz")).json()["reasons"]
    assert "log redis: the user gateway may not XREAD on holdfast:{*}:*" in reasons
    assert "log redis: the user gateway may not HSET on holdfast:{*}:state" in reasons


async def test_a_user_that_is_refused_is_a_reason_not_to_be_ready(users: Users) -> None:
    async with served(users.url("nobody")) as gateway:
        reasons = (await gateway.client.get("/readyz")).json()["reasons"]
    assert reasons == [f"{name} redis: refuses the user or the password in its address" for name in ("queue", "log")]


async def _ready(client: httpx2.AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == 200


async def test_looking_for_missing_rights_changes_nothing(users: Users) -> None:
    async with served(users.server.url) as gateway:
        assert (await gateway.client.get("/readyz")).status_code == 200
        assert await users.admin.call("DBSIZE") == 0


async def test_check_finds_rights_that_are_missing_and_those_that_are_too_many(users: Users) -> None:
    async def found(user: str, name: str = "redis") -> dict[bool | None, str]:
        url = users.server.url if user == "default" else users.url(user)
        return {finding.ok: finding.text for finding in await rights_findings(name, url)}

    assert await found("gateway") == {True: "redis: the user gateway has the rights of: gateway"}
    assert await found("worker", "log redis") == {True: "log redis: the user worker has the rights of: worker"}
    assert await found("operator") == {True: "redis: the user operator has the rights of: operator"}
    too_many = await found("default")
    assert too_many[True] == "redis: the user default has the rights of: gateway, worker, operator"
    assert "may append to logs" in too_many[None]
    await users.admin.call("ACL", "SETUSER", "worker", "-scan")
    assert await found("worker") == {False: "redis: the user worker, as a worker, may not SCAN"}


async def test_f33_a_worker_whose_user_is_removed_waits_and_goes_on_with_its_jobs_when_it_is_back(users: Users) -> None:
    client = Client(users.server.url)
    async with worker_on(users.url("worker")):
        await client.offered("scripted")
        await client.post(options={"tokens": 150})
        await client.spoke()
        spoken = len(await client.entries())
        with capture_logs() as lines:
            await users.admin.call("ACL", "DELUSER", "worker")
            await until(lambda: {"queue", "log"} <= {str(line.get("server")) for line in lines})
        assert len(await client.entries()) <= spoken + 1
        await users.define()
        assert (await client.end())["type"] == "job.completed"
        assert (await client.job()).attempt == 1
        assert await client.said() == "".join(f"w{number} " for number in range(150))
    await client.close()


async def test_f33_a_gateway_without_the_right_to_read_pauses_its_streams_and_does_not_try_again_and_again(
    users: Users,
) -> None:
    client = Client(users.server.url)
    async with worker_on(users.server.url), served(users.url("gateway")) as gateway:
        await client.offered("scripted")
        await client.post(options={"tokens": 300, "interval_ms": 10})
        viewer = JobViewer([gateway.url], "/v1/sessions/s/jobs/j1/events")
        watching = asyncio.create_task(viewer.watch())
        await until(lambda: "w5 " in viewer.said)
        with capture_logs() as lines:
            await users.define("clearselectors", "+@all", "-xread", "~*")
            await client.end()
            stats = str(await users.admin.call("INFO", "commandstats"))
            refused = int(re.findall(r"cmdstat_xread:.*?rejected_calls=(\d+)", stats)[0])
            assert 0 < refused < 100
            await users.define()
            await asyncio.wait_for(watching, 30)
        assert viewer.said == "".join(f"w{number} " for number in range(300))
        events = [line["event"] for line in lines]
        assert events.count("log server unavailable; live streams are paused") == 1
        assert events.count("log server available again") == 1
    await client.close()


async def test_f33_a_gateway_without_the_right_to_write_refuses_for_now_and_goes_on_with_it(users: Users) -> None:
    async with served(users.url("gateway")) as gateway:
        await users.admin.call("ZADD", keys.AGENTS_SEEN, 9_999_999_999_999_999, "scripted")
        await users.admin.call("HSET", keys.AGENTS, "scripted", "{}")
        body = {"agent": "scripted", "input": "go"}
        await users.define("clearselectors", "+@all", "-hset", "~*")
        refused = await gateway.client.post(JOBS, json=body)
        assert (refused.status_code, refused.json()["code"]) == (503, "log_unavailable")
        assert "retry-after" in refused.headers
        assert "permission" not in refused.text
        await users.define()
        assert (await gateway.client.post(JOBS, json=body)).status_code == 202


async def test_a_worker_is_not_healthy_without_its_rights(users: Users, processes: Processes) -> None:
    await users.define("-scan")
    root = Path(__file__).resolve().parents[2]
    env = {"HOLDFAST_REDIS_URL": users.url("worker"), "PYTHONPATH": str(root)}
    check = processes.start([sys.executable, str(root / "deploy/health.py"), "worker"], **env)
    assert await check.wait() == 1
    assert "the user worker may not SCAN" in check.output()
