"""What operators read of a deployment and do to it, over HTTP: workers, queue, overview, drain, retry and search."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from holdfast.gateway.authentication.authenticator import USER_RIGHTS
from holdfast.worker import Run

from holdfast.cli.connection import GatewayError
from holdfast.cli.top import run as run_top
from tests.support.access import Caller, guarded, key_of
from tests.support.process import until
from tests.support.served import Served, served
from tests.support.workers import Client, worker_on

PATHS = ["/v1/workers", "/v1/queue", "/v1/overview"]


async def hold(run: Run) -> None:
    await asyncio.Event().wait()


async def ask(run: Run) -> None:
    await run.ask("Go on?")


async def echo(run: Run) -> None:
    await run.text(f"{run.input} {run.options.get('tone')}")


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        yield gateway


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


async def read(gateway: Served, path: str) -> Any:
    answer = await gateway.client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def until_read(gateway: Served, path: str, holds: Callable[[Any], object]) -> Any:
    """Read a path until its answer is as wanted, and return that."""
    seen: list[Any] = []

    async def look() -> bool:
        seen.append(await read(gateway, path))
        return bool(holds(seen[-1]))

    await until(look, describe=lambda: str(seen[-1:]))
    return seen[-1]


async def test_a_worker_is_listed_with_its_agents_slots_heartbeat_and_jobs(
    redis_url: str, gateway: Served, client: Client
) -> None:
    async with worker_on(redis_url, [hold], max_jobs=3, lease_seconds=1) as worker:
        await client.offered("hold")
        await client.post("s", "j1", agent="hold")
        found = await until_read(gateway, "/v1/workers", lambda page: page["workers"][0]["job_count"])
        [listed] = found["workers"]
        assert (listed["worker_id"], listed["slots"], listed["draining"]) == (worker.id, 3, False)
        assert set(listed["agents"]) == {"hold", "scripted"}
        assert listed["jobs"] == [{"session_id": "s", "job_id": "j1", "tenant": None}]
        first = listed["beat_at"]
        await until_read(gateway, "/v1/workers", lambda page: page["workers"][0]["beat_at"] > first)
    assert await read(gateway, "/v1/workers") == {"workers": [], "next": None}


async def test_pages_of_workers_have_each_worker_once(redis_url: str, gateway: Served) -> None:
    async with worker_on(redis_url) as one, worker_on(redis_url) as two, worker_on(redis_url) as three:
        await until_read(gateway, "/v1/workers", lambda page: len(page["workers"]) == 3)
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await read(gateway, f"/v1/workers?limit=1&cursor={cursor}")
            seen += [worker["worker_id"] for worker in page["workers"]]
            cursor = page["next"]
        assert seen == sorted([one.id, two.id, three.id])


async def test_the_queue_is_counted_by_agent_and_state(redis_url: str, gateway: Served, client: Client) -> None:
    async with worker_on(redis_url, [hold, ask], max_jobs=1):
        await client.offered("hold", "ask")
        await client.post("a", agent="ask")
        await client.until("a", "j1", lambda job: job.status == "waiting")
        for session in ("s1", "s2", "s3"):
            await client.post(session, agent="hold")
        await client.post("s1", "j2", agent="hold")

        def counted(queue: Any) -> bool:
            rows = {row["agent"]: row for row in queue["agents"]}
            states = {name: (row["waiting"], row["running"], row["asking"]) for name, row in rows.items()}
            return states == {"ask": (0, 0, 1), "hold": (2, 1, 0)}

        queue = await until_read(gateway, "/v1/queue", counted)
        assert queue["tenants"] == []
        assert [row["oldest_wait_s"] is not None for row in queue["agents"]] == [False, True]
        overview = await until_read(gateway, "/v1/overview", lambda found: found["jobs"]["waiting"] == 2)
        assert (overview["workers"], overview["jobs"]["asking"]) == (1, 1)


async def test_the_overview_counts_deltas_and_first_tokens(redis_url: str, gateway: Served, client: Client) -> None:
    async with worker_on(redis_url, lease_seconds=1):
        await client.offered("scripted")
        before = await read(gateway, "/v1/overview")
        await client.post(options={"tokens": 5, "interval_ms": 1})
        await client.end()
        later = await until_read(gateway, "/v1/overview", lambda found: found["first_tokens"] > before["first_tokens"])
        assert later["deltas"] > before["deltas"]
        assert later["first_token_s"] >= before["first_token_s"]


async def test_a_drained_worker_finishes_its_job_and_takes_no_other(
    redis_url: str, gateway: Served, client: Client
) -> None:
    may_end = asyncio.Event()

    async def gated(run: Run) -> None:
        await may_end.wait()

    async with worker_on(redis_url, [gated], lease_seconds=1) as worker:
        await client.offered("gated")
        await client.post("s", agent="gated")
        await client.running("s")
        answer = await gateway.client.post(f"/v1/workers/{worker.id}/drain")
        assert (answer.status_code, answer.json()["status"]) == (202, "draining")
        await until_read(gateway, "/v1/workers", lambda page: page["workers"][0]["draining"])
        await client.post("later", agent="gated")
        may_end.set()
        await client.until("s", "j1", lambda job: job.status == "completed")
        await until_read(gateway, "/v1/workers", lambda page: page["workers"] == [])
        assert (await client.job("later")).status == "queued"


@pytest.mark.parametrize("worker_id", ["nobody", "*", "a" * 65, "%2e%2e"])
async def test_a_worker_that_is_not_registered_cannot_be_drained(gateway: Served, worker_id: str) -> None:
    answer = await gateway.client.post(f"/v1/workers/{worker_id}/drain")
    assert (answer.status_code, answer.json()["code"]) == (404, "worker_unknown")


@pytest.mark.parametrize("cursor", ["*", "a b", "x" * 65, "\x00"])
async def test_a_cursor_that_no_page_gave_is_refused(gateway: Served, cursor: str) -> None:
    answer = await gateway.client.get("/v1/workers", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["field"]) == (422, "cursor")


@pytest.mark.parametrize("path", PATHS)
async def test_only_observers_and_operators_see_the_deployment(redis_url: str, path: str) -> None:
    async with guarded(redis_url) as gateway:
        user = await key_of(gateway, "t")
        observer = await key_of(gateway, "t", {"read", "observe"})
        operator = await key_of(gateway, "t", {"operate"})
        refused = await user("GET", path)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert [(await caller("GET", path)).status_code for caller in (observer, operator)] == [200, 200]


async def test_only_operators_drain(redis_url: str) -> None:
    async with guarded(redis_url) as gateway, worker_on(redis_url, lease_seconds=1) as worker:
        path = f"/v1/workers/{worker.id}/drain"
        for rights in (USER_RIGHTS, USER_RIGHTS | {"observe"}):
            caller = await key_of(gateway, "t", rights)
            assert (await caller("POST", path)).status_code == 403
        assert worker.free_slots


async def submitted(caller: Caller, session: str) -> str:
    job = {"agent": "scripted", "input": "hi", "options": {"tokens": 1}}
    return str((await caller("POST", f"/v1/sessions/{session}/jobs", job)).json()["job_id"])


async def test_a_retried_job_has_the_input_and_the_options_of_the_first(
    redis_url: str, gateway: Served, client: Client
) -> None:
    async with worker_on(redis_url, [echo]):
        await client.offered("echo")
        await client.post("s", "j1", agent="echo", input="hello", options={"tone": "dry"})
        await client.end("s", "j1")
        answer = await gateway.client.post("/v1/sessions/s/jobs/j1/retry")
        assert answer.status_code == 202, answer.text
        again = answer.json()["job_id"]
        assert again != "j1"
        await client.end("s", again)
        first, second = await client.said("s", "j1"), await client.said("s", again)
        assert (first, second) == ("hello dry", "hello dry")
        messages = (await read(gateway, "/v1/sessions/s/messages"))["messages"]
        assert [message["content"] for message in messages] == ["hello", "hello dry"]  # in place of the first answer


async def test_a_retry_with_the_same_key_is_one_job(redis_url: str, gateway: Served, client: Client) -> None:
    async with worker_on(redis_url):
        await client.offered("scripted")
        await client.post("s", "j1", options={"tokens": 1})
        await client.end("s", "j1")
        key = {"Idempotency-Key": "again"}
        answers = [await gateway.client.post("/v1/sessions/s/jobs/j1/retry", headers=key) for _ in range(2)]
        assert len({answer.json()["job_id"] for answer in answers}) == 1
        assert answers[1].headers["idempotency-replayed"] == "true"


async def test_another_tenants_job_cannot_be_retried_and_looks_unknown(redis_url: str) -> None:
    async with guarded(redis_url) as gateway:
        owner, other = await key_of(gateway, "t"), await key_of(gateway, "u")
        job = await submitted(owner, "s")
        path = f"/v1/sessions/s/jobs/{job}/retry"
        refused, unknown = await other("POST", path), await other("POST", path.replace("/s/", "/none/"))
        assert (refused.status_code, refused.content) == (404, unknown.content)
        reader = await key_of(gateway, "t", {"read"})
        assert (await reader("POST", path)).status_code == 403


async def test_sessions_are_found_by_a_part_of_their_id_or_title(redis_url: str, client: Client) -> None:
    async with guarded(redis_url) as gateway:
        owner, other = await key_of(gateway, "t"), await key_of(gateway, "u")
        for session in ("tea-one", "coffee", "tea-two"):
            await submitted(owner, session)
        await submitted(other, "tea-foreign")
        found = (await owner("GET", "/v1/sessions?q=TEA")).json()
        assert [session["session_id"] for session in found["sessions"]] == ["tea-two", "tea-one"]
        first = (await owner("GET", "/v1/sessions?q=tea&limit=1")).json()
        rest = (await owner("GET", f"/v1/sessions?q=tea&limit=1&cursor={first['next']}")).json()
        assert [page["sessions"][0]["session_id"] for page in (first, rest)] == ["tea-two", "tea-one"]
        titled = (await owner("GET", "/v1/sessions?q=Hi")).json()
        assert len(titled["sessions"]) == 3


async def test_top_prints_a_page_of_a_real_deployment(redis_url: str, gateway: Served, client: Client) -> None:
    async with worker_on(redis_url, [hold]) as worker:
        await client.offered("hold")
        await client.post("s", agent="hold")
        await client.running("s")
        page = io.StringIO()
        await until_read(gateway, "/v1/overview", lambda found: found["jobs"]["running"] == 1)
        await asyncio.to_thread(run_top, gateway.url, page, once=True)
    assert "running 1" in page.getvalue()
    assert worker.id in page.getvalue()


async def test_top_says_in_one_line_which_right_is_missing(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with guarded(redis_url) as gateway:
        user = await key_of(gateway, "t")
        monkeypatch.setenv("HOLDFAST_TOKEN", user.token)
        with pytest.raises(GatewayError, match="observe"):
            await asyncio.to_thread(run_top, gateway.url, io.StringIO(), once=True)
