"""Send a worker's heartbeat from a thread while its event loop is blocked."""

from __future__ import annotations

import redis
from holdfast.shared.keys import WORKERS


class BlockingHeartbeat:
    """Increments the heartbeat counter of a worker. Connects anew each time, since it is rarely needed."""

    def __init__(self, url: str, worker_id: str, timeout_s: float) -> None:
        self._url = url
        self._worker_id = worker_id
        self._timeout_s = timeout_s

    def beat(self) -> None:
        """Increment the counter and wait for the reply. Raises OSError or redis.RedisError."""
        timeouts = {"socket_timeout": self._timeout_s, "socket_connect_timeout": self._timeout_s}
        with redis.Redis.from_url(self._url, **timeouts) as client:
            client.hincrby(WORKERS, self._worker_id, 1)
