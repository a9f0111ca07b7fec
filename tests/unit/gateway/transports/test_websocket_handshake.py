from __future__ import annotations

from typing import Any

import pytest
from holdfast.gateway.errors import RequestMalformed, UpgradeRequired
from holdfast.gateway.transports.websocket_handshake import accepting_fields, offers_websocket

KEY = (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")  # with its answer in RFC 6455, section 1.3
VERSION = (b"sec-websocket-version", b"13")
OFFER = [(b"connection", b"keep-alive, Upgrade"), (b"upgrade", b"WebSocket")]


def request(**changes: Any) -> dict[str, Any]:
    return {"method": "GET", "http_version": "1.1", "headers": OFFER, **changes}


def test_the_key_of_the_standard_gets_its_answer_and_no_extension_is_accepted() -> None:
    fields = accepting_fields([KEY, VERSION, (b"sec-websocket-extensions", b"permessage-deflate")])
    accept = b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    assert fields == b"upgrade: websocket\r\nconnection: Upgrade\r\n" + accept


@pytest.mark.parametrize("offered", [b"holdfast.v1", b"other, holdfast.v1"])
def test_the_subprotocol_is_chosen_when_it_is_offered(offered: bytes) -> None:
    fields = accepting_fields([KEY, VERSION, (b"sec-websocket-protocol", offered)])
    assert fields.endswith(b"\r\nsec-websocket-protocol: holdfast.v1\r\n")


@pytest.mark.parametrize("offered", [b"holdfast.v2", b"HOLDFAST.v1"])
def test_no_other_subprotocol_is_chosen(offered: bytes) -> None:
    assert b"protocol" not in accepting_fields([KEY, VERSION, (b"sec-websocket-protocol", offered)])


@pytest.mark.parametrize("versions", [[], [b"8"], [b"13", b"13"]])
def test_another_version_is_refused(versions: list[bytes]) -> None:
    with pytest.raises(UpgradeRequired):
        accepting_fields([KEY, *((b"sec-websocket-version", version) for version in versions)])


@pytest.mark.parametrize("keys", [[], [b""], [b"x"], [b"dGhlIHNhbXBsZSBub25j"], [KEY[1], KEY[1]]])
def test_an_invalid_key_is_refused(keys: list[bytes]) -> None:
    with pytest.raises(RequestMalformed, match="Sec-WebSocket-Key"):
        accepting_fields([VERSION, *((b"sec-websocket-key", key) for key in keys)])


def test_http_1_0_offers_nothing() -> None:
    assert not offers_websocket(request(http_version="1.0"))


def test_an_offer_names_the_upgrade_in_both_fields() -> None:
    assert offers_websocket(request())
    assert not offers_websocket(request(headers=OFFER[:1]))
    assert not offers_websocket(request(headers=OFFER[1:]))


@pytest.mark.parametrize("framing", [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")])
def test_a_request_with_a_body_is_no_offer(framing: tuple[bytes, bytes]) -> None:
    assert not offers_websocket(request(headers=[*OFFER, framing]))
    assert not offers_websocket(request(method="POST"))
