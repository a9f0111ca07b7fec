"""Redis at a Unix socket does what Redis at an address does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.cli.embedded import server_binary
from tests.support.process import until
from tests.support.workers import Client, worker_on


@pytest.fixture
def socket_url(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "redis.sock"
    server = subprocess.Popen([server_binary(), "--port", "0", "--unixsocket", str(path), "--save", ""])
    yield f"unix://{path}"
    server.kill()
    server.wait()


async def test_a_job_runs_to_its_end_over_a_unix_socket(socket_url: str) -> None:
    path = Path(socket_url.removeprefix("unix://"))
    await until(path.exists)
    client = Client(socket_url)
    async with worker_on(socket_url):
        await client.offered("scripted")
        await client.post(options={"tokens": 3, "interval_ms": 0})
        assert (await client.end())["type"] == "job.completed"
    await client.close()
