"""The pages of `holdfast top`."""

from __future__ import annotations

from typing import Any

from holdfast.cli.top import lines

WORKER = {"worker_id": "w-1", "job_count": 3, "slots": 10, "beat_at": 9_000, "draining": False}


def overview(at: int, deltas: int, workers: int = 1) -> dict[str, Any]:
    jobs = {"waiting": 2, "running": 3, "asking": 1, "deferred": 0}
    return {"at": at, "viewers": 7, "workers": workers, "jobs": jobs, "oldest_wait_s": 4.2, "deltas": deltas}


def queue(**tenants: int) -> dict[str, Any]:
    agents = [{"agent": "demo", "waiting": 2, "running": 3, "asking": 1, "deferred": 0, "oldest_wait_s": 4.2}]
    return {"agents": agents, "tenants": [{"tenant": name, "open": n, "running": 0} for name, n in tenants.items()]}


def page(before: dict[str, Any] | None = None, **worker: object) -> list[str]:
    return list(lines(overview(10_000, 500), before, queue(acme=4), {"workers": [WORKER | worker]}))


def test_the_first_page_has_no_rate() -> None:
    assert "tokens -" in page()[0]


def test_the_rate_is_that_since_the_page_before() -> None:
    assert "tokens 100/s" in page(overview(8_000, 300))[0]


def test_a_worker_that_left_makes_no_negative_rate() -> None:
    assert "tokens 0/s" in page(overview(8_000, 900))[0]


def test_the_tables_show_agents_tenants_and_workers() -> None:
    words = [line.split() for line in page()]
    assert ["demo", "2", "3", "1", "0", "4.2", "s"] in words
    assert ["acme", "4", "0"] in words
    assert ["w-1", "3/10", "1.0", "s", "works"] in words


def test_a_worker_without_a_status_is_shown_with_what_is_known() -> None:
    assert ["w-1", "3", "-", "works"] in [line.split() for line in page(slots=None, beat_at=None)]


def test_control_characters_of_names_are_left_out() -> None:
    assert "\x1b" not in "\n".join(page(worker_id="w\x1b[31m"))
