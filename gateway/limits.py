"""Reading request bodies: limits of size and time, and strict JSON."""

from __future__ import annotations

import asyncio
from math import isinf
from typing import Any, NamedTuple

from holdfast.gateway.cpu_slot import CpuSlot
from holdfast.gateway.errors import BodyTimeout, CodingUnsupported, MediaTypeUnsupported
from holdfast.gateway.media_type import parse_media_type
from holdfast.gateway.value_count import MAX_VALUES, ValueCount
from holdfast.shared.errors import RequestInvalid
from pydantic_core import from_json
from starlette.requests import Request

BODY_DEADLINE_S = 30.0


class Body(NamedTuple):
    """The JSON value of a body and its size in bytes."""

    value: Any
    size: int


async def read_json(request: Request, cpu_slot: CpuSlot, *, any_type: bool = False) -> Body:
    """Read and parse a JSON body.

    Args:
        any_type: accept any Content-Type, for clients that send JSON without naming it.

    Raises:
        MediaTypeUnsupported: it is not application/json in UTF-8.
        CodingUnsupported: it is compressed.
        BodyTooLarge: see layers/body_limit.py.
        BodyTimeout: it took longer than BODY_DEADLINE_S.
        RequestInvalid: it is not strict JSON, or has too many values.
    """
    if not any_type:
        _check_media_type(request)
    _check_coding(request)
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            body = await _read(request, cpu_slot)
    except TimeoutError:
        raise BodyTimeout from None
    return Body(await cpu_slot.run(len(body), parse_json, body), len(body))


async def read_message(message: bytes, cpu_slot: CpuSlot) -> Body:
    """Parse a JSON message that has arrived. Raises RequestInvalid: it is not strict JSON, or has too many values."""
    count = ValueCount()
    await cpu_slot.run(len(message), count.add, message)
    _check_count(count)
    return Body(await cpu_slot.run(len(message), parse_json, message), len(message))


def parse_json(body: bytes | bytearray) -> Any:
    """Parse strict JSON: UTF-8 without a byte order mark, no lone surrogate, no NaN, nested at most 200 deep."""
    try:
        value = from_json(body, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        raise RequestInvalid("body", f"must be valid JSON in UTF-8 ({error})") from None
    _check_numbers(value)
    return value


def _check_numbers(value: Any) -> None:
    """Refuse numbers such as 1e999, which the parser reads as infinity."""
    values = [value]
    for each in values:  # the list grows during the loop
        if type(each) is dict:
            values += each.values()
        elif type(each) is list:
            values += each
        elif type(each) is float and isinf(each):
            raise RequestInvalid("body", "numbers must be between -1.8e308 and 1.8e308")


def _check_media_type(request: Request) -> None:
    given = request.headers.getlist("content-type")
    parsed = parse_media_type(given[0]) if len(given) == 1 else None
    if parsed is None or parsed[0] != "application/json":
        raise MediaTypeUnsupported
    if any(name == "charset" and value not in ("utf-8", "utf8") for name, value in parsed[1]):
        raise MediaTypeUnsupported


def _check_coding(request: Request) -> None:
    """Refuse every coding but identity (RFC 9110, 8.4): the body would be parsed as it is."""
    given = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    if any(coding.strip(" \t") not in ("", "identity") for coding in given):
        raise CodingUnsupported


async def _read(request: Request, cpu_slot: CpuSlot) -> bytearray:
    body, count = bytearray(), ValueCount()
    async for piece in request.stream():
        if count.is_allowed:
            await cpu_slot.run(len(piece), count.add, piece)
            body += piece
        else:  # read on to the end: a client that is still sending would miss the response
            body.clear()
    _check_count(count)
    return body


def _check_count(count: ValueCount) -> None:
    if not count.is_allowed:
        raise RequestInvalid("body", f"must have at most {MAX_VALUES} names and values")
