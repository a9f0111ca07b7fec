"""The golden logs of the client's fold, in a real log: a gateway makes the same messages of them."""

from __future__ import annotations

import orjson
import pytest

from tests.support.golden_conversations import JOB, Golden, golden
from tests.support.log import Session, said


@pytest.mark.parametrize("log", golden(), ids=lambda log: log.name)
async def test_a_gateway_makes_the_messages_of_a_golden_log(session: Session, log: Golden) -> None:
    await session.submit(JOB, input=orjson.dumps(log.events[0][1]["input"]))
    fields = [(event_id, f"{JOB} {body['type']}", orjson.dumps(body)) for event_id, body in log.events]
    commands = [("XADD", session.keys.log, *field) for field in fields]
    await session.redis.transaction(*commands, ("HSET", session.keys.jobs, f"{JOB}:first", log.events[0][0]))
    assert await said(session.sessions) == log.messages
