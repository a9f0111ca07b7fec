"""Hash slots, and who owns them when nodes disagree."""

from __future__ import annotations

import pytest
from holdfast.shared.keys import session_keys
from holdfast.shared.redis.cluster_slots import Redirect, SlotMap, SlotRange, place_of, ranges_of, redirect_of, slot_of
from holdfast.shared.redis.errors import ResponseError

A, B = "10.0.0.1:7000", "10.0.0.2:7000"


@pytest.mark.parametrize(
    ("key", "same_as"),
    [
        ("{user1000}.following", "user1000"),
        ("foo{}{bar}", "foo{}{bar}"),
        ("foo{{bar}}zap", "{bar"),
        ("foo{bar}{zap}", "bar"),
    ],
)
def test_a_key_is_hashed_by_its_tag(key: str, same_as: str) -> None:
    whole = same_as if "}" in same_as else f"{{{same_as}}}" if same_as != "{bar" else "x{{bar}"
    assert slot_of(key) == slot_of(whole)


def test_the_slot_is_that_of_the_specification() -> None:
    assert slot_of("123456789") == 0x31C3
    assert slot_of(b"123456789") == 0x31C3


def test_all_keys_of_a_session_are_in_one_slot() -> None:
    assert len({slot_of(key) for key in session_keys("a session")}) == 1


def test_a_report_tells_which_slots_moved() -> None:
    slots = SlotMap()
    assert slots.report([SlotRange(0, 16_383, A, 1)]) == set(range(16_384))
    assert slots.report([SlotRange(0, 9, B, 2), SlotRange(10, 16_383, A, 1)]) == set(range(10))
    assert (slots.owners[9], slots.owners[10]) == (B, A)
    assert slots.places == [A, B]


def test_a_report_of_an_older_configuration_changes_nothing() -> None:
    """A master that was frozen while its replica took over still names itself."""
    slots = SlotMap()
    slots.report([SlotRange(0, 16_383, B, 7)])
    assert slots.report([SlotRange(0, 16_383, A, 1)]) == set()
    assert slots.owners[5] == B


def test_the_masters_are_those_of_the_latest_report_or_redirection() -> None:
    slots = SlotMap()
    assert slots.places == []
    slots.report([SlotRange(0, 16_383, A, 1)])
    assert slots.places == [A]
    slots.move(3, B)
    assert slots.places == [A, B]


def test_a_redirection_counts_until_the_next_report() -> None:
    slots = SlotMap()
    ranges = [SlotRange(0, 16_383, A, 3)]
    slots.report(ranges)
    assert slots.move(5, B)
    assert not slots.move(5, B)
    assert slots.owners[5] == B
    assert slots.report(ranges) == {5}


def test_slots_without_a_master_are_counted() -> None:
    slots = SlotMap()
    slots.report([SlotRange(0, 9_999, A, 1)])
    assert slots.uncovered == 6_384


def test_the_replies_of_a_node_are_parsed_with_its_epochs() -> None:
    nodes = (
        b"aa 10.0.0.1:7000@17000,host myself,master - 0 0 5 connected 0-99\n"
        b"bb 10.0.0.2:7000@17000 master - 0 1 6 connected 100-16383\n"
    )
    slots = [[100, 16_383, [b"10.0.0.2", 7000, b"bb", []]], [0, 99, [b"", 7000, b"aa"], [b"x", 1, b"r"]]]
    assert ranges_of(slots, nodes, A) == [SlotRange(0, 99, A, 5), SlotRange(100, 16_383, B, 6)]


@pytest.mark.parametrize(
    ("error", "redirect"),
    [
        ("MOVED 12 10.0.0.2:7000", Redirect("MOVED", 12, B)),
        ("ASK 12 10.0.0.2:7000", Redirect("ASK", 12, B)),
        ("MOVED 12 :7001", Redirect("MOVED", 12, "10.0.0.1:7001")),
        ("TRYAGAIN Multiple keys request during rehashing of slot", Redirect("TRYAGAIN", -1, "")),
        ("CLUSTERDOWN Hash slot not served", None),
        ("unknown command", None),
    ],
)
def test_a_refusal_is_parsed(error: str, redirect: Redirect | None) -> None:
    assert redirect_of(ResponseError(error), A) == redirect


def test_an_ipv6_address_is_put_in_brackets() -> None:
    assert place_of(b"::1", 7000, A) == "[::1]:7000"
