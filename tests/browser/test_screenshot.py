"""The screenshot in the README: the page in the middle of an answer.

To replace it: `SCREENSHOT=docs/page.png scripts/test tests/browser/test_screenshot.py -n 0`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.browser.conftest import Stack
from tests.support.browser import Browsers, Context

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_BYTES = 300 * 1024
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TARGET = os.environ.get("SCREENSHOT")  # read before the test environment is cleaned
VIEWPORT = {"width": 960, "height": 680}


async def test_the_page_can_be_captured_in_the_middle_of_an_answer(
    stack: Stack, browsers: Browsers, tmp_path: Path
) -> None:
    picture = Path(TARGET or tmp_path / "page.png")
    context: Context = await (await browsers.running()).context(viewport=VIEWPORT, colorScheme="light")
    page = await context.page(stack.url)
    await page.ask("Why does an answer survive a refresh?", agent="demo")
    await page.until("document.querySelectorAll('.section').length === 1")
    await page.until_written(330)
    await page.call("screenshot", {"path": str(picture.resolve())})
    await context.close()
    assert picture.read_bytes().startswith(PNG_SIGNATURE)
    assert picture.stat().st_size < MAX_BYTES
