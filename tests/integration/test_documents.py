"""The shell commands and programs that tests/documents.toml has as "run", against a gateway and a worker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from textwrap import indent

import pytest

from tests.support.documents import block, checked_as
from tests.support.node import NODE
from tests.support.process import ROOT, Processes, inherited_env
from tests.support.workers import Client

ADDRESSES = ("http://127.0.0.1:8000", "http://localhost:8000")
TIMED_OUT = 28  # curl's exit code, of streams that stay open
UNTIL_ENDED = """
session.subscribe(({ messages }) => messages.at(-1)?.status === "completed" && process.exit());
"""
RUN_HERE = ("docs/quickstart.md", "docs/dialects/openai.md", "clients/js/README.md", "clients/python/README.md")


@pytest.fixture
async def url(processes: Processes, redis_url: str) -> AsyncIterator[str]:
    """The address of a gateway whose worker offers the agent `scripted`, which is faster than `demo`."""
    gateway = processes.gateway(redis_url)
    processes.worker(redis_url)
    await gateway.until_ready()
    client = Client(redis_url)
    await client.offered("scripted")
    yield gateway.url
    await client.close()


def at(url: str, text: str) -> str:
    for address in ADDRESSES:
        text = text.replace(address, url)
    assert '"demo"' in text or "sessions/tea" in text
    return text.replace('"demo"', '"scripted"')


def run(command: Sequence[str], ends: Sequence[int] = (0,)) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(
        command, cwd=ROOT, env=inherited_env(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in ends, done.stderr
    return done.stdout


def shell(url: str, text: str) -> str:
    return run(["sh", "-c", at(url, text).replace("--max-time 5", "--max-time 2")], ends=(0, TIMED_OUT))


def test_each_block_that_is_to_be_run_is_on_a_page_of_this_file() -> None:
    assert {each.page for each in checked_as("run")} == set(RUN_HERE)


async def test_the_commands_of_the_quickstart_show_an_answer_that_can_be_read_again(url: str) -> None:
    first, again, messages = (each.text for each in checked_as("run") if each.page == "docs/quickstart.md")
    assert '"job_id"' in shell(url, first)
    assert '"type":"job.completed"' in shell(url, again)
    assert '"role":"assistant"' in shell(url, messages)


async def test_the_readme_of_the_python_client_prints_an_answer(url: str) -> None:
    text = at(url, block("clients/python/README.md", "holdfast_client")).replace("holdfast_client", "holdfast.client")
    program = f"import asyncio\nasync def main():\n{indent(text, '    ')}\nasyncio.run(main())\n"
    assert "w0 w1 " in run([sys.executable, "-c", program])


async def test_the_page_of_openai_prints_the_events_of_an_answer(url: str) -> None:
    printed = run([sys.executable, "-c", at(url, block("docs/dialects/openai.md", "import OpenAI"))])
    assert printed.splitlines()[-1].endswith("response.completed")


async def test_the_readme_of_the_javascript_client_prints_an_answer(url: str) -> None:
    index = (ROOT / "clients" / "js" / "src" / "index.js").as_uri()
    text = at(url, block("clients/js/README.md", "subscribe")).replace("holdfast-client", index)
    program = f"{text}\n{UNTIL_ENDED}"
    assert "w0 w1 " in run([NODE, "--input-type=module", "--eval", program])
