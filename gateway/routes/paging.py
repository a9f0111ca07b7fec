"""Query parameters of paged lists."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Query
from holdfast.gateway.dependencies import known_job
from holdfast.shared.errors import JobUnknown, RequestInvalid

PageLimit = Annotated[int, Query(ge=1, le=100, description="Maximum number of items")]
_Cursor = Annotated[str, Query(description="`next` of the previous page; empty for the first page")]
_ALLOWED = "must be the `next` of another page, unchanged, or be left out for the first page"


_ACTIVITY = re.compile(r"[1-9][0-9]{0,15}")


async def _job_cursor(cursor: _Cursor = "") -> str | None:
    try:
        return known_job(cursor) if cursor else None
    except JobUnknown:
        raise RequestInvalid("cursor", _ALLOWED) from None


JobCursor = Annotated[str | None, Depends(_job_cursor)]


async def _session_cursor(cursor: _Cursor = "") -> int | None:
    if cursor and _ACTIVITY.fullmatch(cursor) is None:
        raise RequestInvalid("cursor", _ALLOWED)
    return int(cursor) if cursor else None


SessionCursor = Annotated[int | None, Depends(_session_cursor)]
