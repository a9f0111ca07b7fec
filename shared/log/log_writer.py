"""Claim sessions and write to their logs. Each write is fenced by the epoch of the claim."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.shared.errors import Fenced
from holdfast.shared.ids import EventId
from holdfast.shared.keys import session_keys
from holdfast.shared.log.event_log import EventLog
from holdfast.shared.log.log_appends import LogAppends
from holdfast.shared.log.log_replies import Outcome, Recorded, raise_for, unless_full
from holdfast.shared.log.session_claims import SessionClaims
from holdfast.shared.redis.log_connections import LogConnections
from holdfast.shared.scripts import SessionScript
from holdfast.shared.settings import CommonSettings


class LogWriter(SessionClaims, LogAppends):
    """Claims sessions, appends to their logs and keeps their journals, on behalf of a worker's attempts.

    Every call raises RedisError when its outcome is unknown, and may then be repeated with the same arguments."""

    def __init__(self, connections: LogConnections, settings: CommonSettings) -> None:
        SessionClaims.__init__(self, connections, settings)
        LogAppends.__init__(self, connections, settings)
        self.log = EventLog(connections)
        self._journal = SessionScript(connections, "journal")

    async def record(self, session_id: str, epoch: int, resume: EventId, outcomes: Sequence[Outcome]) -> None:
        """Record results of steps in the journal of the running job. A takeover keeps the job's events below `resume`.

        Raises Fenced, LogGone, LogFull."""
        flat = [part for outcome in outcomes for part in outcome]
        raise_for(await unless_full(self._journal(session_id, (epoch, str(resume), *flat))))

    async def confirm(self, session_id: str, epoch: int) -> None:
        """Raise Fenced where another attempt has claimed the session."""
        known, job = await self._redis(session_id).hmget(session_keys(session_id).state, "epoch", "job")
        if job is None or known != b"%d" % epoch:
            raise Fenced

    async def recorded(self, session_id: str) -> Recorded:
        """Read the journal of the running job."""
        found = await self._redis(session_id).hgetall(session_keys(session_id).journal)
        fields = [(*field.decode().split(":", 1), value) for field, value in found.items()]
        of = {
            kind: {name: value for found, name, value in fields if found == kind}
            for kind in ("step", "mark", "question")
        }
        return Recorded(of["step"], of["mark"], of["question"])

    async def answer_to(self, session_id: str, question_id: str) -> bytes | None:
        """Return the answer to a question of the running job as JSON, or None."""
        answer: bytes | None = await self._redis(session_id).hget(
            session_keys(session_id).journal, f"question:{question_id}"
        )
        return answer
