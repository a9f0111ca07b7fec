"""A network that swallows everything but keeps connections open: noticed in time, and nothing is lost by it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.browser.conftest import Stack
from tests.browser.test_page import assert_shows_the_log
from tests.support.browser import Page
from tests.support.fault_proxy import FaultProxy

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

TOKENS = 400


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(stack: Stack) -> AsyncIterator[FaultProxy]:
    """A proxy between browser and gateway."""
    async with FaultProxy(int(stack.gateway.url.rpartition(":")[2])) as proxy:
        yield proxy


@pytest_asyncio.fixture(loop_scope="module")
async def distant(stack: Stack, proxy: FaultProxy) -> Page:
    """A tab that shows the session through the proxy."""
    return await stack.context.page(f"http://127.0.0.1:{proxy.port}/#session")


async def test_a_page_on_a_dead_network_says_so_and_ends_with_the_whole_answer(
    stack: Stack, proxy: FaultProxy, distant: Page
) -> None:
    await distant.ask("count", tokens=TOKENS, interval_ms=20)
    await distant.until_written(200)
    proxy.black_hole = True
    await distant.until("document.getElementById('connection').textContent === 'Disconnected'")
    proxy.black_hole = False
    await assert_shows_the_log(stack, distant)
