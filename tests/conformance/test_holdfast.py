"""The kit on Holdfast itself: every check, on two gateways, two workers and a Redis of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance.adapters.holdfast import Holdfast
from tests.conformance.card import Outcome
from tests.conformance.catalogue import CHECKS
from tests.conformance.kit import Check, Kit, run

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kit() -> AsyncIterator[Kit]:
    async with Holdfast() as adapter:
        yield Kit(adapter)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_holdfast_passes(kit: Kit, check: Check) -> None:
    result = await run(check, kit)
    assert result.outcome is Outcome.PASSED, result.line()
