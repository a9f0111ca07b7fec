"""Which addresses a webhook may be delivered to."""

from __future__ import annotations

import pytest
from holdfast.shared.webhooks.addresses import is_allowed, parse_networks

PUBLIC = ["8.8.8.8", "1.1.1.1", "172.15.0.1", "100.63.0.1", "2606:4700::1111", "2a00:1450:4001::200e"]
REFUSED = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.8.9.10"),
    *("169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1"),
    *("192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250"),
    *("240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378::", "2001:2::1"),
    *("2001:10::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254"),
    *("fe80::1", "fe80::1%eth0", "2606:4700::1111%1", "fec0::1", "ff02::1", "ff0e::1"),
    *("", "localhost", "127.1", "2130706433", "0x7f000001", "8.8.8.8/32", "[::1]"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert is_allowed(address, ())


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_allowed(address, ())


def test_a_public_ipv4_address_is_allowed_through_nat64() -> None:
    assert is_allowed("64:ff9b::808:808", ())


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "fd00::5"])
def test_a_private_network_is_allowed_by_the_setting(address: str) -> None:
    assert is_allowed(address, parse_networks("127.0.0.0/8, fd00::/8"))


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "fd00::5%eth0", "fe80::1"])
def test_the_setting_allows_no_other_network(address: str) -> None:
    assert not is_allowed(address, parse_networks("127.0.0.0/8,fd00::/8"))


def test_a_wrong_network_is_named() -> None:
    with pytest.raises(ValueError, match=r"^10\.0\.0\.1/8 is no network"):
        parse_networks("127.0.0.0/8,10.0.0.1/8")
