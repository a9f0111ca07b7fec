"""The stream that a client receives whose resumption is refused for now."""

from __future__ import annotations

import asyncio

import pytest
from holdfast.gateway.dialects.ag_ui import refusal
from holdfast.gateway.dialects.ag_ui.refusal import PauseAndCut
from holdfast.gateway.transports.uvicorn import EXTENSION
from starlette.types import Message


class Connection:
    """A client's connection, whose gateway stops after some pings."""

    def __init__(self, pings: int) -> None:
        self.pings = pings
        self.transport = self
        self.cut = asyncio.Event()

    @property
    def stopping(self) -> bool:
        return self.pings == 0

    def abort(self) -> None:
        self.cut.set()

    async def send(self, message: Message) -> None:
        self.pings -= message["type"] == "http.response.body"

    async def receive(self) -> Message:
        await self.cut.wait()
        return {"type": "http.disconnect"}


async def test_a_pause_sends_pings_and_ends_when_the_gateway_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusal, "PAUSE_S", (0, 0))
    connection = Connection(pings=3)
    scope = {"type": "http", "extensions": {EXTENSION: {"connection": connection}}}
    await PauseAndCut()(scope, connection.receive, connection.send)
    assert connection.stopping
