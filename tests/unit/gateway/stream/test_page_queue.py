"""Pages of several servers: one that does not answer holds up no viewer of another."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from holdfast.gateway.stream.catch_up import CatchUp
from holdfast.gateway.stream.page_queue import CONCURRENT_READS


def reader(session_id: str) -> Any:
    """A viewer that is catching up."""
    return SimpleNamespace(
        scheduled=False, gone=False, blocked=False, replay=object(), request=SimpleNamespace(session_id=session_id)
    )


async def test_a_server_that_is_frozen_holds_up_no_viewer_of_another(monkeypatch: Any) -> None:
    served = asyncio.Event()

    async def advance(_: CatchUp, viewer: Any) -> None:
        if viewer.request.session_id == "frozen":
            await asyncio.Event().wait()
        viewer.replay = None
        served.set()

    monkeypatch.setattr(CatchUp, "_advance", advance)
    unused = cast("Any", None)
    catch_up = CatchUp(unused, unused, lambda _: None, lambda session_id: session_id, unused)
    for _ in range(2 * CONCURRENT_READS):
        catch_up.add(reader("frozen"))
    catch_up.add(reader("healthy"))
    async with asyncio.timeout(10):
        await served.wait()
    await catch_up.close()
