"""A worker's heartbeat from a thread, for as long as its event loop cannot send it."""

from __future__ import annotations

import redis
from holdfast.shared.keys import WORKERS


class BlockingHeartbeat:
    """Increments the heartbeat counter of a worker. Connects each time: it is needed rarely."""

    def __init__(self, url: str, worker_id: str, timeout_s: float) -> None:
        self._url = url
        self._worker_id = worker_id
        self._timeout_s = timeout_s

    def beat(self) -> None:
        """Increment the counter, and wait for the answer. Raises OSError or a redis.RedisError."""
        timeouts = {"socket_timeout": self._timeout_s, "socket_connect_timeout": self._timeout_s}
        with redis.Redis.from_url(self._url, **timeouts) as client:
            client.hincrby(WORKERS, self._worker_id, 1)
