"""The Lua scripts, each in a file of its own. `session.lua` and `queue.lua` are the preludes of their family."""

from __future__ import annotations

from importlib.resources import files

from shared.redis import AsyncScript, Redis

SHEBANG = "#!lua"


def source(name: str, prelude: str | None = None) -> str:
    """The text of a script with its prelude put behind the first line, where the server wants the flags."""
    folder = files(__name__)
    text = folder.joinpath(f"{name}.lua").read_text("utf-8")
    common = "" if prelude is None else folder.joinpath(f"{prelude}.lua").read_text("utf-8")
    first, _, rest = text.partition("\n")
    if not first.startswith(SHEBANG):
        raise ValueError(f"{name}.lua does not begin with {SHEBANG}")
    return f"{first}\n{common}\n{rest}"


def script(redis: Redis, name: str, prelude: str, *, when_full: bool = False) -> AsyncScript:
    """A script that sends its digest, and its text only where the server does not know it. `when_full`: it shall run at
    maxmemory, though its own first line does not say so."""
    text = source(name, prelude)
    if when_full:
        text = text.replace(SHEBANG, f"{SHEBANG} flags=allow-oom", 1)
    registered: AsyncScript = redis.register_script(text)
    return registered
