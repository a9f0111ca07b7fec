"""The load generator: publisher and viewers, two C programs controlled by lines on stdin."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench.ledger import InvalidRun, Verdict
from bench.peers.redis import RedisServer
from bench.processes import Child
from bench.programs import program

ARGUMENT, LAST, SESSION, NODE = b"\x1f", b"\x1e", b"\x1d", b"\x1c"
EVENT = b'{"type":"text.delta","job_id":"abcdefghijklmnop","text":"{token} ","part":0}'
SHORT_EVENT = EVENT.replace(
    b"{token} ", b"{short}"
)  # as long as the tokens of a language model, for bytes to be compared
SETTLE_MS = 30_000


@dataclass(frozen=True, slots=True)
class Feed:
    """How events get in. `framing`: resp, http or lines; `templates`: see publish.c, one for each session; `batch`: how
    many events of a session go in together. With `more_ports`, of the other nodes of a cluster, there is a connection
    to each, and each template begins with the number of its connection and NODE."""

    port: int
    framing: str
    templates: Sequence[bytes]
    connections: int = 1
    batch: int = 1
    more_ports: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A running server under test. `server` are the processes whose CPU and memory count as the server's, `nodes` those
    whose CPU counts as that of Redis. `path` is the viewers' request target with {session}."""

    ports: Sequence[int]
    path: str
    feed: Feed
    server: Sequence[Child]
    redis: RedisServer | None = None
    nodes: Sequence[Child] = ()


@dataclass(frozen=True, slots=True)
class Reached:
    """The times in which viewers caught up."""

    count: int
    missing: int
    p50_ms: float
    slowest_ms: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Deliveries:
    """The events that the measured viewers received, and their latencies."""

    events: int
    bytes: int
    seconds: float
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    max_us: float


@dataclass(frozen=True, slots=True)
class Sent:
    """What the publisher sent. `late_ms`: its greatest delay behind the schedule."""

    sent: int
    commands: int
    replies: int
    errors: int
    seconds: float
    answered_seconds: float
    late_ms: float

    def check(self, *, silent: bool) -> None:
        """Raise InvalidRun unless the server accepted all events."""
        if self.errors or (not silent and self.replies != self.commands):
            raise InvalidRun(f"publisher: {self.errors} errors, {self.replies} of {self.commands} answered")


def command(*arguments: bytes) -> bytes:
    """The template of one session's command, from its arguments."""
    return b"".join(argument + ARGUMENT for argument in arguments)


def filled_size(event: bytes) -> int:
    """The size of an event in bytes once the publisher has filled in its token."""
    return len(event.replace(b"{token}", bytes(31)).replace(b"{short}", bytes(5)))


class Viewers:
    """SSE viewers, all in one process."""

    def __init__(self, child: Child, count: int) -> None:
        self.child = child
        self.count = count

    def open(self, first: int, last: int, *, goal: int = 0, pending: int = 256) -> None:
        """Start to connect viewers [first, last), which expect all events from the start."""
        self.child.tell(f"open {first} {last} {goal} {pending}")

    def join(self, first: int, last: int, *, pending: int = 256) -> None:
        """As `open`, but the viewers expect only events from now on."""
        self.child.tell(f"join {first} {last} {pending}")

    def opened(self, first: int, last: int, *, timeout_s: float = 60) -> float:
        """Wait for all responses. Returns the seconds since `open`. Raises InvalidRun if some are missing."""
        answer = orjson.loads(self.child.ask(f"opened {first} {last} {timeout_s * 1000:.0f}"))
        if answer["missing"]:
            raise InvalidRun(f"{answer['missing']} of {answer['count']} viewers got no answer in {timeout_s} s")
        return float(answer["seconds"])

    def drop(self, first: int, last: int) -> None:
        self.child.tell(f"drop {first} {last}")

    def resume(self, first: int, last: int) -> None:
        """Reconnect all at once, each with its own cursor, to catch up with everything published so far."""
        self.child.tell(f"resume {first} {last}")

    def reached(self, first: int, last: int, *, timeout_s: float = 60) -> Reached:
        """Wait until all have caught up. Raises InvalidRun if some never do."""
        answer = Reached(**orjson.loads(self.child.ask(f"reached {first} {last} {timeout_s * 1000:.0f}")))
        if answer.missing:
            raise InvalidRun(f"{answer.missing} viewers were not at their goal after {timeout_s} s")
        return answer

    def measure(self, first: int, last: int) -> None:
        self.child.tell(f"measure {first} {last}")

    def deliveries(self) -> Deliveries:
        return Deliveries(**orjson.loads(self.child.ask("report")))

    def verdict(self, first: int, last: int, *, timeout_ms: int = SETTLE_MS) -> Verdict:
        """Wait until these viewers have all events, then read the counts of all viewers."""
        behind = orjson.loads(self.child.ask(f"settle {first} {last} {timeout_ms}"))["behind"]
        return Verdict(**orjson.loads(self.child.ask("verdict")), behind=behind)


