"""Let the jobs of a worker go on whose process is known to be dead."""

from __future__ import annotations

import socket

from holdfast.shared.leases import Leases
from holdfast.shared.redis.client import connect
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.settings import CommonSettings
from holdfast.shared.workers import WorkerList

ANSWER_SECONDS = 1.0


async def expire_lease(settings: CommonSettings, redis_url: str, pid: int) -> None:
    """End the lease of the worker that was this process of this machine. Without an answer from Redis, other workers
    find it dead later."""
    redis = connect(redis_url, max_connections=1, socket_timeout_s=ANSWER_SECONDS)
    try:
        worker_id = await WorkerList(redis).of_process(socket.gethostname(), pid)
        if worker_id is not None:
            await Leases(redis, settings).leave(worker_id)
    except RedisError:
        pass
    finally:
        await redis.aclose()
