"""The JavaScript client shows one path of a session whose conversation has branched."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.javascript import Program
from tests.support.paths import Reader, read_by
from tests.support.served import Served


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
async def gateway(redis_url: str, reader: Reader) -> AsyncIterator[Served]:
    async with read_by(reader, redis_url) as gateway:
        yield gateway


TURNS = """
    const session = new Client(given.url).session("s");
    const contents = ({ messages }) => messages.map(({ content }) => content);
    const shown = (expected) => until(session, (state) => {
      const found = JSON.stringify(contents(state)) === JSON.stringify(expected);
      return found && state.messages.at(-1)?.status === "completed";
    });
    const send = (input, options) => session.send(input, { agent: "agent", ...options });
"""


async def test_edits_and_other_answers_replace_what_is_behind_them(gateway: Served, reader: Reader) -> None:
    source = """
        session.subscribe(() => {});
        const one = await send("one");
        await shown(["one", "answer 1"]);
        await send("two");
        await shown(["one", "answer 1", "two", "answer 2"]);
        await session.retry();
        await shown(["one", "answer 1", "two", "answer 3"]);
        const edited = await session.edit(one.job_id, "ONE");
        await shown(["ONE", "answer 4"]);
        await send("three");
        await shown(["ONE", "answer 4", "three", "answer 5"]);
        await send("begin", { after: null });
        await shown(["begin", "answer 6"]);
        await send("four", { after: edited.job_id });
        await shown(["ONE", "answer 4", "four", "answer 7"]);
        const again = new Client(given.url).session("s");
        say([contents(session.state), contents(await until(again, ({ messages }) => messages.length === 4))]);
    """
    async with Program(TURNS + source, url=gateway.url) as program:
        live, reloaded = await program.read()
    assert live == reloaded == ["ONE", "answer 4", "four", "answer 7"]
    assert reader.read == live[:-1]


async def test_a_branch_that_another_client_follows_is_read(gateway: Served) -> None:
    """After a reload its messages are unknown, since the record has those of the newest path only."""
    source = """
        const writer = new Client(given.url).session("s");
        const write = async (input, after) => {
          const { job_id } = await writer.send(input, { agent: "agent", ...(after !== undefined && { after }) });
          await new Client(given.url).read({ session_id: "s", job_id });
          return job_id;
        };
        const one = await write("one");
        const two = await write("two");
        await write("TWO", one);
        session.subscribe(() => {});
        await shown(["one", "answer 1", "TWO", "answer 3"]);
        await write("three", two);
        await shown(["one", "answer 1", "two", "answer 2", "three", "answer 4"]);
        say("shown");
    """
    async with Program(TURNS + source, url=gateway.url) as program:
        assert await program.read() == "shown"
