"""A client of Holdfast gateways: submits jobs exactly once and reads events without loss (docs/clients-python.md)."""

from __future__ import annotations

from .client import Client, EventStream, Job
from .conversation import Conversation
from .errors import (
    ArgumentInvalid,
    ClientError,
    JobCancelled,
    JobError,
    JobFailed,
    ProtocolError,
    Refused,
    SessionDeleted,
    Unavailable,
)
from .event import Event
from .requests import JobOptions, StreamOptions
from .result import JobResult
from .sync import SyncClient, SyncEventStream, SyncJob
from .turn import Message

__all__ = [
    "ArgumentInvalid",
    "Client",
    "ClientError",
    "Conversation",
    "Event",
    "EventStream",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobOptions",
    "JobResult",
    "Message",
    "ProtocolError",
    "Refused",
    "SessionDeleted",
    "StreamOptions",
    "SyncClient",
    "SyncEventStream",
    "SyncJob",
    "Unavailable",
]
