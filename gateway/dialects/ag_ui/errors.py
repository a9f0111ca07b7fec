"""Errors in the form of CopilotKit's runtime, `{"error", "message"}`, with the invalid fields.

AG-UI defines none. `HttpAgent` reads the body of an error as JSON only if it is `application/json`.
"""

from __future__ import annotations

from typing import Any

import orjson
from holdfast.gateway.errors import BodyInvalid, headers_of
from holdfast.shared.errors import CursorInvalid, HoldfastError, RequestInvalid
from starlette.responses import Response

MEDIA_TYPE = "application/json"


def error_response(error: HoldfastError) -> Response:
    """Return an error with the status and headers that it has elsewhere."""
    return Response(orjson.dumps(_content(error)), error.status, headers_of(error), media_type=MEDIA_TYPE)


def _content(error: HoldfastError) -> dict[str, Any]:
    content: dict[str, Any] = {"error": error.code, "message": str(error)}
    if isinstance(error, CursorInvalid):
        content["message"] = "Last-Event-ID must be the id of an event of this stream, such as 1763683200123-2.0"
    if isinstance(error, RequestInvalid):
        content["field"] = error.field
    if isinstance(error, BodyInvalid):
        content["fields"] = [{"field": field, "message": allowed} for field, allowed in error.problems]
    return content
