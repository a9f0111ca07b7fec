"""Reads the events of a job, and comes back with its cursor."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlencode

from deploy.scale_check import JOBS_S
from deploy.scale_check.door import Door

WITHOUT_ID = ('"type":"gap"', '"type":"ticket"')


@dataclass(frozen=True)
class Event:
    id: str
    data: str

    @property
    def type(self) -> str:
        return str(json.loads(self.data)["type"])


def parse_events(lines: Iterator[bytes]) -> Iterator[Event]:
    """The events of a stream that have an id and data, those that say that something is missing, and tickets."""
    event_id, data = "", ""
    for line in lines:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "id":
            event_id = value
        elif name == "data":
            data = value
        elif not name and not value:
            if data and (event_id or any(kind in data for kind in WITHOUT_ID)):
                yield Event(event_id, data)
            event_id, data = "", ""


@dataclass
class Viewer:
    """Reads a job's events to their end. With `hops`, it leaves every few events and comes back with its cursor.

    With a ticket, that is all it has to show, and it uses the newest that its streams sent. `refusals`: how many
    connections were answered with 401."""

    door: Door
    path: str
    hops: bool
    ticket: str | None = None
    events: list[Event] = field(default_factory=list)
    gateways: Counter[str] = field(default_factory=Counter)
    renewals: int = 0
    refusals: int = 0
    ended: bool = False

    def run(self) -> None:
        deadline = time.monotonic() + JOBS_S
        while not self.ended and time.monotonic() < deadline:
            try:
                self._visit(random.randint(1, 12) if self.hops else sys.maxsize)  # noqa: S311 - how long it stays
            except (OSError, http.client.HTTPException):
                time.sleep(0.2)

    def _visit(self, most: int) -> None:
        """One connection: read at most so many events, or to the end."""
        connection = self.door.connect()
        with contextlib.closing(connection):
            query = {"raw": "true"} | ({"ticket": self.ticket} if self.ticket else {})
            connection.request("GET", f"{self.path}?{urlencode(query)}", headers=self._headers())
            answer = connection.getresponse()
            self.gateways[answer.headers.get("Holdfast-Gateway", "none")] += 1
            self.ended = answer.status == 204
            if answer.status != 200:
                self.refusals += answer.status == 401
                time.sleep(0.2)
                return
            for _, event in zip(range(most), parse_events(iter(answer.readline, b"")), strict=False):
                self._take(event)

    def _take(self, event: Event) -> None:
        if event.type == "ticket":
            self.ticket = json.loads(event.data)["ticket"]
            self.renewals += 1
        else:
            self.events.append(event)

    def _headers(self) -> dict[str, str]:
        cursor = {"Last-Event-ID": self.events[-1].id} if self.events else {}
        return {"Accept": "text/event-stream"} | cursor
