from __future__ import annotations

import asyncio

from shared.event_log import QUESTIONS, EventLog


class Server:
    """A client whose server answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[list[bytes | None]]] = []

    async def execute_command(self, *_command: object) -> list[bytes | None]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]


async def test_of_those_who_all_come_at_once_a_few_get_their_answer_at_a_time() -> None:
    server = Server()
    log = EventLog(server)
    asking = [asyncio.create_task(log.exists(f"s{number}")) for number in range(3 * QUESTIONS)]
    answered = 0
    while answered < len(asking):
        await asyncio.sleep(0)
        assert len(server.asked) - answered <= QUESTIONS
        for asked in server.asked[answered:]:
            asked.set_result([b"1", None])
            answered += 1
    assert all([await task for task in asking])
