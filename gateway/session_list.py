"""The list of sessions, newest activity first: the queue server's index, checked against the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import NamedTuple, TypeVar

import structlog
from holdfast.gateway.principal import Principal
from holdfast.shared.errors import DataKeyGone, SessionUnknown, UnreadableHere
from holdfast.shared.owner import public_id
from holdfast.shared.redis.errors import RedisError, is_of_data
from holdfast.shared.session_index import Listed, SessionIndex
from holdfast.shared.sessions import Sessions, SessionSummary
from holdfast.shared.telemetry import Once

logger = structlog.get_logger()

ACCEPTING_US = 60_000_000  # an indexed session may not be in the log yet while its first job is being accepted
SEARCHED = 200  # sessions for one page of a search
CLEAN_SECONDS = 60.0
CLEAN_PAUSE_SECONDS = 0.05
CLEAN_SESSIONS = 100

_Read = TypeVar("_Read")


class Missing(Enum):
    """Why a listed session was not read."""

    GONE = "gone"
    UNREADABLE = "unreadable"


class ListedSession(NamedTuple):
    """A session and the time of its last activity, in µs since 1970, which is its place in the list."""

    summary: SessionSummary
    active_us: int


class SessionsPage(NamedTuple):
    """A page of sessions. `more`: the cursor of the next page; None on the last."""

    sessions: list[ListedSession]
    more: int | None


class SessionList:
    """Reads and cleans the list. Sessions that cannot be read (written by a newer version, or damaged) are left out of
    pages but stay in the index.

    Args:
        retention_s: the minimum time for which a session is kept after its last activity.

    Raises:
        RedisError: by every call, if a server is unavailable.
    """

    def __init__(self, index: SessionIndex, sessions: Sessions, retention_s: int) -> None:
        self._index = index
        self._sessions = sessions
        self._retention_us = retention_s * 1_000_000
        self._cleaned_us = 0
        self._reported = Once()

    async def page(self, caller: Principal, behind_us: int | None, count: int) -> SessionsPage:
        """Return the existing sessions among the next `count` of the caller's in the index. Raises Forbidden."""
        listed, more = await self._listed(caller, behind_us, count)
        return SessionsPage(await self._existing(listed), more)

    async def search(self, caller: Principal, behind_us: int | None, count: int, text: str) -> SessionsPage:
        """Return those sessions among the next SEARCHED of the index whose id or title has the text, in any case; of
        more than `count` the first. Raises Forbidden."""
        listed, more = await self._listed(caller, behind_us, SEARCHED)
        titles = await asyncio.gather(*(self._attempt(self._sessions.title, one.session_id) for one in listed))
        having = [one for one, title in zip(listed, titles, strict=True) if _has(one, title, text.casefold())]
        found = list[ListedSession]()
        while having and len(found) <= count:  # some may not exist: a session is read in full only where it is shown
            wanted = count + 1 - len(found)
            found += await self._existing(having[:wanted])
            having = having[wanted:]
        if len(found) <= count:
            return SessionsPage(found, more)
        return SessionsPage(found[:count], found[count - 1].active_us)

    async def _listed(self, caller: Principal, behind_us: int | None, count: int) -> tuple[list[Listed], int | None]:
        """Return the next `count` of the caller's sessions in the index, and the cursor of the next page. Raises
        Forbidden."""
        caller.check("read")
        if caller.session is not None:
            own = None if caller.session_deleted else await self._index.find(caller.session)
            return [own] if own and (behind_us is None or own.active_us < behind_us) else [], None
        listed = await self._index.newest(caller.owner, behind_us, count + 1)
        return listed[:count], listed[count - 1].active_us if len(listed) > count else None

    async def remove(self, session_id: str) -> None:
        """Remove a session from the index."""
        await self._index.remove(session_id)

    async def clean(self) -> float:
        """Remove some expired sessions from the index. Returns the seconds until the next call."""
        try:
            return await self._clean()
        except RedisError as error:
            logger.warning("cleaning the session list failed; retrying later", error=repr(error))
            return CLEAN_SECONDS

    async def _clean(self) -> float:
        before_us = await self._index.now_us() - self._retention_us
        listed = await self._index.oldest(self._cleaned_us, before_us, CLEAN_SESSIONS)
        await self._summaries(listed)
        if len(listed) < CLEAN_SESSIONS:
            self._cleaned_us = 0
            return CLEAN_SECONDS
        self._cleaned_us = listed[-1].active_us  # sessions with an open job remain: continue after them
        return CLEAN_PAUSE_SECONDS

    async def _existing(self, listed: Sequence[Listed]) -> list[ListedSession]:
        found = await self._summaries(listed)
        return [ListedSession(each, one.active_us) for one, each in found if isinstance(each, SessionSummary)]

    async def _summaries(self, listed: Sequence[Listed]) -> list[tuple[Listed, SessionSummary | Missing]]:
        """Read sessions, and remove those that are gone from the index."""
        summaries = await asyncio.gather(*(self._attempt(self._sessions.summary, one.session_id) for one in listed))
        found = list(zip(listed, summaries, strict=True))
        gone = [one for one, summary in found if summary is Missing.GONE]
        if gone:
            settled_us = await self._index.now_us() - ACCEPTING_US
            await self._index.forget([one for one in gone if one.active_us < settled_us])
        return found

    async def _attempt(self, read: Callable[[str], Awaitable[_Read]], session_id: str) -> _Read | Missing:
        try:
            return await read(session_id)
        except SessionUnknown:
            return Missing.GONE
        except (DataKeyGone, UnreadableHere, ValueError, RedisError) as error:
            if isinstance(error, RedisError) and not is_of_data(error):
                raise
            if self._reported.add(session_id):
                logger.warning("session cannot be read; left out of the list", session_id=session_id, error=repr(error))
            return Missing.UNREADABLE


def _has(listed: Listed, title: str | Missing, text: str) -> bool:
    return text in public_id(listed.session_id).casefold() or (isinstance(title, str) and text in title.casefold())
