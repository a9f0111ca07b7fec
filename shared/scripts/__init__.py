"""The Lua scripts, one per file, in families. `session` and `queue` have a `prelude.lua` each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from holdfast.shared.keys import session_keys
from holdfast.shared.redis.client import Redis
from holdfast.shared.redis.errors import NoScriptError, ResponseError
from holdfast.shared.schema import refused

if TYPE_CHECKING:
    from holdfast.shared.redis.log_connections import LogConnections  # imports the keyring, which runs a script

SHEBANG = "#!lua"
_FUNCTION = re.compile(r"^(?:--.*\n)*local function (?P<name>\w+)\(.*\n(?:.*\n)*?end\n+", re.MULTILINE)

Send = Callable[..., Awaitable[Any]]


def source(family: str, name: str, *, prelude: bool = True) -> str:
    """Return the text of a script with what it uses of its prelude inserted after the first line, which must hold the
    flags."""
    folder = files(__name__) / family
    text = (folder / f"{name}.lua").read_text("utf-8")
    common = (folder / "prelude.lua").read_text("utf-8") if prelude else ""
    first, _, rest = text.partition("\n")
    if not first.startswith(SHEBANG):
        raise ValueError(f"{family}/{name}.lua does not begin with {SHEBANG}")
    return f"{first}\n{_used(common, rest)}\n{rest}"


def _used(prelude: str, script: str) -> str:
    """Return the prelude without the functions that a script does not use: each takes 0.1 us of every call."""
    for function in reversed([*_FUNCTION.finditer(prelude)]):  # a function uses only those before it
        start, end = function.span()
        if re.search(rf"\b{function['name']}\(", prelude[end:] + script) is None:
            prelude = prelude[:start] + prelude[end:]
    return prelude


class Script:
    """A script that is called by its digest, and by its text only where the server does not know it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, send: Send, keys: Sequence[Any], arguments: Sequence[Any] = ()) -> Any:
        """Run the script by `send`, which sends a command. Raises RedisError, and SchemaNewer for a session of a newer
        schema version."""
        try:
            try:
                return await send("EVALSHA", self._digest, len(keys), *keys, *arguments)
            except NoScriptError:
                return await send("EVAL", self._text, len(keys), *keys, *arguments)
        except ResponseError as error:
            raise refused(error) from None


class SessionScript:
    """A script on the keys of one session, which runs on the server that holds them. `when_full`: also at maxmemory,
    although its flags do not allow that."""

    def __init__(self, connections: LogConnections, name: str, *, when_full: bool = False) -> None:
        text = source("session", name)
        self._script = Script(text.replace(SHEBANG, f"{SHEBANG} flags=allow-oom", 1) if when_full else text)
        self._connections = connections

    async def __call__(self, session_id: str, arguments: Sequence[Any] = ()) -> Any:
        """Run the script. Raises RedisError, SchemaNewer."""
        redis = self._connections.connection_for(session_id).redis
        return await self._script.run(redis.call, session_keys(session_id), arguments)


def queue_script(redis: Redis, name: str) -> Callable[..., Awaitable[Any]]:
    """Load a script of the queue."""
    return partial(Script(source("queue", name)).run, redis.call)
