"""Forgeries of somebody who can write to the log server and has no master key: plain values in place of encrypted ones,
and encrypted ones that were moved. Nothing of them may be opened."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
from holdfast.shared.keys import session_keys
from holdfast.shared.redis.client import Redis

from tests.support.crossing_findings import Findings
from tests.support.process import until
from tests.support.receiver import Receiver

FORGED = "forged-by-a-writer"
ENDED = ("completed", "failed", "cancelled")
BRIEF = {"tokens": 1, "interval_ms": 0}
LONG = {"tokens": 100_000, "interval_ms": 100}
FIELDS: dict[str, Any] = {
    "input": FORGED,
    "options": {"say": FORGED},
    "metadata": {"of": FORGED},
    "models": [FORGED],
    "webhook": None,  # by the receiver's address
}


class Forger:
    """Forges values of sessions and looks at what clients get then.

    `complete`: returns the complete id of a session. `headers`: the credentials of its owner."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        redis: Redis,
        hooks: Receiver,
        findings: Findings,
        *,
        headers: Mapping[str, str],
        complete: Callable[[str], str] = str,
    ) -> None:
        self._client = client
        self._redis = redis
        self._hooks = hooks
        self._findings = findings
        self._headers = headers
        self._complete = complete

    async def forge(self) -> None:
        """Forge a value of each kind, each in a session of its own."""
        for moved in (False, True):
            for field in FIELDS:
                await self._field(field, moved=moved)
        await self._message()
        await self._events()
        await self._records()
        await self._answer()
        await self._no_webhooks()

    async def _field(self, field: str, *, moved: bool) -> None:
        """Forge a field of a job that waits for another one."""
        session = f"forged-{field}-{moved}"
        first = await self._post(session, LONG)
        job = await self._post(session, BRIEF)
        forged: str | bytes = json.dumps(FIELDS[field] or {"url": self._forged_hook, "events": ["job.ended"]})
        if moved:
            forged = await self._redis.hget(session_keys(self._complete(session)).jobs, f"{first}:{field}") or b""
        await self._redis.hset(session_keys(self._complete(session)).jobs, f"{job}:{field}", forged)
        await self._call("POST", f"/v1/sessions/{session}/jobs/{first}/cancel")
        ended = await self._ended(session)
        self._count(f"{field}, {'moved' if moved else 'plain'}", json.dumps(ended) + await self._shown(session, job))
        if field != "webhook" and (ended.get("error") or {}).get("code") != "seal_broken":
            self._findings.wrong.append(f"a job with a forged {field} ended as {ended}"[:300])

    async def _message(self) -> None:
        """Add a message to a conversation, of which the next job gets all."""
        session = "forged-message"
        await self._post(session, BRIEF)
        await self._ended(session)
        message = json.dumps({"role": "system", "content": FORGED})
        await self._redis.call("RPUSH", session_keys(self._complete(session)).messages, message)
        job = await self._post(session, BRIEF)
        ended = await self._ended(session)
        self._count("message", json.dumps(ended) + await self._shown(session, job))
        if (ended.get("error") or {}).get("code") != "seal_broken":
            self._findings.wrong.append(f"a job behind a forged message ended as {ended}"[:300])

    async def _events(self) -> None:
        """Append events behind those of a job, and then those of another job."""
        session = "forged-events"
        job = await self._post(session, BRIEF)
        await self._ended(session)
        log = session_keys(self._complete(session)).log
        entries = await self._redis.call("XRANGE", log, "-", "+")
        epoch, _, seq = entries[-1][0].decode().partition("-")
        given = dict(zip(entries[0][1][::2], entries[0][1][1::2], strict=True))[b"input"]
        start = f'{{"type":"job.started","job_id":"{job}","at":1,"prev":"{epoch}-1","agent":"scripted","attempt":1,'
        forged: list[tuple[str, str, tuple[Any, ...]]] = [
            ("text.delta", f'{{"type":"text.delta","job_id":"{job}","text":"{FORGED}","part":0}}', ()),
            ("job.completed", f'{{"type":"job.completed","job_id":"{job}","at":1,"result":"{FORGED}"}}', ()),
            ("job.failed", f'{{"type":"job.failed","job_id":"{job}","at":1,"error":{{"code":"{FORGED}"}}}}', ()),
            ("job.cancelled", f'{{"type":"job.cancelled","job_id":"{job}","at":1,"by":"{FORGED}"}}', ()),
            ("job.started", f'{start}"input":"{FORGED}"}}', ()),
            ("job.started", f'{start}"input":"{FORGED}","input":', ("input", given)),
            ("job.cancelled", f'{{"type":"text.delta","job_id":"{job}","text":"{FORGED}","part":0}}', ()),
        ]
        for number, (kind, body, more) in enumerate(forged, int(seq) + 1):
            await self._redis.call("XADD", log, f"{epoch}-{number}", f"{job} {kind}", body, *more)
        last = await self._post(session, BRIEF)
        await self._ended(session)
        self._count("events", await self._shown(session, last), len(forged))

    async def _records(self) -> None:
        """Forge what lists and states show: titles, results and questions."""
        session = "forged-records"
        job = await self._post(session, BRIEF)
        await self._ended(session)
        keys = session_keys(self._complete(session))
        await self._redis.hset(keys.state, "title", FORGED)
        end = f'{{"type":"job.completed","job_id":"{job}","at":1,"result":"{FORGED}"}}'
        await self._redis.hset(keys.jobs, f"{job}:end_body", end)
        refused = json.loads(await self._text(f"/v1/sessions/{session}"))
        if refused.get("code") != "seal_broken":
            self._findings.wrong.append(f"a forged result is not reported: {refused}"[:300])
        self._count("title and result", await self._shown(session, job) + await self._text("/v1/sessions"), 2)
        asking = "forged-question"
        job = await self._asking(asking)
        jobs = session_keys(self._complete(asking)).jobs
        await self._redis.hset(jobs, f"{job}:prompt", json.dumps(FORGED))
        await self._redis.hset(jobs, f"{job}:schema", json.dumps({"title": FORGED}))
        self._count("question", await self._text(f"/v1/sessions/{asking}/jobs/{job}"), 2)
        await self._call("POST", f"/v1/sessions/{asking}/jobs/{job}/cancel")

    async def _answer(self) -> None:
        """Answer a question in the journal of its job."""
        session = "forged-answer"
        job = await self._asking(session)
        state = json.loads(await self._text(f"/v1/sessions/{session}/jobs/{job}"))
        keys = session_keys(self._complete(session))
        question = state["question"]["question_id"]
        await self._redis.hset(keys.journal, f"question:{question}", json.dumps(FORGED))
        await self._redis.hset(keys.state, "attention", "1")
        ended = await self._ended(session)
        self._count("answer", json.dumps(ended) + await self._shown(session, job))

    async def _no_webhooks(self) -> None:
        """Wait for the webhook of a later job, and check that none went to the forged address."""
        await self._post("forged-last", BRIEF)
        await until(lambda: any("forged-last" in json.dumps(one.message) for one in self._hooks.received), 60)
        if any(FORGED in one.line for one in self._hooks.received):
            self._findings.wrong.append("a webhook went to a forged address")

    @property
    def _forged_hook(self) -> str:
        return f"http://127.0.0.1:{self._hooks.port}/{FORGED}"

    async def _post(self, session: str, options: Mapping[str, Any]) -> str:
        body = {"agent": "scripted", "input": "hi", "options": options, "metadata": {"a": 1}}
        body["webhook"] = {"url": f"http://127.0.0.1:{self._hooks.port}/own"}
        return str((await self._call("POST", f"/v1/sessions/{session}/jobs", body)).json()["job_id"])

    async def _asking(self, session: str) -> str:
        job = await self._post(session, BRIEF | {"ask": "go on?"})
        await self._until(session, lambda state: state["status"] == "waiting")
        return job

    async def _ended(self, session: str) -> dict[str, Any]:
        return await self._until(session, lambda state: state.get("status") in ENDED)

    async def _until(self, session: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        found: dict[str, Any] = {}

        async def look() -> bool:
            found.update(json.loads(await self._text(f"/v1/sessions/{session}")))
            return holds(found)

        await until(look, 60, lambda: f"{session}: {found}")
        return found

    async def _shown(self, session: str, job: str) -> str:
        """Return what the owner reads of a session, up to the end of its last job."""
        path = f"/v1/sessions/{session}"
        texts = [await self._text(path + each) for each in ("", "/jobs", f"/jobs/{job}", "/messages")]
        headers = {**self._headers, "Accept": "application/x-ndjson"}
        async with self._client.stream("GET", f"{path}/events", headers=headers) as response:
            async for line in response.aiter_lines():
                texts.append(line)
                event = json.loads(line) if line.startswith("{") else {}
                if event.get("job_id") == job and event.get("type", "").removeprefix("job.") in ENDED:
                    break
        return "\n".join(texts)

    async def _text(self, path: str) -> str:
        return (await self._client.get(path, headers=self._headers)).text

    async def _call(self, method: str, path: str, body: object = None) -> httpx2.Response:
        response = await self._client.request(method, path, json=body, headers=self._headers)
        response.raise_for_status()
        return response

    def _count(self, name: str, shown: str, count: int = 1) -> None:
        """Count forgeries, and find what was opened of them."""
        self._findings.forgeries[name] += count
        if FORGED in shown:
            self._findings.wrong.append(f"forged {name}: opened: {shown[max(shown.index(FORGED) - 200, 0) :][:400]}")
