"""The browser that the tests share: when it dies, one test fails and the next has another."""

from __future__ import annotations

import pytest

from tests.support.browser import BrowserDied, Browsers

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_browser_that_died_fails_the_open_call_and_the_next_test_gets_another(browsers: Browsers) -> None:
    first = await browsers.running()
    with pytest.raises(BrowserDied):
        await first.call("browser", "close")
    with pytest.raises(BrowserDied):
        await first.context()
    second = await browsers.running()
    context = await second.context()
    await context.close()
    assert await browsers.running() is second
