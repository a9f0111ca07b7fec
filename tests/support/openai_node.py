"""OpenAI's Node client in its own process."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import Any

from tests.support.node import FOLDER, NODE


async def openai_node(url: str, call: str, **given: Any) -> list[dict[str, Any]]:
    """Make a call of tests/node/openai.mjs at a gateway, and return its lines: `event`s, then `final` or `error`."""
    request = json.dumps({"base": f"{url}/openai/v1", "call": call, **given})
    process = await asyncio.create_subprocess_exec(
        NODE, "openai.mjs", request, cwd=FOLDER, stdout=subprocess.PIPE, limit=1 << 24
    )
    printed, _ = await process.communicate()
    return [json.loads(line) for line in printed.splitlines()]
