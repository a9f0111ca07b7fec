"""Items of earlier responses that a client names by their ids, instead of repeating them."""

from __future__ import annotations

from typing import Any

import orjson
from holdfast.gateway.dependencies import State
from holdfast.gateway.dialects.openai.items import Item, Json
from holdfast.gateway.dialects.openai.job_output import ReadLimit, ReadTooLarge, outputs_of
from holdfast.gateway.dialects.openai.known_jobs import job_of, known_to
from holdfast.gateway.dialects.openai.response_ids import JobAddress, ResponseUnknown, parse_item_id
from holdfast.gateway.dialects.openai.response_object import head_of
from holdfast.gateway.dialects.openai.responses import ResponseTranslation
from holdfast.gateway.errors import EventsTrimmed
from holdfast.gateway.limits import Body
from holdfast.gateway.principal import Forbidden, Principal
from holdfast.shared.errors import RequestInvalid
from holdfast.shared.owner import tenant_of

MAX_RESPONSES = 500  # each is read from the log
MAX_READ_BYTES = 32 * 1024 * 1024  # about a second of CPU time for the smallest events, in steps of a page
_UNKNOWN = "there is no such item, or it is not kept any longer"


async def resolved(state: State, caller: Principal, given: Body) -> Body:
    """Return the input of a response with the items that it refers to, as large as both.

    An item that a later attempt discarded stands for nothing. Raises RequestInvalid, RedisError."""
    if not isinstance(given.value, list):
        return given
    wanted = {index: str(item.get("id")) for index, item in enumerate(given.value) if _is_reference(item)}
    if not wanted:
        return given
    places = await state["cpu_slot"].run(given.size, _places, caller, wanted)
    found = await _found(state, places, frozenset(wanted.values()))
    size = sum(found[name].size for name in wanted.values() if name in found)
    _check_size(size, state["settings"].max_body_bytes)
    items = [item if index not in wanted else _value(found, wanted[index]) for index, item in enumerate(given.value)]
    return Body([item for item in items if item is not None], given.size + size)


async def _found(state: State, places: dict[JobAddress, int], names: frozenset[str]) -> dict[str, Body]:
    """Read the items with these names from the outputs of their jobs. Raises RequestInvalid, RedisError."""
    limit, max_bytes = ReadLimit(MAX_READ_BYTES), state["settings"].max_body_bytes
    found: dict[str, Body] = {}
    size = 0
    async with outputs_of(state["log"]).turn(tenant_of(next(iter(places)).session_id)):
        for address, index in places.items():
            for item in await _items(state, address, f"input.{index}.id", limit):
                if item.id in names:
                    value = item.json()
                    found[item.id] = Body(value, len(orjson.dumps(value)))
                    size += found[item.id].size
            _check_size(size, max_bytes)
    return found


def _value(found: dict[str, Body], name: str) -> Json | None:
    return found[name].value if name in found else None


def _is_reference(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "item_reference"


def _places(caller: Principal, wanted: dict[int, str]) -> dict[JobAddress, int]:
    """Return the jobs of these items, each with the index of its first one. Raises RequestInvalid."""
    places: dict[JobAddress, int] = {}
    for index, name in wanted.items():
        try:
            places.setdefault(known_to(caller, parse_item_id(name), "read"), index)
        except (ResponseUnknown, Forbidden):
            raise RequestInvalid(f"input.{index}.id", _UNKNOWN) from None
    if len(places) > MAX_RESPONSES:
        allowed = f"must refer to items of at most {MAX_RESPONSES} responses: continue with previous_response_id"
        raise RequestInvalid("input", allowed)
    return places


async def _items(state: State, address: JobAddress, field: str, limit: ReadLimit) -> list[Item]:
    """Return the items of a response. Raises RequestInvalid, RedisError."""
    try:
        job = await job_of(state, address)
        output = await outputs_of(state["log"]).read(state["log"], job, ResponseTranslation(head_of(job)), limit)
    except (ResponseUnknown, EventsTrimmed):
        raise RequestInvalid(field, _UNKNOWN) from None
    except ReadTooLarge:
        allowed = f"must refer to responses with at most {MAX_READ_BYTES} bytes of events in all"
        raise RequestInvalid(field, f"{allowed}: continue with previous_response_id") from None
    return output.items()


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise RequestInvalid("input", f"must refer to items of at most {limit} bytes in all")
