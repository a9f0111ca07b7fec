"""The calls of a browser to a gateway, other than event streams."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Self
from uuid import uuid4

import httpx2

POLL_S = 0.25
PATIENCE_S = 60.0
BUSY = (429, 503)


class Client:
    """`async with Client(url) as client`. Repeats what a fault prevented, as often as PATIENCE_S allows. Every
    other answer but a success raises httpx2.HTTPStatusError."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        # A connection for each request: one that rests may be closed just when it is used again.
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._http = httpx2.AsyncClient(
            base_url=f"{url}/v1/sessions/", headers=headers, trust_env=False, timeout=30, limits=limits
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def post(self, session_id: str, options: Mapping[str, object]) -> str:
        """Queue a job of the scripted agent. Returns its id."""
        body = {"agent": "scripted", "input": "go", "options": dict(options)}
        return str((await self._ask("POST", f"{session_id}/jobs", body))["job_id"])

    async def ticket(self, session_id: str) -> str:
        """Return a ticket that may read the session for an hour."""
        body = {"expires_in_s": 3600, "renewable": False}
        return str((await self._ask("POST", f"{session_id}/tickets", body))["ticket"])

    async def cancel(self, session_id: str, job_id: str) -> None:
        await self._ask("POST", f"{session_id}/jobs/{job_id}/cancel")

    async def delete(self, session_id: str) -> None:
        try:
            await self._ask("DELETE", session_id)
        except httpx2.HTTPStatusError as error:  # deleted by a call whose answer was lost
            if error.response.status_code != 404:
                raise

    async def answer(self, session_id: str, job_id: str) -> None:
        """Answer the job's question once it asks; not at all when it ends before."""
        while (status := (await self._ask("GET", f"{session_id}/jobs/{job_id}"))["status"]) != "waiting":
            if status in ("completed", "failed", "cancelled"):
                return
            await asyncio.sleep(POLL_S)
        try:
            await self._ask("POST", f"{session_id}/jobs/{job_id}/answer", {"value": "yes"})
        except httpx2.HTTPStatusError as error:  # cancelled between the two
            if error.response.status_code not in (404, 409):
                raise

    async def ended(self, session_id: str) -> None:
        """Wait until the session has no open job."""
        while (await self._ask("GET", session_id))["line"]:  # noqa: ASYNC110 - another process ends them
            await asyncio.sleep(POLL_S)

    async def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        once = {"Idempotency-Key": uuid4().hex}
        async with asyncio.timeout(PATIENCE_S):
            response = await self._http.request(method, path, json=body, headers=once)
            while response.status_code in BUSY:
                await asyncio.sleep(POLL_S)
                response = await self._http.request(method, path, json=body, headers=once)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer
