from __future__ import annotations

import pytest
from holdfast.gateway.readiness import reasons_not_ready

GOOD = {"redis_version": "7.0.15", "role": "master", "maxmemory_policy": "noeviction"}


@pytest.mark.parametrize("version", ["7.0.0", "7.2.4", "8.0.1", "10.1"])
def test_a_recent_primary_that_evicts_nothing_is_fine(version: str) -> None:
    assert reasons_not_ready(GOOD | {"redis_version": version}) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"redis_version": "6.2.14"}, "6.2.14"),
        ({"redis_version": "6.10"}, "6.10"),
        ({"redis_version": "unstable"}, "unstable"),
        ({"role": "slave"}, "replica"),
        ({"maxmemory_policy": "allkeys-lru"}, "allkeys-lru"),
        ({"maxmemory_policy": "volatile-ttl"}, "volatile-ttl"),
        ({"maxmemory": 1000, "used_memory": 1200, "mem_not_counted_for_evict": 199}, "1001"),
    ],
)
def test_what_speaks_against_a_server_is_named(change: dict[str, str], word: str) -> None:
    (reason,) = reasons_not_ready(GOOD | change)
    assert word in reason


@pytest.mark.parametrize(("limit", "used"), [(0, 10**12), (1000, 1000)])
def test_a_server_below_its_limit_or_without_one_is_not_full(limit: int, used: int) -> None:
    assert reasons_not_ready(GOOD | {"maxmemory": limit, "used_memory": used}) == []


def test_a_server_that_says_nothing_is_not_trusted() -> None:
    assert len(reasons_not_ready({})) == 3
