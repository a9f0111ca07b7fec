"""The kit on a server as tutorials have it: it sees what is good there, and what is not. Without the slow takeover."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance.adapters.naive import Naive
from tests.conformance.card import Outcome
from tests.conformance.checks import cursors, ending, headers, refusals, resuming, stopping
from tests.conformance.kit import Check, Kit, run

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kit() -> AsyncIterator[Kit]:
    async with Naive() as adapter:
        yield Kit(adapter, patience_s=2)


@pytest.mark.parametrize("check", [resuming.cut_inside_a_frame, resuming.hop, ending.closes, stopping.cancel])
async def test_it_resumes_and_ends_as_well_as_any(kit: Kit, check: Check) -> None:
    result = await run(check, kit)
    assert result.outcome is Outcome.PASSED, result.line()


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (headers.caching, "lacks no-transform"),
        (ending.stops_an_event_source, "waits for what never comes"),
        (cursors.malformed, "`$`: 200 and silence"),
        (cursors.beyond_the_end, "silence for 2 s, while the job goes on"),
        (refusals.come_again, "no `retry:`"),
    ],
)
async def test_its_faults_are_found(kit: Kit, check: Check, reason: str) -> None:
    result = await run(check, kit)
    assert result.outcome is Outcome.FAILED
    assert reason in result.reason
