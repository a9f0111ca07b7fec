"""A dialect without an opening, that leaves out most events: the response begins before its first frame."""

from __future__ import annotations

import pytest
from holdfast.gateway.dialects import registry
from holdfast.gateway.dialects.event_dialect import EventDialect
from holdfast.gateway.stream.viewer import Viewer

from tests.support.log import Session
from tests.support.served import served


class Ends(EventDialect):
    media_type = "text/x-ends"

    def frame(self, event_id: bytes | None, body: bytes) -> bytes:
        return b"end\n" if b'"job.completed"' in body else b""


async def test_a_response_begins_before_its_first_frame(
    redis_url: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "DIALECTS", [Ends()])
    monkeypatch.setattr(Viewer, "ping", lambda _: None)  # a ping begins the response too
    attempt = await session.started("j1")
    async with (
        served(redis_url) as gateway,
        gateway.client.stream("GET", "/v1/sessions/s/events", headers={"Accept": "text/x-ends"}) as response,
    ):
        assert response.status_code == 200
        await session.finish(attempt, 1)
        assert await anext(response.aiter_text()) == "end\n"
