"""Programs in JavaScript that use the client library, as processes of Node."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self

from tests.support.node import NODE
from tests.support.process import ROOT, inherited_env

LIBRARY = ROOT / "clients" / "js" / "src" / "index.js"
HEAD = """
import {{ Client, HoldfastError }} from {library};
const given = {given};
const say = (value) => console.log(JSON.stringify(value ?? null));
const until = (session, holds) => new Promise((resolve) => {{
    const stop = session.subscribe((state) => {{ if (holds(state)) {{ setTimeout(() => stop()); resolve(state); }} }});
}});
"""
LINE_SECONDS = 60


class Program:
    """A running program. `say(value)` in it is one `read()` here; `given` has the values of the constructor's call."""

    def __init__(self, source: str, **given: Any) -> None:
        self._source = HEAD.format(library=json.dumps(LIBRARY.as_uri()), given=json.dumps(given)) + source
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        command = [NODE, "--input-type=module", "--eval", self._source]
        self._process = await asyncio.create_subprocess_exec(*command, stdout=pipe, limit=1 << 24, env=inherited_env())
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def read(self) -> Any:
        """The next value that the program says. Fails if it ends before."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), LINE_SECONDS)
        assert line, "the program has ended"
        return json.loads(line)
