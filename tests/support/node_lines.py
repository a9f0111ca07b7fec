"""Programs of Node whose output is read while they run."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.support.node import NODE
from tests.support.process import inherited_env


async def started(program: Path, given: str, **options: Any) -> asyncio.subprocess.Process:
    """Start a program in its folder. If the caller is cancelled meanwhile, the process is killed: asyncio leaves it."""
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            NODE,
            str(program),
            given,
            cwd=program.parent,
            stdout=asyncio.subprocess.PIPE,
            env=inherited_env(),
            **options,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await killed(await starting)
        raise


async def killed(process: asyncio.subprocess.Process) -> None:
    """Kill a process, if it has not ended, and wait until it is gone."""
    if process.returncode is None:
        process.kill()
    await process.communicate()


@contextlib.asynccontextmanager
async def node_lines(program: Path, **given: Any) -> AsyncIterator[AsyncIterator[Any]]:
    """Iterate over the lines of JSON that a program prints. It is killed at the end of the block."""
    process = await started(program, json.dumps(given), limit=1 << 24)
    assert process.stdout is not None
    try:
        yield (json.loads(line) async for line in process.stdout)
    finally:
        await killed(process)