class Publisher:
    """Publishes at a fixed rate, independent of the server (open-loop load)."""

    def __init__(self, child: Child, feed: Feed) -> None:
        self.child = child
        self._feed = feed

    def start(self, rate: float, events: int, *, first: int = 0, last: int | None = None) -> None:
        """Start to publish events to sessions [first, last), `rate` per second; 0: as fast as they are answered."""
        self.child.tell(f"run {rate} {events} {first} {len(self._feed.templates) if last is None else last}")

    def wait(self) -> Sent:
        """Wait until all are sent and answered. Raises InvalidRun if the server refused some."""
        sent = Sent(**orjson.loads(self.child.listen()))
        sent.check(silent=self._feed.framing == "lines")
        return sent


class Load:
    """The generator against one target: `sessions` sessions, `count` viewers spread over them."""

    def __init__(self, target: Target, sessions: int, count: int, folder: Path, core: int | None) -> None:
        self.target = target
        published = folder / "published"
        published.write_bytes(bytes(4 * sessions))
        templates = folder / "templates"
        templates.write_bytes(b"".join(template + SESSION for template in target.feed.templates))
        feed = target.feed
        publish = [
            program("generator/publish.c"),
            ",".join(map(str, (feed.port, *feed.more_ports))),
            feed.connections + len(feed.more_ports),
            feed.framing,
            templates,
            published,
            sessions,
        ]
        outstanding = 0 if feed.framing == "lines" else 10_000
        view = [
            program("generator/viewers.c"),
            ",".join(map(str, target.ports)),
            count,
            sessions,
            published,
            target.path,
        ]
        log = folder / "load.log"
        self._children = [
            Child([str(part) for part in (*publish, feed.batch, outstanding)], log=log, core=core, dialogue=True),
            Child([str(part) for part in view], log=log, core=core, dialogue=True),
        ]
        self.publisher = Publisher(self._children[0], feed)
        self.viewers = Viewers(self._children[1], count)

    def cpu_s(self) -> float:
        return sum(child.cpu_s() for child in self._children)

    def stop(self) -> None:
        for child in self._children:
            child.stop()


@contextlib.contextmanager
def load(target: Target, sessions: int, count: int, folder: Path, core: int | None) -> Iterator[Load]:
    """A load generator that is stopped at the end of the block."""
    running = Load(target, sessions, count, folder, core)
    try:
        yield running
    finally:
        running.stop()


def _redis_of(target: Target) -> Sequence[Child]:
    return () if target.redis is None else (target.redis.child,)


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds at one moment."""

    at: float
    server: float
    redis: float
    load: float

    @classmethod
    def now(cls, running: Load) -> Usage:
        target = running.target
        return cls(
            time.monotonic(),
            sum(child.cpu_s() for child in target.server),
            sum(child.cpu_s() for child in (*_redis_of(target), *target.nodes)),
            running.cpu_s(),
        )

    def since(self, before: Usage) -> Usage:
        return Usage(
            self.at - before.at,
            self.server - before.server,
            self.redis - before.redis,
            self.load - before.load,
        )
