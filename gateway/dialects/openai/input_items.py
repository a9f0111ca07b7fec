"""The input of a job as the list of items that OpenAI's clients read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import orjson
from holdfast.gateway.dialects.openai.items import Json
from holdfast.shared.errors import RequestInvalid
from holdfast.shared.log.conversation import content_of, input_messages, is_text
from pydantic import BaseModel, Field


class ListQuery(BaseModel):
    """The query of a list of input items. Other parameters have no effect."""

    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"


def input_list(job: str, given: bytes, query: ListQuery) -> Json:
    """Return a page of the items of an input, which is JSON. Raises RequestInvalid if `after` is none of them.

    Args:
        job: the id of the response without its prefix, see response_ids.py.
    """
    items = list(_items(job, orjson.loads(given)))
    if query.order == "desc":
        items.reverse()
    if query.after is not None:
        items = items[_place(items, query.after) + 1 :]
    page = items[: query.limit]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
    return {"object": "list", "data": page, "has_more": len(items) > len(page), **ends}


def _place(items: list[Json], item_id: str) -> int:
    found = next((index for index, item in enumerate(items) if item["id"] == item_id), None)
    if found is None:
        raise RequestInvalid("after", "must be the id of an item of this list")
    return found


def _items(job: str, given: Any) -> Iterator[Json]:
    messages = input_messages(given, "") or [{"role": "user", "content": content_of(given)}]
    fields = (item for message in messages for item in _items_of(message))
    for index, item in enumerate(fields):
        yield {"id": f"in_{index}_{job}", "status": "completed", **item}


def _items_of(message: Json) -> Iterator[Json]:
    """Return the items of a message, of which a client may have sent any field in any form."""
    role, content = message.get("role"), message.get("content")
    if role == "tool":
        yield {
            "type": "function_call_output",
            "call_id": content_of(message.get("call_id")),
            "output": content_of(content),
        }
        return
    calls = [call for call in _list(message.get("tool_calls")) if isinstance(call, dict)]
    if content or not calls:
        kind = "output_text" if role == "assistant" else "input_text"
        yield {"type": "message", "role": role, "content": _parts(content, kind)}
    for call in calls:
        named = {name: content_of(call.get(name)) for name in ("call_id", "name", "arguments")}
        yield {"type": "function_call", **named}


def _parts(content: Any, kind: str) -> list[Any]:
    """Return the parts of a content, with texts as parts of this kind."""
    if not isinstance(content, list):
        return [_text(content_of(content), kind)]
    return [_text(part["text"], kind) if is_text(part) else part for part in content]


def _text(text: str, kind: str) -> Json:
    return {"type": kind, "text": text, **({"annotations": []} if kind == "output_text" else {})}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
