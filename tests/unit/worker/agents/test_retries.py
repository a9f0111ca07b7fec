from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from holdfast.worker.agents.provider_errors import (
    LONGEST_WAIT_S,
    ProviderFailure,
    asked_to_wait_s,
    may_pass,
    next_wait_s,
)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
        ({"retry-after": "-1"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e999"}, float("inf")),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_to_wait_s(headers) == seconds


def test_a_date_to_come_is_so_many_seconds_away() -> None:
    later = datetime.now(UTC) + timedelta(seconds=100)

    assert 90 < (asked_to_wait_s({"retry-after": format_datetime(later, usegmt=True)}) or 0) <= 100


@pytest.mark.parametrize(
    ("retryable", "retry_after_s", "passes"),
    [(True, None, True), (True, 60, True), (True, 61, False), (True, float("inf"), False), (False, None, False)],
)
def test_only_what_may_pass_soon_is_tried_again(retryable: bool, retry_after_s: float | None, passes: bool) -> None:
    assert may_pass(ProviderFailure("x", "x", retryable=retryable, retry_after_s=retry_after_s)) is passes


def test_the_waits_grow_up_to_a_bound() -> None:
    waits = [next_wait_s(ProviderFailure("x", "x"), tried) for tried in range(10)]

    assert waits[0] <= 0.5 < waits[2] <= 2
    assert 0.75 * LONGEST_WAIT_S <= waits[9] <= LONGEST_WAIT_S
