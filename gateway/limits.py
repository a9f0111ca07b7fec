"""What a client may send: how large a body is, how long it may take, and what JSON in it may look like."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_core import from_json
from starlette.requests import Request

from gateway.errors import BodyTimeout, MediaTypeUnsupported
from shared.errors import BodyTooLarge, RequestInvalid

BODY_DEADLINE_S = 30.0


async def read_json(request: Request, max_bytes: int) -> Any:
    """The JSON value of a body. Refuses another media type, a body too large or too slow, and what is no JSON."""
    _check_media_type(request)
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            body = await _read(request, max_bytes)
    except TimeoutError:
        raise BodyTimeout from None
    return parse_json(body)


def parse_json(body: bytes) -> Any:
    """Parse strict JSON: UTF-8 without a byte order mark, no lone surrogate, no NaN, nested at most 200 deep."""
    try:
        return from_json(body, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        raise RequestInvalid("body", f"must be JSON in UTF-8 ({error})") from None


def _check_media_type(request: Request) -> None:
    media_type, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    charset = parameters.partition("charset=")[2].strip(' "')
    if media_type.strip() != "application/json" or charset not in ("", "utf-8", "utf8"):
        raise MediaTypeUnsupported


async def _read(request: Request, max_bytes: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"At most {max_bytes} bytes are allowed")
