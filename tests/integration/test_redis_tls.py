"""Redis behind TLS: only a server that proves its name is spoken to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from holdfast.shared.leases import beat_blocking
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.settings import CommonSettings

from holdfast.cli.check import server_findings
from tests.support.process import until
from tests.support.served import Served, served
from tests.support.tls import Authority, TlsEnd
from tests.support.workers import Client, worker_on


def plain_port(redis_url: str) -> int:
    return int(redis_url.rpartition(":")[2].partition("/")[0])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def end(redis_url: str, authority: Authority) -> AsyncIterator[TlsEnd]:
    """A TLS end with a certificate for localhost, and not for 127.0.0.1."""
    async with TlsEnd(plain_port(redis_url)).serving(authority.server_context("localhost")) as end:
        yield end


async def reasons(url: str, ca: Path | None) -> list[str]:
    found: list[str] = []
    async with served(url, redis_ca=ca and str(ca)) as gateway:

        async def looked() -> bool:  # a busy machine may be too late with the first look
            found[:] = (await gateway.client.get("/readyz")).json().get("reasons", [])
            return not any("TimeoutError" in reason for reason in found)

        await until(looked)
    return found


async def is_ready(gateway: Served) -> bool:
    return (await gateway.client.get("/readyz")).status_code == 200


async def test_gateway_and_worker_do_their_work_over_tls(redis_url: str, authority: Authority, end: TlsEnd) -> None:
    url, ca = f"rediss://localhost:{end.port}/0", str(authority.file)
    client = Client(redis_url)
    async with served(redis_url) as admin, served(url, redis_ca=ca) as gateway, worker_on(url, redis_ca=ca):
        await until(lambda: is_ready(gateway))
        await client.offered("scripted")
        body = {"agent": "scripted", "input": "go", "options": {"tokens": 3}}
        job_id = (await gateway.client.post("/v1/sessions/s/jobs", json=body)).json()["job_id"]
        stream = await gateway.client.get(f"/v1/sessions/s/jobs/{job_id}/events")
        assert "job.completed" in stream.text
        assert (await admin.client.get(f"/v1/sessions/s/jobs/{job_id}")).json()["status"] == "completed"
    await client.close()
    assert end.received > 0


async def test_a_worker_whose_loop_is_blocked_sends_its_heartbeat_over_tls(authority: Authority, end: TlsEnd) -> None:
    settings = CommonSettings(redis_url=f"rediss://localhost:{end.port}/0", redis_ca=str(authority.file))
    await asyncio.to_thread(beat_blocking, settings.redis_url, "w", 5)
    wrong = CommonSettings(redis_url=f"rediss://127.0.0.1:{end.port}/0", redis_ca=str(authority.file))
    with pytest.raises(RedisError, match="certificate"):
        await asyncio.to_thread(beat_blocking, wrong.redis_url, "w", 5)


@pytest.mark.parametrize("other", [False, True], ids=["system's authorities", "another authority"])
async def test_a_server_whose_authority_is_not_known_gets_no_byte(end: TlsEnd, tmp_path: Path, other: bool) -> None:
    ca = Authority(tmp_path, "another authority").file if other else None
    found = await reasons(f"rediss://gateway:secret@localhost:{end.port}/0", ca)
    assert [reason.partition(":")[0] for reason in found] == ["queue redis", "log redis"]
    assert all("the certificate of the server is refused" in reason for reason in found)
    assert all("HOLDFAST_REDIS_CA" in reason and "secret" not in reason for reason in found)
    assert end.received == 0


async def test_a_server_with_the_certificate_of_another_host_gets_no_byte(authority: Authority, end: TlsEnd) -> None:
    found = await reasons(f"rediss://127.0.0.1:{end.port}/0", authority.file)
    assert all("mismatch" in reason and "127.0.0.1" in reason for reason in found)
    assert (len(found), end.received) == (2, 0)


async def test_a_port_without_tls_is_a_reason_that_says_so(authority: Authority) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-ERR Protocol error\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await reasons(f"rediss://localhost:{port}/0", authority.file)
    assert all("no TLS with this server" in reason for reason in found)
    assert len(found) == 2


async def test_check_says_why_a_certificate_is_refused(authority: Authority, end: TlsEnd) -> None:
    settings = CommonSettings(redis_url=f"rediss://127.0.0.1:{end.port}/0", redis_ca=str(authority.file))
    (finding,) = [finding async for finding in server_findings("redis", settings.redis_url)]
    assert finding.ok is False
    assert finding.text.startswith(
        f"redis at rediss://127.0.0.1:{end.port}/0: the certificate of the server is refused"
    )
