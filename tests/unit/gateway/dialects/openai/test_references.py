"""What a request may read of the logs of the responses to whose items it refers."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from holdfast.gateway.dialects.openai import references
from holdfast.gateway.dialects.openai.references import resolved
from holdfast.gateway.dialects.openai.response_ids import item_id
from holdfast.gateway.limits import Body, CpuSlot
from holdfast.gateway.principal import Principal
from holdfast.shared.errors import RequestInvalid
from holdfast.shared.ids import EventId
from holdfast.shared.job_record import JobState
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.event_log import Page
from holdfast.shared.owner import Owner

from tests.unit.gateway.dialects.openai.records import EPOCH, record

ANN, BOB, ZOE = Principal(Owner("acme", "ann")), Principal(Owner("acme", "bob")), Principal(Owner("other", "zoe"))


class Log:
    """A log in which the output of each job is "yes". Counts the reads at the same time, in all and of one tenant."""

    def __init__(self) -> None:
        self.reading: list[str] = []
        self.most = self.most_of_tenant = self.reads = 0

    async def read(self, session_id: str, cursor: EventId, count: int) -> Page:
        tenant = session_id.partition("/")[0]
        self.reads += 1
        self.reading.append(tenant)
        self.most = max(self.most, len(self.reading))
        self.most_of_tenant = max(self.most_of_tenant, self.reading.count(tenant))
        for _ in range(10):
            await asyncio.sleep(0)
        self.reading.remove(tenant)
        bodies = [("job.started", {}), ("text.delta", {"text": "yes", "part": 0}), ("job.completed", {})]
        job_id = session_id.rpartition("/")[2].rjust(16, "j")
        return Page(
            [
                Entry(EventId(EPOCH, seq + 1), kind, job_id, orjson.dumps({"type": kind, **fields}), None)
                for seq, (kind, fields) in enumerate(bodies)
            ]
        )


def state(log: Log) -> Any:
    async def job(session_id: str, job_id: str) -> JobState:
        return record(session_id=session_id, job_id=job_id)

    settings = SimpleNamespace(max_body_bytes=100_000)
    return {"log": log, "sessions": SimpleNamespace(job=job), "settings": settings, "cpu_slot": CpuSlot()}


def referring(*sessions: str) -> Body:
    """Return an input with a reference to the output of the job of each session."""
    ids = [item_id("msg", f"{session}{session.rjust(16, 'j')}", EventId(EPOCH, 2), 0) for session in sessions]
    return Body([{"type": "item_reference", "id": name} for name in ids], 100)


async def test_a_reference_is_replaced_by_its_item() -> None:
    found = await resolved(state(Log()), ANN, referring("s1", "s2"))
    assert [item["content"][0]["text"] for item in found.value] == ["yes", "yes"]


async def test_what_a_request_reads_of_logs_is_limited_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "MAX_READ_BYTES", 2_500)  # each of the jobs counts more than 600
    log = Log()
    await resolved(state(log), ANN, referring("s1", "s2"))
    log.reads = 0
    with pytest.raises(RequestInvalid) as refused:
        await resolved(state(log), ANN, referring(*(f"s{number}" for number in range(20))))
    assert refused.value.field == f"input.{log.reads - 1}.id"
    assert "2500 bytes" in str(refused.value)
    assert log.reads < 5


async def test_one_request_of_a_tenant_reads_at_a_time() -> None:
    log = Log()
    shared = state(log)
    callers = [ANN, BOB, ANN, BOB, ZOE]
    await asyncio.gather(*(resolved(shared, caller, referring("s1", "s2")) for caller in callers))
    assert log.most_of_tenant == 1
    assert log.most == 2
