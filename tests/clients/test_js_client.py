"""The JavaScript client on Node against a real gateway, worker and Redis."""

from __future__ import annotations

from dataclasses import dataclass

import httpx2
import orjson
import pytest
import redis
from holdfast.shared.keys import log_key

from tests.support.javascript import Program
from tests.support.ports import free_port
from tests.support.process import Gateway, Process, Processes, until

TOKENS = 150
COUNT = {"tokens": TOKENS, "interval_ms": 20}
WHOLE = "".join(f"w{number} " for number in range(TOKENS))
SEND = "const session = new Client(given.url).session('s');"


@dataclass
class Stack:
    redis_url: str
    processes: Processes
    gateway: Gateway
    worker: Process

    @property
    def url(self) -> str:
        return self.gateway.url

    def log(self, session_id: str = "s") -> list[tuple[str, dict[str, object]]]:
        """The entries of a session's log."""
        with redis.Redis.from_url(self.redis_url) as client:
            found = client.xrange(log_key(session_id))
        return [(name.decode(), orjson.loads(next(iter(values.values())))) for name, values in found]


@pytest.fixture
async def stack(redis_url: str, processes: Processes) -> Stack:
    gateway = processes.gateway(redis_url, port=free_port())
    worker = processes.worker(redis_url, HOLDFAST_LEASE_SECONDS="1")
    await gateway.until_ready()
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:

        async def offered() -> bool:
            return "scripted" in (await client.get("/v1/agents")).text

        await until(offered)
    return Stack(redis_url, processes, gateway, worker)


async def test_a_session_that_is_watched_before_its_first_job_shows_the_whole_answer(stack: Stack) -> None:
    source = """
        const done = until(session, ({ messages }) => messages.at(-1)?.status === "completed");
        await until(session, ({ connection }) => connection === "live");
        await session.send("count", { agent: "scripted", options: given.count });
        say((await done).messages);
    """
    async with Program(SEND + source, url=stack.url, count=COUNT | {"tools": 1}) as program:
        user, answer = await program.read()
    assert (user["content"], answer["content"]) == ("count", WHOLE)
    assert [part["type"] for part in answer["parts"]] == ["tool", "text"]
    assert answer["parts"][0]["result"] == {"number": 0}


async def test_a_reload_in_the_middle_of_an_answer_shows_the_same_as_no_reload(stack: Stack) -> None:
    source = """
        const ended = ({ messages }) => messages.at(-1)?.status === "completed";
        const first = until(session, ended);
        await session.send("count", { agent: "scripted", options: given.count });
        await until(session, ({ job }) => job?.content.length > 200);
        const second = until(new Client(given.url).session("s"), ended);
        const [whole, reloaded] = (await Promise.all([first, second])).map(({ messages }) => messages);
        await new Promise((resolve) => setTimeout(resolve));
        const third = await until(new Client(given.url).session("s"), ended);
        say([whole, reloaded, third.messages]);
    """
    async with Program(SEND + source, url=stack.url, count=COUNT | {"tools": 1}) as program:
        whole, reloaded, later = await program.read()
    assert whole == reloaded
    assert [message["content"] for message in whole] == ["count", WHOLE] == [message["content"] for message in later]


async def test_a_worker_that_dies_in_the_middle_leaves_no_trace_in_the_text(stack: Stack) -> None:
    source = """
        const done = until(session, ({ messages }) => messages.at(-1)?.status === "completed");
        await session.send("count", { agent: "scripted", options: given.count });
        const { messages } = await done;
        say(messages.at(-1));
    """
    other = stack.processes.worker(stack.redis_url, HOLDFAST_LEASE_SECONDS="1")
    await other.until_output("worker started")
    async with Program(SEND + source, url=stack.url, count=COUNT | {"crash_at": 70}) as program:
        answer = await program.read()
    assert (answer["content"], answer["attempt"]) == (WHOLE, 2)
    assert "".join(part["text"] for part in answer["discarded"]) == "".join(f"w{number} " for number in range(70))


