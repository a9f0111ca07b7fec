"""The programs of docs/clients-python.md, as they stand there, against a real gateway and worker."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support.documents import blocks
from tests.support.process import Processes, inherited_env
from tests.support.scene import words
from tests.support.workers import Client

IMPORT = re.compile(r"^from holdfast_client import", re.MULTILINE)
PROGRAMS = [each.text for each in blocks("docs/clients-python.md") if IMPORT.search(each.text)]


@pytest.mark.parametrize("number", range(4))
async def test_a_program_of_the_page_prints_the_answer(number: int, processes: Processes, redis_url: str) -> None:
    gateway = processes.gateway(redis_url)
    processes.worker(redis_url)
    await gateway.until_ready()
    client = Client(redis_url)
    await client.offered("scripted")
    await client.close()
    program = PROGRAMS[number].replace("http://127.0.0.1:8000", gateway.url)
    program = program.replace("holdfast_client", "holdfast.client").replace('agent="demo"', SCRIPTED)
    done = subprocess.run(
        [sys.executable, "-c", program], env=inherited_env(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.rstrip("\n") == words(3), done.stderr


SCRIPTED = 'agent="scripted", options={"tokens": 3, "interval_ms": 1}'


def test_every_program_of_the_page_is_run() -> None:
    assert len(PROGRAMS) == 4
