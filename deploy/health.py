# ruff: noqa: INP001 - a script
"""A container's health check: `python health.py gateway` or `python health.py worker`. Exits 0 when it is of use.

Prints why it is not. That Redis is away makes both unhealthy: it says that the container does no work now, not that a
restart would help.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.shared.leases import Leases

GATEWAY_PORT = 8000
GATEWAY_ANSWERS_S = 8.0
REDIS_ANSWERS_S = 5.0
LOOK_S = 0.5


def gateway() -> str | None:
    """What keeps this container's gateway from being ready: what its /readyz says."""
    port = int(os.environ.get("HOLDFAST_PORT") or GATEWAY_PORT)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GATEWAY_ANSWERS_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(10_000).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return f"the gateway does not answer: {error!r}"
    finally:
        connection.close()
    return None if answer.status == 200 else body


async def worker() -> str | None:
    """What keeps this container's worker from its work: missing rights in Redis, or a heartbeat that stands still.

    A worker beats three times in a lease."""
    # Only here: the gateway's check runs every few seconds, too, and needs nothing of this.
    from holdfast.shared.leases import Leases  # noqa: PLC0415
    from holdfast.shared.redis.client import connect, user_of  # noqa: PLC0415
    from holdfast.shared.redis.errors import RedisError  # noqa: PLC0415
    from holdfast.shared.redis.rights import refusals  # noqa: PLC0415
    from holdfast.shared.redis.users import WORKER  # noqa: PLC0415
    from holdfast.shared.settings import CommonSettings, read_settings  # noqa: PLC0415

    settings = read_settings(CommonSettings)
    redis = connect(settings.redis_url, max_connections=1, socket_timeout_s=REDIS_ANSWERS_S)
    servers = (settings.redis_url, WORKER.needed_on_queue), (settings.log_url, WORKER.on_log)
    try:
        for url, rights in servers:
            refused = await refusals(url, rights, REDIS_ANSWERS_S)
            if any(refused):
                return "; ".join(refused.sentences(user_of(url)))
        return await heart_stands(Leases(redis, settings), f"{socket.gethostname()[:40]}-", settings.lease_seconds)
    except (RedisError, OSError) as error:
        return f"Redis does not answer: {error!r}"
    finally:
        await redis.aclose()


async def heart_stands(leases: Leases, prefix: str, wait_s: float) -> str | None:
    """Look until the count of a worker with this prefix moves. A worker's id begins with its host's name."""
    first = await counts(leases, prefix)
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        await asyncio.sleep(LOOK_S)
        now = await counts(leases, prefix)
        if any(now[name] != first.get(name) for name in now):
            return None
    return f"no heartbeat of this worker within {wait_s:g} s: {first}"


async def counts(leases: Leases, prefix: str) -> dict[str, int]:
    return {name: count for name, count in (await leases.workers()).items() if name.startswith(prefix)}


def main() -> None:
    """Check the part that the first argument names."""
    problem = asyncio.run(worker()) if sys.argv[1:] == ["worker"] else gateway()
    if problem is not None:
        sys.exit(problem)


if __name__ == "__main__":
    main()
