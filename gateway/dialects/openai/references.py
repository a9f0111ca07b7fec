"""Items of earlier responses that a client names by their ids, instead of repeating them."""

from __future__ import annotations

from typing import Any

import orjson
from holdfast.gateway.dependencies import State
from holdfast.gateway.dialects.openai.items import Item, Json
from holdfast.gateway.dialects.openai.job_output import outputs_of
from holdfast.gateway.dialects.openai.known_jobs import job_of, known_to
from holdfast.gateway.dialects.openai.response_ids import JobAddress, ResponseUnknown, parse_item_id
from holdfast.gateway.dialects.openai.response_object import head_of
from holdfast.gateway.dialects.openai.responses import ResponseTranslation
from holdfast.gateway.errors import EventsTrimmed
from holdfast.gateway.limits import Body
from holdfast.gateway.principal import Forbidden, Principal
from holdfast.shared.errors import RequestInvalid

MAX_RESPONSES = 500  # each is read from the log
_UNKNOWN = "there is no such item, or it is not kept any longer"


async def resolved(state: State, caller: Principal, given: Body) -> Body:
    """Return the input of a response with the items that it refers to, as large as both.

    An item that a later attempt discarded stands for nothing. Raises RequestInvalid, RedisError."""
    if not isinstance(given.value, list):
        return given
    wanted = {index: str(item.get("id")) for index, item in enumerate(given.value) if _is_reference(item)}
    if not wanted:
        return given
    places, names = _places(caller, wanted), frozenset(wanted.values())
    limit = state["settings"].max_body_bytes
    found: dict[str, Json] = {}
    sizes: dict[str, int] = {}
    for address, index in places.items():
        for item in await _items(state, address, f"input.{index}.id"):
            if item.id in names:
                found[item.id] = item.json()
                sizes[item.id] = len(orjson.dumps(found[item.id]))
        _check_size(sum(sizes.values()), limit)
    size = sum(sizes.get(name, 0) for name in wanted.values())
    _check_size(size, limit)
    items = [found.get(wanted[index]) if index in wanted else item for index, item in enumerate(given.value)]
    return Body([item for item in items if item is not None], given.size + size)


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


async def _items(state: State, address: JobAddress, field: str) -> list[Item]:
    """Return the items of a response. Raises RequestInvalid, RedisError."""
    try:
        job = await job_of(state, address)
        output = await outputs_of(state["log"]).read(state["log"], job, ResponseTranslation(head_of(job)))
    except (ResponseUnknown, EventsTrimmed):
        raise RequestInvalid(field, _UNKNOWN) from None
    return output.items()


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise RequestInvalid("input", f"must refer to items of at most {limit} bytes in all")
