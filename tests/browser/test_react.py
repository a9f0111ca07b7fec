"""useHoldfast in a real React application, bundled and in a real browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Stack
from tests.support.browser import Page
from tests.support.node import FOLDER, NODE
from tests.support.process import ROOT, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOURCES = ROOT / "clients" / "js" / "src"
TOKENS = 150
WHOLE = "".join(f"w{number} " for number in range(TOKENS))
COUNT = {"tokens": TOKENS, "interval_ms": 20}


@pytest.fixture(scope="module")
def application() -> str:
    """The application as a bundler makes it."""
    command = [
        *(NODE, FOLDER / "node_modules" / "esbuild" / "bin" / "esbuild", Path(__file__).parent / "react" / "app.jsx"),
        *("--bundle", "--jsx=automatic", "--define:process.env.NODE_ENV='development'"),
        f"--alias:holdfast-client/react={SOURCES / 'react.js'}",
        f"--alias:holdfast-client={SOURCES / 'index.js'}",
    ]
    env = os.environ | {"NODE_PATH": str(FOLDER / "node_modules")}
    built = subprocess.run([*map(str, command)], env=env, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return built.stdout


async def chat(stack: Stack, application: str, **options: Any) -> Page:
    page = await stack.context.page(f"{stack.gateway.url}/livez")
    await page.evaluate(f"window.options = {json.dumps(options)}")
    await page.call("addScriptTag", {"content": application})
    await page.until("document.querySelector('[data-connection=live]')")
    return page


async def until_viewers(stack: Stack, count: int) -> None:
    async def held() -> bool:
        async with stack.client() as client:
            return re.findall(r"^holdfast_viewers (\d+)", (await client.get("/metrics")).text, re.MULTILINE) == [
                str(count)
            ]

    await until(held)


async def test_a_component_shows_an_answer_as_it_grows_over_one_connection(stack: Stack, application: str) -> None:
    page = await chat(stack, application, **COUNT)
    await until_viewers(stack, 1)  # StrictMode subscribes twice
    await page.call("click", "#send")
    await page.until("document.querySelector('.assistant')?.textContent.length > 100")
    await page.until("document.querySelector('.assistant[data-status=completed]')")
    assert await page.shown(".user") == "count"
    assert await page.shown(".assistant") == WHOLE
    assert await page.evaluate("window.renders") < 2 * TOKENS + 40
    await page.evaluate("window.show('')")
    await until_viewers(stack, 0)


async def test_another_session_replaces_the_one_that_was_shown(stack: Stack, application: str) -> None:
    page = await chat(stack, application, tokens=2, interval_ms=0)
    await page.call("click", "#send")
    await page.until_shown(".assistant", "w0 w1 ")
    await page.evaluate("window.show('another')")
    await page.until("!document.querySelector('.assistant')")
    await until_viewers(stack, 1)
    await page.evaluate("window.show('session')")
    await page.until_shown(".assistant", "w0 w1 ")


async def test_a_question_is_answered_and_a_job_stopped(stack: Stack, application: str) -> None:
    page = await chat(stack, application, ask="Sure?", tokens=100_000, interval_ms=20)
    await page.call("click", "#send")
    await page.until_shown("section button", "Sure?")
    await page.call("click", "section button")
    await page.until("document.querySelector('.assistant')?.textContent.length > 10")
    await page.call("click", "#stop")
    await page.until("document.querySelector('.assistant[data-status=cancelled]')")
