"""The health checks of the containers, run beside real processes."""

from __future__ import annotations

import sys

from tests.support.ports import free_port
from tests.support.process import ROOT, Process, Processes, until

HEALTH = str(ROOT / "deploy/health.py")


async def checked(processes: Processes, kind: str, **env: str) -> Process:
    process = processes.start([sys.executable, HEALTH, kind], PYTHONPATH=str(ROOT), **env)
    await process.wait()
    return process


async def healthy(processes: Processes, kind: str, **env: str) -> bool:
    return await (await checked(processes, kind, **env)).wait() == 0


async def test_a_worker_is_healthy_while_it_runs_and_not_when_it_was_killed(
    processes: Processes, redis_url: str
) -> None:
    lease = {"HOLDFAST_LEASE_SECONDS": "1.5", "HOLDFAST_REDIS_URL": redis_url}
    worker = processes.worker(redis_url, **lease)
    await until(lambda: healthy(processes, "worker", **lease))
    worker.kill()
    check = await checked(processes, "worker", **lease)
    assert await check.wait() == 1
    assert "no heartbeat of this worker" in check.output()


async def test_a_worker_is_not_healthy_while_it_is_frozen(processes: Processes, redis_url: str) -> None:
    lease = {"HOLDFAST_LEASE_SECONDS": "1.5", "HOLDFAST_REDIS_URL": redis_url}
    worker = processes.worker(redis_url, **lease)
    await until(lambda: healthy(processes, "worker", **lease))
    worker.stop()
    assert not await healthy(processes, "worker", **lease)


async def test_a_worker_is_not_healthy_while_redis_is_away(processes: Processes) -> None:
    check = await checked(processes, "worker", HOLDFAST_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert await check.wait() == 1
    assert "Redis does not answer" in check.output()


async def test_a_gateway_is_healthy_when_it_is_ready(processes: Processes, redis_url: str) -> None:
    port = free_port()
    gateway = processes.gateway(redis_url, port=port)
    await gateway.until_ready()
    assert await healthy(processes, "gateway", HOLDFAST_PORT=str(port))
    gateway.kill()
    assert not await healthy(processes, "gateway", HOLDFAST_PORT=str(port))
