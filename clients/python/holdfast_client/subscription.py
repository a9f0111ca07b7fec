"""A stream of events over many connections, as a state machine. Free of I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from .errors import ProtocolError, Unavailable
from .event import DELETED, TERMINAL, Event
from .replies import TRANSIENT, NoReply, Reply
from .requests import StreamOptions
from .retries import Retries
from .sse import Frame, SseParser

MEDIA_TYPE = "text/event-stream"
TICKET = "ticket"


class Subscription:
    """The events of a session, or of one job, in order and each once, whatever happens to connections.

    For each connection call `headers`, `opened`, `feed` with each piece of the body, and `closed`, which returns how
    long to wait before the next connection. `over`: no event follows. `cursor`: the position behind the event that
    `feed` yielded last, None at the start.

    `of_job`: ends with the terminal event. `patience_s`: how long to wait for the first response; an outage after
    that may last as long as `options` say. `renew`: takes the tickets by which the gateway replaces the client's."""

    def __init__(
        self,
        cursor: str | None,
        *,
        of_job: bool,
        patience_s: float,
        options: StreamOptions,
        renew: Callable[[str], None] | None = None,
    ) -> None:
        self.cursor = cursor
        self._renew = renew
        self.over = False
        self._of_job = of_job
        self._retries = Retries(patience_s)
        self._patience_s = options.get("patience_s", patience_s)
        self._on_outage = options.get("on_outage")
        self._answered = False
        self._outage = False
        self._parser = SseParser()

    def headers(self) -> dict[str, str]:
        """Return the header fields of the next request."""
        resume = {} if self.cursor is None else {"Last-Event-ID": self.cursor}
        return {"Accept": MEDIA_TYPE, "Cache-Control": "no-store", **resume}

    def opened(self, status: int, headers: Mapping[str, str]) -> bool:
        """Take the head of a response. Returns whether its body has events."""
        self._parser = SseParser()
        if status == 204:
            self.over = True
        if status != 200:
            return False
        if not headers.get("content-type", "").startswith(MEDIA_TYPE):
            raise ProtocolError("the response is not an event stream; is this the address of a gateway?")
        self._answered = True
        self._retries.patience_s = self._patience_s
        return True

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that end in this piece. Raises ProtocolError."""
        comments = self._parser.comments
        for frame in self._parser.feed(chunk):
            event = self._take(frame)
            if event is not None:
                yield event
                if self.over:
                    return
        if self._parser.comments > comments:
            self._alive()

    def closed(self, outcome: Reply | NoReply | None) -> float | None:
        """Take the end of a connection: a response without events, a failure, or None for an event stream that ended as
        it should. Returns the seconds to wait, None if no event follows.

        Raises Refused, and Unavailable when the outage lasts for too long."""
        if self.over:
            return None
        if self._parser.retry_ms is not None:
            self._retries.suggest(self._parser.retry_ms / 1000)
        if isinstance(outcome, Reply):
            return self._refused(outcome)
        reason = "the gateway does not serve the stream at the moment" if outcome is None else outcome.reason
        if outcome is not None:
            self._announce(reason)
        delay_s = self._retries.failed()
        if delay_s is None:
            raise Unavailable(reason)
        return delay_s

    def _refused(self, reply: Reply) -> float:
        refusal = reply.refusal()
        if reply.status not in TRANSIENT:
            raise refusal
        self._announce(str(refusal))
        delay_s = self._retries.failed(reply.retry_after_s)
        if delay_s is None:
            raise refusal
        return delay_s

    def _take(self, frame: Frame) -> Event | None:
        self._alive()
        event = None if frame.data is None else Event.parse(frame.id, frame.data)
        self.cursor = frame.id or self.cursor
        if event is not None and event.type == TICKET:
            if self._renew is not None:
                self._renew(str(event.body["ticket"]))
            return None
        if event is not None:
            self.over = event.type == DELETED or (self._of_job and event.type in TERMINAL)
        return event

    def _alive(self) -> None:
        self._retries.succeeded()
        self._outage = False

    def _announce(self, reason: str) -> None:
        """Report the beginning of an outage of a stream that was answered."""
        if self._answered and not self._outage:
            self._outage = True
            if self._on_outage is not None:
                self._on_outage(reason)
