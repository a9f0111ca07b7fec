"""What the jobs of this process did, counted for its metrics. An isolated attempt reports its counts to its worker."""

from __future__ import annotations

import time
from collections.abc import Sequence

import orjson
from holdfast.shared.log.log_replies import Event
from holdfast.shared.metrics.measures import CALLS, JOBS, Family, Measures

STARTED = "holdfast_attempts_started"
ENDED = "holdfast_attempts_ended"
DURATION = "holdfast_attempt_seconds"
ERRORS = "holdfast_job_errors"
QUEUE_WAIT = "holdfast_queue_wait_seconds"
FIRST_TOKEN = "holdfast_first_token_seconds"  # noqa: S105 - no secret
DELTAS = "holdfast_deltas"
EVENTS = "holdfast_events_written"
TOKENS = "holdfast_tokens"
APPEND = "holdfast_append_seconds"
TAKEOVERS = "holdfast_takeovers"
DEAD_WORKERS = "holdfast_dead_workers"
MISTAKEN = "holdfast_mistaken_deaths"
PROVIDER_REQUESTS = "holdfast_provider_requests"
PROVIDER_SECONDS = "holdfast_provider_seconds"

_AGENT = ("agent",)
_TEXTS = frozenset({"text.delta", "reasoning.delta"})

measures = Measures(
    [
        Family(STARTED, "Attempts at jobs", _AGENT),
        Family(
            ENDED, "Attempts that ended: completed, failed, cancelled, lost, died, interrupted", ("agent", "outcome")
        ),
        Family(DURATION, "Duration of attempts", _AGENT, JOBS),
        Family(ERRORS, "Jobs that failed, by the code of their error", ("code",)),
        Family(QUEUE_WAIT, "From a job's acceptance to the start of its first attempt", _AGENT, JOBS),
        Family(FIRST_TOKEN, "From the start of an attempt to its first delta in the log", _AGENT, JOBS),
        Family(DELTAS, "Deltas of text and reasoning in the log", _AGENT),
        Family(EVENTS, "Events of agents in the log", _AGENT),
        Family(TOKENS, "Tokens that providers reported", ("agent", "direction")),
        Family(APPEND, "One write of events to the log, retries included", (), CALLS),
        Family(TAKEOVERS, "Jobs that this worker took from dead ones"),
        Family(DEAD_WORKERS, "Workers that this one found dead"),
        Family(MISTAKEN, "How often this worker was found dead although it lived"),
        Family(PROVIDER_REQUESTS, "Requests to models: ok, or the code of the error", ("provider", "outcome")),
        Family(PROVIDER_SECONDS, "Duration of requests to models, with their streams", ("provider",), JOBS),
    ]
)


class EventMeter:
    """Counts the events that one attempt writes to its log. The attempt starts now."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._events = measures.counter(EVENTS, agent)
        self._deltas = measures.counter(DELTAS, agent)
        self._began_s = time.monotonic()
        self._waits_for_token = True

    def count(self, events: Sequence[Event]) -> None:
        """Count a batch that is in the log."""
        self._events.value += len(events)
        for event in events:
            if event.kind in _TEXTS:
                self._deltas.value += 1
                if self._waits_for_token:
                    self._waits_for_token = False
                    measures.observe(FIRST_TOKEN, time.monotonic() - self._began_s, self._agent)
            elif event.kind == "usage":
                used = orjson.loads(event.body)
                for direction in ("input", "output"):
                    measures.add(TOKENS, self._agent, direction, amount=used[f"{direction}_tokens"])
