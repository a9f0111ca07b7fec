"""The JSON of what operators read, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Literal

from holdfast.gateway.routes.schemas import Milliseconds
from pydantic import BaseModel, Field

_Wait = Annotated[float | None, Field(description="Of the waiting job that has been visible longest")]


class WorkerJobAnswer(BaseModel):
    session_id: str
    job_id: str
    tenant: Annotated[str | None, Field(description="Null without authentication")]


class WorkerAnswer(BaseModel):
    worker_id: str
    beat_at: Annotated[Milliseconds | None, Field(description="Latest heartbeat; null for an older version")]
    started_at: Milliseconds | None
    version: str | None
    agents: list[str]
    slots: Annotated[int | None, Field(description="How many jobs it runs at a time")]
    draining: Annotated[bool, Field(description="It takes no further jobs")]
    job_count: int
    jobs: Annotated[list[WorkerJobAnswer], Field(description="The first 100")]


class WorkersAnswer(BaseModel):
    workers: list[WorkerAnswer]
    next: Annotated[str | None, Field(description="The `cursor` of the next page; null on the last one")]


class DrainAnswer(BaseModel):
    worker_id: str
    status: Literal["draining"] = "draining"


class JobCountsAnswer(BaseModel):
    waiting: Annotated[int, Field(description="For a worker")]
    running: int
    asking: Annotated[int, Field(description="For an answer; they take no slot")]
    deferred: Annotated[int, Field(description="Behind another job of their session, or delayed")]


class AgentQueueAnswer(JobCountsAnswer):
    agent: str
    oldest_wait_s: _Wait


class TenantQueueAnswer(BaseModel):
    tenant: str
    open: Annotated[int, Field(description="Jobs that have not ended")]
    running: int


class QueueAnswer(BaseModel):
    agents: list[AgentQueueAnswer]
    tenants: list[TenantQueueAnswer]


class OverviewAnswer(BaseModel):
    at: Milliseconds
    viewers: Annotated[int, Field(description="Of this gateway process")]
    workers: int
    jobs: JobCountsAnswer
    oldest_wait_s: _Wait
    deltas: Annotated[int, Field(description="Deltas in the log, of all workers since their start")]
    attempts: int
    first_tokens: Annotated[int, Field(description="Attempts that have written a delta")]
    first_token_s: Annotated[float, Field(description="Sum of their times to the first delta")]