async def test_a_gateway_that_is_replaced_in_the_middle_loses_nothing(stack: Stack) -> None:
    source = """
        const done = until(session, ({ messages }) => messages.at(-1)?.status === "completed");
        const job = await session.send("count", { agent: "scripted", options: given.count });
        await until(session, ({ job }) => job?.content.length > 100);
        say("writing");
        const ids = [];
        for await (const { id } of new Client(given.url).events(job, { raw: true })) ids.push(id);
        say([ids, (await done).messages.at(-1).content]);
    """
    async with Program(SEND + source, url=stack.url, count=COUNT) as program:
        assert await program.read() == "writing"
        stack.gateway.terminate()
        await stack.gateway.wait()
        stack.gateway = stack.processes.gateway(stack.redis_url, port=int(stack.url.rpartition(":")[2]))
        ids, text = await program.read()
    assert text == WHOLE
    assert ids == [event_id for event_id, _ in stack.log()]


async def test_a_question_is_answered_and_the_job_goes_on(stack: Stack) -> None:
    source = """
        const stop = session.subscribe(() => {});
        await session.send("count", { agent: "scripted", options: { tokens: 1, ask: "Sure?" } });
        const { question, job } = await until(session, ({ question }) => question);
        await session.answer("yes");
        const { messages } = await until(session, ({ messages }) => messages.at(-1)?.status === "completed");
        say([question.prompt, job.status, messages.at(-1).parts[0]]);
        stop();
    """
    async with Program(SEND + source, url=stack.url) as program:
        prompt, status, part = await program.read()
    assert (prompt, status, part["state"], part["value"]) == ("Sure?", "waiting", "answered", "yes")


async def test_a_job_is_cancelled_and_its_stream_ends(stack: Stack) -> None:
    source = """
        const client = new Client(given.url);
        const job = await client.send("count", { agent: "scripted", options: given.count });
        const types = [];
        for await (const { type } of client.events(job)) {
            if (types.push(type) === 5) await client.cancel(job);
        }
        say(types.at(-1));
    """
    async with Program(source, url=stack.url, count=COUNT) as program:
        assert await program.read() == "job.cancelled"


async def test_a_deleted_session_ends_for_its_viewers_and_its_id_can_be_used_again(stack: Stack) -> None:
    source = """
        await session.send("count", { agent: "scripted", options: given.count });
        await until(session, ({ job }) => job?.content);
        const deleted = until(session, ({ connection }) => connection === "deleted");
        await session.delete();
        const { connection } = await deleted;
        const other = new Client(given.url).session("s");
        const done = until(other, ({ messages }) => messages.at(-1)?.status === "completed");
        const two = { agent: "scripted", options: { tokens: 2, interval_ms: 0 } };
        while (!(await other.send("again", two).catch(() => null)));
        say([connection, (await done).messages.map(({ content }) => content)]);
    """
    async with Program(SEND + source, url=stack.url, count=COUNT) as program:
        assert await program.read() == ["deleted", ["again", "w0 w1 "]]


async def test_a_job_that_was_lost_with_its_log_is_an_error_and_not_an_end(stack: Stack) -> None:
    source = """
        const client = new Client(given.url);
        const job = await client.send("count", { agent: "scripted", options: given.count });
        let count = 0;
        try {
            for await (const _ of client.events(job)) if (++count === 5) say("reading");
            say("ended");
        } catch (error) {
            say([error instanceof HoldfastError, error.code]);
        }
    """
    async with Program(source, url=stack.url, count=COUNT) as program:
        assert await program.read() == "reading"
        stack.worker.kill()
        with redis.Redis.from_url(stack.redis_url) as client:
            client.flushall()
        stack.gateway.kill()
        stack.gateway = stack.processes.gateway(stack.redis_url, port=int(stack.url.rpartition(":")[2]))
        assert await program.read() == [True, "session_unknown"]
