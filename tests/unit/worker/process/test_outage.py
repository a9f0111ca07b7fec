"""One line when a server goes away and one when it is back, whatever the order in which outcomes come."""

from __future__ import annotations

import time

from holdfast.shared.errors import LogFull
from holdfast.shared.redis.errors import ConnectionLost, NotEnoughReplicas
from holdfast.worker.process.outage import Outage
from structlog.testing import capture_logs


def test_an_outage_is_logged_once_and_so_is_its_end() -> None:
    outage = Outage("queue")
    with capture_logs() as lines:
        outage.ended(time.monotonic())
        for _ in range(3):
            outage.began(ConnectionLost("closed"), time.monotonic())
        for _ in range(3):
            outage.ended(time.monotonic())
    assert [line["event"] for line in lines] == ["redis is unavailable", "redis is available again"]


def test_the_outcome_of_a_call_from_before_a_change_changes_nothing() -> None:
    outage = Outage("queue")
    before_s = time.monotonic()
    with capture_logs() as lines:
        outage.began(ConnectionLost("closed"), time.monotonic())
        outage.ended(before_s)
        outage.ended(time.monotonic())
        outage.began(ConnectionLost("closed"), before_s)
    assert [line["event"] for line in lines] == ["redis is unavailable", "redis is available again"]


def test_a_server_that_refuses_writes_stays_full_while_it_answers_reads() -> None:
    outage = Outage("log")
    with capture_logs() as lines:
        for _ in range(3):
            outage.began(LogFull(), time.monotonic())
            outage.ended(time.monotonic())
        outage.ended(time.monotonic(), wrote=True)
    assert [line["event"] for line in lines] == ["redis is full", "redis is no longer full"]


def test_a_server_without_replicas_is_logged_once_while_it_answers_reads() -> None:
    outage = Outage("queue")
    with capture_logs() as lines:
        for _ in range(3):
            outage.began(NotEnoughReplicas("NOREPLICAS"), time.monotonic())
            outage.ended(time.monotonic())
        outage.ended(time.monotonic(), wrote=True)
    assert [line["event"] for line in lines] == ["redis takes no writes", "redis takes writes again"]
