"""What counts towards the limits of viewers."""

from __future__ import annotations

from holdfast.gateway.stream.viewer_counts import UNLIMITED, ViewerCounts, ViewerLimits


def test_each_limit_counts_for_itself() -> None:
    counts = ViewerCounts(ViewerLimits(session=1, tenant=2, address=3))
    counts.add("acme/ada/s", "192.0.2.1")
    assert not counts.allows("acme/ada/s", "192.0.2.2")
    assert counts.allows("acme/bo/s", "192.0.2.2")
    counts.add("acme/bo/s", "192.0.2.1")
    assert not counts.allows("acme//t", "192.0.2.2")
    assert counts.allows("globex/ada/s", "192.0.2.1")
    counts.add("globex/ada/s", "192.0.2.1")
    assert not counts.allows("globex/bo/s", "192.0.2.1")
    assert counts.allows("globex/bo/s", "192.0.2.2")


def test_a_network_of_ipv6_is_one_address() -> None:
    counts = ViewerCounts(ViewerLimits(address=1))
    counts.add("s", "2001:db8::1")
    assert not counts.allows("t", "2001:db8::2")
    assert counts.allows("t", "2001:db8:0:1::1")


def test_without_authentication_there_is_no_tenant_to_limit() -> None:
    counts = ViewerCounts(ViewerLimits(tenant=1))
    for _ in range(3):
        assert counts.allows("s", "")
        counts.add("s", "")


def test_what_has_left_is_forgotten() -> None:
    counts = ViewerCounts(ViewerLimits(session=2, tenant=2, address=2))
    for _ in range(2):
        counts.add("acme/ada/s", "192.0.2.1")
    assert not counts.allows("acme/ada/s", "192.0.2.1")
    counts.remove("acme/ada/s", "192.0.2.1")
    assert counts.allows("acme/ada/s", "192.0.2.1")
    counts.remove("acme/ada/s", "192.0.2.1")
    assert len(counts) == 0


def test_nothing_is_counted_without_a_limit() -> None:
    counts = ViewerCounts(UNLIMITED)
    counts.add("acme/ada/s", "192.0.2.1")
    assert counts.allows("acme/ada/s", "192.0.2.1")
    assert len(counts) == 0
