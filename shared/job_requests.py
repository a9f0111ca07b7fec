"""What was submitted with a job, for a job that repeats it."""

from __future__ import annotations

from holdfast.shared.job_record import permitted, placed
from holdfast.shared.redis.log_connections import LogConnections
from holdfast.shared.scripts import SessionScript
from holdfast.shared.sessions import REFUSALS, JobRequest

_PLAIN = ("agent", "timeout_s", "budget", "after")
_SEALED = ("input", "options", "metadata", "webhook", "client")  # where their tenant has a key


class JobRequests:
    """Reads the requests of accepted jobs."""

    def __init__(self, connections: LogConnections) -> None:
        self._keyring = connections.keyring
        self._read_job = SessionScript(connections, "read_job")

    async def of(self, session_id: str, job_id: str) -> JobRequest:
        """Return the request of a job, to follow the same job, without its idempotency key.

        Raises SessionUnknown, JobUnknown, SealBroken where its agent or a value was exchanged, RedisError."""
        word, *reply = await self._read_job(session_id, (job_id, *_PLAIN, "models", *_SEALED))
        if word != b"ok":
            raise REFUSALS[word.decode()]
        _, (_, _, agent, timeout_s, budget, after, models, *stored) = reply
        of_agent = permitted(job_id, agent.decode(), models or b"")  # the new job gets the caller's models
        values = [of_agent, *placed(job_id, dict(zip(_SEALED, stored, strict=True)))]
        _, given, options, metadata, webhook, client = await self._keyring.opened(session_id, values)
        return JobRequest(
            agent.decode(),
            given,
            options,
            metadata,
            int(timeout_s),
            on_busy="queue",
            idempotency_key=None,
            digest="",
            webhook=webhook or b"",
            budget=budget or b"",
            after=after.decode(),
            client=client or b"",
        )
