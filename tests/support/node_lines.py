"""Programs of Node whose output is read while they run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.support.node import NODE
from tests.support.process import inherited_env


async def node_lines(program: Path, **given: Any) -> AsyncIterator[Any]:
    """Iterate over the lines of JSON that a program prints. It is killed when the iteration is left."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        str(program),
        json.dumps(given),
        cwd=program.parent,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
        env=inherited_env(),
    )
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            yield json.loads(line)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
