"""The pictures of the page in the README: the middle of an answer, in each look.

To replace them: `SCREENSHOTS=docs scripts/test tests/browser/test_screenshot.py -n 0`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Stack
from tests.support.browser import Browsers

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_BYTES = 120_000
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TARGET = os.environ.get("SCREENSHOTS")  # read before the test environment is cleaned
WIDE = {"width": 960, "height": 680}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"colorScheme": "light", "viewport": WIDE},
    "dark": {"colorScheme": "dark", "viewport": WIDE},
    "mobile": {"colorScheme": "light", "viewport": {"width": 360, "height": 680}, "hasTouch": True},
}


@pytest.mark.parametrize("look", LOOKS)
async def test_the_page_can_be_captured_in_the_middle_of_an_answer(
    stack: Stack, browsers: Browsers, tmp_path: Path, look: str
) -> None:
    picture = Path(TARGET or tmp_path) / f"chat-{look}.png"
    context = await (await browsers.running()).context(**LOOKS[look])
    page = await context.page(stack.url)
    await page.ask("Why does an answer survive a refresh?", agent="demo")
    await page.until("document.querySelectorAll('.section').length === 1")
    await page.until_written(330)
    await page.call("screenshot", {"path": str(picture.resolve())})
    await context.close()
    assert picture.read_bytes().startswith(PNG_SIGNATURE)
    assert picture.stat().st_size < MAX_BYTES
