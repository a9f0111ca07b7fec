"""One call with its retries, as a state machine. Free of I/O."""

from __future__ import annotations

from .errors import Unavailable
from .replies import TRANSIENT, NoReply, Reply
from .requests import Request
from .retries import Retries


class Exchange:
    """Decides after each try of a request whether to send it again."""

    def __init__(self, request: Request, retries: Retries) -> None:
        self._request = request
        self._retries = retries
        self._unknown = False

    def take(self, outcome: Reply | NoReply) -> Reply | float:
        """Take the outcome of a try. Returns it when the call succeeded, or the seconds to wait before the next try.

        Raises Refused, or Unavailable when the last try had no response."""
        return self._no_reply(outcome) if isinstance(outcome, NoReply) else self._reply(outcome)

    def _reply(self, reply: Reply) -> Reply | float:
        if reply.status == self._request.status or (self._unknown and reply.status == self._request.done):
            return reply
        delay_s = None
        if reply.status in TRANSIENT and (self._request.repeatable or reply.status == 429):
            self._unknown = self._unknown or reply.status != 429
            delay_s = self._retries.failed(reply.retry_after_s)
        if delay_s is None:
            raise reply.refusal()
        return delay_s

    def _no_reply(self, outcome: NoReply) -> float:
        self._unknown = self._unknown or outcome.sent
        delay_s = self._retries.failed() if self._request.repeatable or not outcome.sent else None
        if delay_s is None:
            raise Unavailable(outcome.reason)
        return delay_s
