"""Read request bodies: strict JSON, with limits of time and values, and turns of large ones.

layers/body_limit.py limits their size."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from math import isinf
from typing import Any, NamedTuple, TypeVar

from holdfast.gateway.errors import BodyTimeout, CodingUnsupported, MediaTypeUnsupported
from holdfast.shared.errors import RequestInvalid
from pydantic_core import from_json
from starlette.requests import Request

BODY_DEADLINE_S = 30.0
# A body of this size takes about a millisecond in all.
LARGE_BYTES = 8 * 1024
# Parsed, each takes up to 200 bytes of memory, whatever its size in the body, and CPU time in every check. With this
# limit a body takes at most 10 times its size, or 10 MB if that is more.
MAX_VALUES = 50_000

_SLICE_BYTES = 64 * 1024
_SEPARATORS = b",:[{"
# A Content-Type in lower case (RFC 9110 8.3.1) of JSON in UTF-8; nothing is matched twice.
_NAME = r"[!#$%&'*+.^_`|~0-9a-z-]+"
_PARAMETER = rf"""charset=(?:utf-?8|"utf-?8")|(?!charset=){_NAME}=(?:{_NAME}|"(?:[^"\\]|\\.)*+")"""
_JSON_TYPE = re.compile(rf"application/json(?:[ \t]*+;[ \t]*+(?:{_PARAMETER})?+)*+")

Result = TypeVar("Result")


class CpuSlot:
    """Runs at most one step of one large body per iteration of the event loop, however many bodies arrive at once."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def run(self, size: int, step: Callable[..., Result], *arguments: Any) -> Result:
        """Run one step of the processing of a body and return its result.

        Args:
            size: bytes that the step processes. Steps below LARGE_BYTES run immediately.
        """
        if size < LARGE_BYTES:
            return step(*arguments)
        async with self._lock:
            await asyncio.sleep(0)  # the previous step may have run in this iteration
            return step(*arguments)


class ValueCount:
    """Counts the separators in front of names and values of a JSON text while it arrives.

    For invalid JSON the count is correct up to the first error, where a parser stops."""

    def __init__(self) -> None:
        self.count = 0
        self._in_string = False
        self._escape = b""  # a backslash at the end of the last piece

    @property
    def is_allowed(self) -> bool:
        return self.count <= MAX_VALUES

    def add(self, piece: bytes) -> None:
        """Count the next piece; stops above the limit."""
        for start in range(0, len(piece), _SLICE_BYTES):
            if self.is_allowed:
                self._add(self._escape + piece[start : start + _SLICE_BYTES])

    def _add(self, text: bytes) -> None:
        backslashes = len(text) - len(text.rstrip(b"\\"))
        whole = len(text) - backslashes % 2
        self._escape = text[whole:]
        parts = text[:whole].replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[self._in_string :: 2])
        self.count += len(outside) - len(outside.translate(None, _SEPARATORS))
        self._in_string ^= len(parts) % 2 == 0


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
    if len(given) != 1 or _JSON_TYPE.fullmatch(given[0].strip(" \t").lower()) is None:
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
