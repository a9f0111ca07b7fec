"""`holdfast dev` ends the lease of a worker that it saw die."""

from __future__ import annotations

from holdfast.shared.leases import Leases
from holdfast.shared.redis.client import connect
from holdfast.shared.settings import CommonSettings

from holdfast.cli.dead_worker import expire_lease
from tests.support.ports import free_port
from tests.support.process import Process, Processes, until


async def registered(leases: Leases, worker: Process) -> str:
    """The id of the only worker, once its process has told of itself."""
    await worker.until_output("worker started")
    await until(lambda: _one(leases))
    return next(iter(await leases.workers()))


async def _one(leases: Leases) -> bool:
    return [*(await leases.workers()).values()] >= [2]


async def test_the_lease_of_a_process_that_died_is_ended_and_no_other(redis_url: str, processes: Processes) -> None:
    redis, settings = connect(redis_url, max_connections=1), CommonSettings()
    leases = Leases(redis, settings)
    worker = processes.worker(redis_url, HOLDFAST_LEASE_SECONDS="600")
    worker_id = await registered(leases, worker)
    await expire_lease(settings, redis_url, worker.pid + 1)
    assert list(await leases.workers()) == [worker_id]
    worker.kill()
    await expire_lease(settings, redis_url, worker.pid)
    assert await leases.workers() == {}
    await redis.aclose()


async def test_a_server_that_is_away_is_no_error() -> None:
    await expire_lease(CommonSettings(), f"redis://127.0.0.1:{free_port()}/0", 1)
