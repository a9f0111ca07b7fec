"""Dialects of another protocol: they translate the events of one job, and number their own events from its first one.

The number of an event is a cursor in such a protocol. So it depends on nothing but the log: the job is always read from
its first event, deltas are not merged, and a changed translation is a change of the protocol.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple, cast
from weakref import WeakValueDictionary

import structlog
from holdfast.gateway.dialects.dialect import CUT, END, Frames, State, stream_headers
from holdfast.gateway.errors import problem
from holdfast.shared.errors import LogUnavailable
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.event_log import Gap
from starlette.responses import Response

logger = structlog.get_logger()

Event = Any
"""An event of the other protocol, in the form that `Translation.frame` encodes."""

Translated = tuple[Sequence[Event], Hashable]
"""The events that one entry of the log becomes, and the translation's state after them. The states CUT and END end the
stream."""


class Place(NamedTuple):
    """Where an event of the other protocol stands. `number`: counted from the job's first event, which is 0. `part`:
    counted among the events that the entry with this `id` became. The opening events have the id ORIGIN."""

    number: int
    id: EventId
    part: int


class Translation(ABC):
    """Translates the log of one job. Pure and hashable: equal translations of equal logs have equal bytes."""

    media_type: ClassVar[str] = "text/event-stream; charset=utf-8"
    ping: ClassVar[bytes] = b": ping\n\n"
    after_lost: ClassVar[State] = CUT
    """How a stream ends after the events of `lost`: END if to a client they mean that nothing follows."""

    @property
    def initial(self) -> Hashable:
        """The state before the first entry."""
        return None

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields of a stream, in lower case."""
        return stream_headers(self.media_type)

    @property
    def opening(self) -> Sequence[Event]:
        """The events before the first of the log, which a viewer of a waiting job receives too."""
        return ()

    @abstractmethod
    def translate(self, state: Hashable, entry: Entry) -> Translated:
        """Translate the next entry of the job, or `session.deleted`. Unknown kinds become no events."""

    @abstractmethod
    def lost(self, state: Hashable) -> Sequence[Event]:
        """Return the events for a job of which a part is missing in the log. They are the last ones."""

    @abstractmethod
    def frame(self, event: Event, place: Place) -> bytes: ...

    @abstractmethod
    def received(self, event: Event, place: Place, cursor: Hashable) -> bool:
        """Return whether a client with this cursor has received the event."""

    def closing(self, retry_ms: int) -> bytes | None:
        """As Dialect.closing."""
        return None


class _Progress(NamedTuple):
    """How far a viewer is. `next`: the number of the next event. `cursor`: what the client had received when it
    connected; None once it has received more."""

    state: Hashable
    next: int
    cursor: Hashable


# As shared.ids.new_id.
_new_place: Callable[[Iterable[Any]], Place] = partial(cast("Any", tuple.__new__), Place)
_new_progress: Callable[[Iterable[Any]], _Progress] = partial(cast("Any", tuple.__new__), _Progress)


# One of all equal translations. They are compared for each viewer and write, and by identity that takes no time.
_representatives: WeakValueDictionary[Translation, Translation] = WeakValueDictionary()


@dataclass(frozen=True, eq=False)
class Numbered:
    """The Dialect of a translation, for a client that has received the events up to `cursor`; None: no events.

    Viewers of one job that have passed their cursors are in the same state, and share their frames."""

    translation: Translation
    cursor: Hashable = None
    _representative: Translation = field(init=False, repr=False)

    def __post_init__(self) -> None:
        representative = _representatives.setdefault(self.translation, self.translation)
        object.__setattr__(self, "_representative", representative)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Numbered) and self._representative is other._representative

    def __hash__(self) -> int:
        return hash(self._representative)

    @property
    def headers(self) -> Mapping[str, str]:
        return self.translation.headers

    @property
    def initial_state(self) -> State:
        return self._opened()[1]

    @property
    def opening(self) -> bytes:
        return self._opened()[0] or self.ping

    @property
    def ping(self) -> bytes:
        return self.translation.ping

    def frames(self, state: State, entries: Sequence[Entry]) -> Frames:
        frames: list[bytes] = []
        for entry in entries:
            if state is CUT or state is END:
                break
            assert isinstance(state, _Progress)
            progress, number, cursor = state
            try:
                events, after = self.translation.translate(progress, entry)
            except Exception:  # raised, it would end the delivery to all other viewers
                logger.exception("translating an event failed; stream cut", job_id=entry.job_id)
                return b"".join(frames), CUT
            if cursor is None and len(events) == 1:  # the common case of live delivery
                frames.append(self.translation.frame(events[0], _new_place((number, entry.id, 0))))
            elif events:
                data, cursor = self._framed(events, entry.id, number, cursor)
                frames.append(data)
            over = after is CUT or after is END
            state = after if over else _new_progress((after, number + len(events), cursor))
        return frames[0] if len(frames) == 1 else b"".join(frames), state

    def gap(self, state: State, gap: Gap) -> Frames:
        """End the stream: later events would have no place in it."""
        if state is CUT or state is END or gap.foreign is not None:  # a foreign entry is no event of the job
            return b"", state
        assert isinstance(state, _Progress)
        events = self.translation.lost(state.state)
        return self._framed(events, ORIGIN, state.next, None)[0], self.translation.after_lost

    def queued(self, job_id: str, position: int) -> bytes:
        return b""

    def ticket(self, event: bytes) -> bytes:
        return b""

    def cursor_only(self, cursor: EventId) -> bytes:
        return b""

    def ping_event(self, cursor: EventId) -> bytes:
        return self.ping

    def closing(self, retry_ms: int) -> bytes | None:
        return self.translation.closing(retry_ms)

    def refusal(self, retry_ms: int) -> Response:
        """Not in the form of the protocol: `stream_job` has refused before."""
        return problem(LogUnavailable())

    def _opened(self) -> Frames:
        events = self.translation.opening
        data, cursor = self._framed(events, ORIGIN, 0, self.cursor)
        return data, _Progress(self.translation.initial, len(events), cursor)

    def _framed(
        self, events: Sequence[Event], event_id: EventId, number: int, cursor: Hashable
    ) -> tuple[bytes, Hashable]:
        """Return the frames of the events that one entry became, without those that the client has received, and its
        cursor after them. `number`: of the first one."""
        translation, frames = self.translation, []
        for part, event in enumerate(events):
            place = Place(number + part, event_id, part)
            if cursor is not None:
                if translation.received(event, place, cursor):
                    continue
                cursor = None
            frames.append(translation.frame(event, place))
        return b"".join(frames), cursor
