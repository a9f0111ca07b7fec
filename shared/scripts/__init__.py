"""The Lua scripts, one per file. `session.lua` and `queue.lua` are preludes that the scripts of their family share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

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

    def __init__(self, redis: Redis, text: str) -> None:
        self._redis = redis
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[Any], arguments: Sequence[Any] = ()) -> Any:
        """Run the script. Raises RedisError, and SchemaNewer for a session with a newer schema version."""
        try:
            return await self._run(keys, arguments)
        except ResponseError as error:
            raise refused(error) from None

    async def _run(self, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        try:
            return await self._redis.call("EVALSHA", self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await self._redis.call("EVAL", self._text, len(keys), *keys, *arguments)


def script(redis: Redis, name: str, prelude: str, *, when_full: bool = False) -> Script:
    """Load a script of this folder. `when_full`: let it run at maxmemory although its flags do not."""
    text = source(name, prelude)
    if when_full:
        text = text.replace(SHEBANG, f"{SHEBANG} flags=allow-oom", 1)
    return Script(redis, text)
