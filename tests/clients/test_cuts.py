"""Client libraries on connections that are cut at random bytes: the short form of scripts/client-cuts."""

from __future__ import annotations

from tests.clients.cuts import Plan, run
from tests.support.process import Processes

PLAN = Plan(cuts=60, viewers=20, tokens=200, interval_ms=20, seed=7)


async def test_sixty_cuts_lose_and_double_no_event_and_queue_no_job_twice(redis_url: str, processes: Processes) -> None:
    report = await run(PLAN, redis_url, processes)
    assert not report.wrong, "\n".join(report.lines())
    assert (report.cuts, report.lost, report.doubled) == (PLAN.cuts, 0, 0)
