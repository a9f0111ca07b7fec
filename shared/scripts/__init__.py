"""The Lua scripts, one per file. `session.lua` and `queue.lua` are preludes that the scripts of their family share."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.resources import files
from typing import Any

from holdfast.shared.keys import session_keys
from holdfast.shared.log_connections import LogConnections
from holdfast.shared.redis import NoScriptError, Redis, ResponseError
from holdfast.shared.schema import refused

SHEBANG = "#!lua"


def source(name: str, prelude: str | None = None) -> str:
    """Return the text of a script with its prelude inserted after the first line, which must hold the flags."""
    folder = files(__name__)
    text = folder.joinpath(f"{name}.lua").read_text("utf-8")
    common = "" if prelude is None else folder.joinpath(f"{prelude}.lua").read_text("utf-8")
    first, _, rest = text.partition("\n")
    if not first.startswith(SHEBANG):
        raise ValueError(f"{name}.lua does not begin with {SHEBANG}")
    return f"{first}\n{common}\n{rest}"


class Script:
    """A script that is called by its digest, and by its text only where the server does not know it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def on(self, redis: Redis, keys: Sequence[Any], arguments: Sequence[Any] = ()) -> Any:
        """Run the script on this server. Raises RedisError, and SchemaNewer for a session with a newer schema
        version."""
        try:
            return await self._run(redis, keys, arguments)
        except ResponseError as error:
            raise refused(error) from None

    async def _run(self, redis: Redis, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        try:
            return await redis.call("EVALSHA", self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await redis.call("EVAL", self._text, len(keys), *keys, *arguments)


class SessionScript:
    """A script on the keys of one session, which runs on the server that holds them. `when_full`: also at maxmemory,
    although its flags do not allow that."""

    def __init__(self, connections: LogConnections, name: str, *, when_full: bool = False) -> None:
        text = source(name, "session")
        self._script = Script(text.replace(SHEBANG, f"{SHEBANG} flags=allow-oom", 1) if when_full else text)
        self._connections = connections

    async def __call__(self, session_id: str, arguments: Sequence[Any] = ()) -> Any:
        """Run the script. Raises RedisError, SchemaNewer."""
        redis = self._connections.connection_for(session_id).redis
        return await self._script.on(redis, session_keys(session_id), arguments)


def queue_script(redis: Redis, name: str) -> Callable[..., Awaitable[Any]]:
    """Load a script of the queue."""
    return partial(Script(source(f"queue_{name}", "queue")).on, redis)
