"""The primary that sentinels in the test's process name."""

from __future__ import annotations

import asyncio

from holdfast.shared.redis.address import sentinel_address
from holdfast.shared.redis.sentinel import PrimaryWatch

from tests.support.fake_sentinels import fake_sentinels


async def test_an_answer_that_no_call_waited_for_is_not_returned_later() -> None:
    async with fake_sentinels(1) as sentinels:
        address = sentinel_address(sentinels.url)
        assert address is not None
        watch = PrimaryWatch(address)
        others = asyncio.all_tasks()
        call = asyncio.create_task(watch.primary())
        await asyncio.sleep(0)
        under_way = asyncio.all_tasks() - others - {call}
        call.cancel()
        await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        sentinels.name(2)
        assert await watch.primary() == "127.0.0.1:2"
