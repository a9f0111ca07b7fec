"""The opening handshake of a WebSocket (RFC 6455, section 4.2). Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from hashlib import sha1

from holdfast.gateway.errors import RequestMalformed, UpgradeRequired
from holdfast.gateway.transports.request_head import HeaderFields
from starlette.types import Scope

SUBPROTOCOL = b"holdfast.v1"
_VERSION = b"13"
_KEY_BYTES = 16
_OF_A_BODY = frozenset({b"content-length", b"transfer-encoding"})
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def offers_websocket(scope: Scope) -> bool:
    """Return whether a request offers to continue as a WebSocket, and has no body."""
    fields: HeaderFields = scope["headers"]
    if scope["method"] != "GET" or scope["http_version"] != "1.1" or any(name in _OF_A_BODY for name, _ in fields):
        return False
    return b"websocket" in _tokens(fields, b"upgrade") and b"upgrade" in _tokens(fields, b"connection")


def accepting_fields(fields: HeaderFields) -> bytes:
    """Return the header fields that accept a handshake, each ended by CRLF. No extension is accepted.

    Raises UpgradeRequired for another version of the protocol, RequestMalformed for an invalid key."""
    if _values(fields, b"sec-websocket-version") != [_VERSION]:
        raise UpgradeRequired
    answered = b"upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: %b\r\n" % _accept(
        _values(fields, b"sec-websocket-key")
    )
    if SUBPROTOCOL in _listed(fields, b"sec-websocket-protocol"):
        answered += b"sec-websocket-protocol: %b\r\n" % SUBPROTOCOL
    return answered


def _accept(keys: Sequence[bytes]) -> bytes:
    try:
        valid = len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == _KEY_BYTES
    except binascii.Error:
        valid = False
    if not valid:
        raise RequestMalformed("Sec-WebSocket-Key must be one field with 16 bytes in base64")
    return base64.b64encode(sha1(keys[0] + _GUID, usedforsecurity=False).digest())


def _values(fields: HeaderFields, name: bytes) -> list[bytes]:
    return [value.strip() for given, value in fields if given == name]


def _tokens(fields: HeaderFields, name: bytes) -> list[bytes]:
    return [token.lower() for token in _listed(fields, name)]


def _listed(fields: HeaderFields, name: bytes) -> list[bytes]:
    return [token.strip() for token in b",".join(_values(fields, name)).split(b",")]
