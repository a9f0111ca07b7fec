"""A task that serves several requests has the id of none of them in its log lines."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from holdfast.gateway.authentication.jwks import JwksEndpoint
from holdfast.gateway.errors import AuthenticationUnavailable
from holdfast.gateway.stream.catch_up import CatchUp
from holdfast.gateway.transports.inbox import Inbox
from holdfast.shared.telemetry import REQUEST_ID


async def test_the_fetch_of_an_issuers_keys_is_of_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def fail(*_: object) -> None:
        seen.append(REQUEST_ID.get(None))
        raise httpx.ConnectError("unreachable")

    monkeypatch.setattr(httpx.AsyncClient, "stream", fail)
    endpoint = JwksEndpoint("https://issuer.example/keys")
    REQUEST_ID.set("first")
    with pytest.raises(AuthenticationUnavailable):
        await endpoint.keys()
    await endpoint.aclose()
    assert seen == [None]


async def test_the_answers_of_a_websocket_are_of_no_request() -> None:
    seen: list[str | None] = []

    async def answer(_: bytes) -> bytes:
        seen.append(REQUEST_ID.get(None))
        return b""

    tasks: set[asyncio.Task[None]] = set()
    REQUEST_ID.set("first")
    Inbox(tasks, answer, lambda _: None, lambda: None).add(b"{}")
    await asyncio.gather(*tasks)
    assert seen == [None]


async def test_the_reads_of_a_log_for_all_its_viewers_are_of_no_request() -> None:
    read = asyncio.Event()
    seen: list[str | None] = []

    class Viewer:
        scheduled = False
        replay = None
        request = SimpleNamespace(session_id="s")

        @property
        def gone(self) -> bool:
            if self.scheduled:  # looked up by the task
                seen.append(REQUEST_ID.get(None))
                read.set()
            return self.scheduled

    unused = cast("Any", None)
    catch_up = CatchUp(unused, unused, lambda _: None, lambda _: "", unused)
    REQUEST_ID.set("first")
    catch_up.add(cast("Any", Viewer()))
    await read.wait()
    await catch_up.close()
    assert set(seen) == {None}
