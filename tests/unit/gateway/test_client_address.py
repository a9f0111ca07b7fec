"""The address of a client, which a header can only set where a trusted proxy sent it."""

from __future__ import annotations

from typing import Any

import pytest
from holdfast.gateway.client_address import client_address, limited_address, parse_networks
from holdfast.gateway.settings import GatewaySettings
from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.settings import read_settings

TRUSTED = parse_networks("10.0.0.0/8, ::1,fd00::/8")


def scope_of(peer: str | None, *forwarded: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    return {"client": None if peer is None else (peer, 1234), "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1 , 10.0.0.9"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1", "10.0.0.9"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.1:5678"], "198.51.100.1"),
        ("::1", ["[2001:db8::1]:5678"], "2001:db8::1"),
        ("::1", ["2001:DB8:0::1"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("::ffff:203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [",,"], "10.0.0.1"),
        ("10.0.0.1", ["\xe9" * 5000], "10.0.0.1"),
        (None, ["198.51.100.1"], ""),
        ("somewhere", ["198.51.100.1"], ""),
    ],
)
def test_the_last_address_of_no_trusted_proxy_counts(peer: str | None, forwarded: list[str], address: str) -> None:
    assert client_address(scope_of(peer, *forwarded), TRUSTED) == address


@pytest.mark.parametrize("forwarded", [["198.51.100.1"], ["10.0.0.9"], ["198.51.100.1, 10.0.0.9"]])
def test_a_peer_that_is_no_trusted_proxy_names_no_other_address(forwarded: list[str]) -> None:
    assert client_address(scope_of("203.0.113.7", *forwarded), TRUSTED) == "203.0.113.7"


def test_without_trusted_proxies_the_header_is_ignored() -> None:
    assert client_address(scope_of("10.0.0.1", "198.51.100.1"), ()) == "10.0.0.1"


def test_an_address_is_found_once_for_each_request() -> None:
    scope = scope_of("203.0.113.7")
    client_address(scope, ())
    scope["client"] = None
    assert client_address(scope, ()) == "203.0.113.7"


@pytest.mark.parametrize(
    ("address", "limited"),
    [("198.51.100.1", "198.51.100.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("", "")],
)
def test_a_network_of_ipv6_counts_as_one_client(address: str, limited: str) -> None:
    assert limited_address(address) == limited


@pytest.mark.parametrize("network", ["10.0.0.1/8", "10.0.0.0/33", "proxy", "*", "10.0.0.0-10.0.0.9"])
def test_what_is_no_network_is_quoted_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch, network: str) -> None:
    monkeypatch.setenv("HOLDFAST_TRUSTED_PROXIES", f"10.0.0.0/8,{network}")
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(GatewaySettings)
    assert f"HOLDFAST_TRUSTED_PROXIES: '{network}' is not a network" in str(raised.value)
