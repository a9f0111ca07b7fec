"""Lists of jobs come in pages, and reading a session reads no more than what is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import chain
from typing import Any

import pytest
from holdfast.shared import sessions

from tests.support.log import Session
from tests.support.served import Served, served


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        yield gateway


async def fill(session: Session, count: int, **changes: Any) -> list[str]:
    """Submit so many jobs; answers their ids, newest first."""
    ids = [f"j{number:04}" for number in range(count)]
    for job_id in ids:
        await session.submit(job_id, **changes)
    return ids[::-1]


async def pages(gateway: Served, limit: int = 50) -> list[list[str]]:
    """The ids on each page of the jobs of `s`."""
    found: list[list[str]] = []
    query: dict[str, Any] = {"limit": limit}
    while True:
        page = (await gateway.client.get("/v1/sessions/s/jobs", params=query)).json()
        found.append([job["job_id"] for job in page["jobs"]])
        if page["next"] is None:
            return found
        query["cursor"] = page["next"]


async def output_bytes(gateway: Served) -> int:
    """What Redis has sent so far."""
    return int((await gateway.redis.info("stats"))["total_net_output_bytes"])


async def test_jobs_come_newest_first_in_pages_that_join(gateway: Served, session: Session) -> None:
    ids = await fill(session, 25)
    found = await pages(gateway, 10)
    assert [len(page) for page in found] == [10, 10, 5]
    assert list(chain.from_iterable(found)) == ids


@pytest.mark.parametrize("limit", [5, 25])
async def test_the_last_page_says_that_it_is_the_last_also_when_it_is_full(
    gateway: Served, session: Session, limit: int
) -> None:
    await fill(session, 25)
    assert [len(page) for page in await pages(gateway, limit)] == [limit] * (25 // limit)


async def test_a_page_of_large_records_holds_fewer(
    gateway: Served, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "JOBS_PAGE_BYTES", 35_000)
    ids = await fill(session, 10, metadata=b'"%b"' % (b"m" * 10_000))
    found = await pages(gateway)
    assert [len(page) for page in found] == [4, 4, 2]
    assert list(chain.from_iterable(found)) == ids


async def test_a_job_that_comes_meanwhile_moves_no_page(gateway: Served, session: Session) -> None:
    ids = await fill(session, 4)
    first = (await gateway.client.get("/v1/sessions/s/jobs?limit=2")).json()
    await session.submit("newer")
    second = (await gateway.client.get("/v1/sessions/s/jobs", params={"limit": 2, "cursor": first["next"]})).json()
    assert [job["job_id"] for job in [*first["jobs"], *second["jobs"]]] == ids


async def test_behind_a_job_whose_record_is_gone_there_is_nothing(gateway: Served, session: Session) -> None:
    await fill(session, 2)
    answer = await gateway.client.get("/v1/sessions/s/jobs?cursor=forgotten")
    assert answer.json() == {"jobs": [], "next": None}


@pytest.mark.parametrize(("query", "field"), [("cursor=a.b", "cursor"), ("limit=0", "limit"), ("limit=101", "limit")])
async def test_a_malformed_query_is_refused_with_its_field(
    gateway: Served, session: Session, query: str, field: str
) -> None:
    await session.submit()
    answer = await gateway.client.get(f"/v1/sessions/s/jobs?{query}")
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "invalid_request", field)


async def test_the_list_of_an_unknown_session_is_404(gateway: Served) -> None:
    answer = await gateway.client.get("/v1/sessions/s/jobs")
    assert (answer.status_code, answer.json()["code"]) == (404, "session_unknown")


async def test_a_session_is_read_without_the_records_of_its_jobs(gateway: Served, session: Session) -> None:
    await fill(session, 100, metadata=b'"%b"' % (b"m" * 100_000))
    before = await output_bytes(gateway)
    state = (await gateway.client.get("/v1/sessions/s")).json()
    assert len(state["jobs"]) == 100
    assert await output_bytes(gateway) - before < 50_000


async def test_a_page_is_read_without_the_records_of_the_others(gateway: Served, session: Session) -> None:
    await fill(session, 100, metadata=b'"%b"' % (b"m" * 100_000))
    before = await output_bytes(gateway)
    await gateway.client.get("/v1/sessions/s/jobs?limit=3")
    assert await output_bytes(gateway) - before < 400_000
