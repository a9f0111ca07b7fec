"""A token from a callback, for requests that go on at the same time."""

from __future__ import annotations

import asyncio
import threading

import httpx
from holdfast.client.auth import AsyncToken, SyncToken


class Issuer:
    """Issues `t1`, `t2`, …; a server that accepts none but the newest."""

    def __init__(self) -> None:
        self.issued = 1
        self.asked = 0

    def token(self) -> str:
        self.asked += 1
        return f"t{self.issued}"

    async def later(self) -> str:
        await asyncio.sleep(0)
        return self.token()

    def respond(self, request: httpx.Request) -> httpx.Response:
        current = request.headers["authorization"] == f"Bearer t{self.issued}"
        return httpx.Response(200 if current else 401)


async def test_requests_that_are_refused_together_renew_the_token_once() -> None:
    issuer = Issuer()
    transport = httpx.MockTransport(issuer.respond)
    async with httpx.AsyncClient(transport=transport, auth=AsyncToken(issuer.later)) as client:
        assert (await client.get("http://gateway.test")).status_code == 200
        issuer.issued = 2
        responses = await asyncio.gather(*(client.get("http://gateway.test") for _ in range(20)))
    assert {response.status_code for response in responses} == {200}
    assert issuer.asked == 2


def test_threads_that_are_refused_together_renew_the_token_once() -> None:
    issuer = Issuer()
    statuses: list[int] = []
    refused = threading.Barrier(8)

    def respond(request: httpx.Request) -> httpx.Response:
        response = issuer.respond(request)
        if response.status_code == 401:
            refused.wait(10)
        return response

    with httpx.Client(transport=httpx.MockTransport(respond), auth=SyncToken(issuer.token)) as client:
        client.get("http://gateway.test")
        issuer.issued = 2
        threads = [
            threading.Thread(target=lambda: statuses.append(client.get("http://gateway.test").status_code))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert statuses == [200] * 8
    assert issuer.asked == 2
