"""Taking over an agent that records steps: what was finished stays in the log and is not emitted again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import orjson
import pytest
from holdfast.gateway.stream.compaction import Compactor
from holdfast.shared.errors import LogFull
from holdfast.shared.ids import ORIGIN, EventId, parse_id
from holdfast.shared.keys import session_keys
from holdfast.shared.log.conversation import Fold
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.log_writer import LogWriter
from holdfast.worker import Run
from holdfast.worker.attempt.thread_run import ThreadRun

from tests.support.workers import Client, worker_on

Agent = Callable[..., Any]


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


class Cut:
    """Where attempts end: each stays at its place until its worker gives the job back."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.calls: list[str] = []

    async def at(self, run: Run, attempt: int = 1) -> None:
        """Stay here for ever in this attempt."""
        if run.attempt == attempt:
            await run.flush()
            self.reached.set()
            await asyncio.Event().wait()

    async def call(self, name: str) -> str:
        """A step that counts how often it was run."""
        self.calls.append(name)
        return f"{name} {len(self.calls)}"


@pytest.fixture
def cut() -> Cut:
    return Cut()


async def run_through(redis_url: str, client: Client, cut: Cut, *agents: Agent, attempts: int = 2, **job: Any) -> None:
    """Run a job of the first agent to its end. Each of its attempts has a worker of its own, that offers the agent of
    its number, or the last."""
    name = agents[0].__name__
    for number in range(attempts):
        offered = agents[min(number, len(agents) - 1)]
        offered.__name__ = name
        async with worker_on(redis_url, [offered]):
            if not number:
                await client.offered(name)
                await client.post(agent=name, **job)
            if number == attempts - 1:
                await client.end()
            else:
                await asyncio.wait_for(cut.reached.wait(), 30)
                cut.reached.clear()


async def checked(client: Client) -> list[dict[str, Any]]:
    """The events that count, once everybody agrees on them: viewers, conversation, and the record of the job."""
    kept = await client.kept()
    discards = await client.log.discards("s", "j1")
    found = [
        entry
        for entry in await client.entries()
        if not any(discard.first <= entry.id < discard.started for discard in discards)
    ]
    assert [str(entry.id) for entry in found] == [event["id"] for event in kept]
    assert_no_merged_delta_spans_a_discard(await client.entries())
    fold = Fold("j1", "hi")
    for entry in found:
        fold.add(entry.kind, entry.body)
    assert (await client.sessions.messages("s")).messages == fold.messages()
    return kept


def assert_no_merged_delta_spans_a_discard(log: list[Entry]) -> None:
    """A viewer drops by id, whatever it has got as one event before the start that tells it to."""
    for at, entry in enumerate(log):
        discard_from = orjson.loads(entry.body).get("discard_from")
        compactor = Compactor()
        for merged in [*compactor.feed(log[:at]), *compactor.flush()] if discard_from else ():
            first = orjson.loads(merged.body).get("from")
            assert first is None or not parse_id(first) < parse_id(discard_from) <= merged.id


def text(events: list[dict[str, Any]], agent: str | None = None) -> str:
    return "".join(event["text"] for event in events if event["type"] == "text.delta" and event.get("agent") == agent)


def discards(events: list[dict[str, Any]]) -> list[str | None]:
    return [event.get("discard_from") for event in events if event["type"] == "job.started"]


async def test_a_takeover_keeps_what_stands_before_the_last_recorded_step(
    redis_url: str, client: Client, cut: Cut
) -> None:
    async def shop(run: Run) -> list[str]:
        await run.text("Paying. ")
        paid = await run.step("pay", cut.call, "pay")
        await run.text(f"Paid by {paid}. ")
        shipped = await run.step("ship", cut.call, "ship")
        await run.text(f"Attempt {run.attempt} ")
        await cut.at(run)
        await run.text("is done.")
        return [paid, shipped]

    await run_through(redis_url, client, cut, shop)
    events = await client.events()
    second = next(event for event in events if event.get("attempt") == 2)
    ids = [str(entry.id) for entry in await client.entries()]
    assert second["discard_from"] == ids[3]  # the first event after the last step, which emitted nothing itself
    assert cut.calls == ["pay", "ship"]
    kept = await checked(client)
    assert [event["id"] for event in kept[:3]] == ids[:3]
    assert text(kept) == "Paying. Paid by pay 1. Attempt 2 is done."
    assert [event["type"] for event in events].count("text.delta") == 5
    assert (await client.end())["result"] == ["pay 1", "ship 2"]


async def test_an_agent_without_steps_begins_again(redis_url: str, client: Client, cut: Cut) -> None:
    async def plain(run: Run) -> None:
        await run.text("All ")
        await cut.at(run)
        await run.text("again")

    await run_through(redis_url, client, cut, plain)
    kept = await checked(client)
    assert [event["type"] for event in kept] == ["job.started", "text.delta", "text.delta", "job.completed"]
    assert discards(kept) == [str((await client.job()).first)]


async def test_several_takeovers_each_keep_what_the_last_one_finished(redis_url: str, client: Client, cut: Cut) -> None:
    async def climbs(run: Run) -> None:
        for number in range(1, 6):
            await run.text(f"to {number} ")
            await run.step("climb", cut.call, f"climb {number}")
            await run.text("and ")
            await run.status(f"climbed {number}")
            await cut.at(run, attempt=number)

    await run_through(redis_url, client, cut, climbs, attempts=6)
    kept = await checked(client)
    assert cut.calls == [f"climb {number}" for number in range(1, 6)]
    assert text(kept) == "".join(f"to {number} and " for number in range(1, 6))
    assert [event["attempt"] for event in kept if event["type"] == "job.started"] == [1, 2, 3, 4, 5, 6]
    texts = [event for event in await client.events() if event["type"] == "text.delta"]
    assert sum(event["text"].startswith("to") for event in texts) == 5


async def test_an_attempt_that_finishes_nothing_takes_nothing_away(redis_url: str, client: Client, cut: Cut) -> None:
    async def stumbles(run: Run) -> None:
        await run.text("kept ")
        await run.step("step", cut.call, "step")
        await run.text(f"lost {run.attempt} ")
        if run.attempt < 4:
            await cut.at(run, attempt=run.attempt)
        await run.text("end")

    await run_through(redis_url, client, cut, stumbles, attempts=4)
    kept = await checked(client)
    assert text(kept) == "kept lost 4 end"
    assert [event["attempt"] for event in kept if event["type"] == "job.started"] == [1, 4]
    assert cut.calls == ["step"]


async def test_a_delta_behind_a_completed_step_is_not_merged_with_those_before(
    redis_url: str, client: Client, cut: Cut
) -> None:
    async def writes(run: Run) -> None:
        for number in range(3):
            await run.text(f"{number} ")
            await run.text("and ")
            await run.step("step", cut.call, f"{number}")
        await run.text("lost")
        await cut.at(run)
        await run.text("end")

    await run_through(redis_url, client, cut, writes)
    kept = await checked(client)
    assert text(kept) == "0 and 1 and 2 and lostend"
    assert [event["text"] for event in kept if event.get("checkpoint")] == ["1 ", "2 "]


async def test_what_a_step_emits_itself_is_kept_with_it(redis_url: str, client: Client, cut: Cut) -> None:
    async def report(run: Run) -> None:
        async def research(topic: str) -> str:
            async with run.section(topic), run.tool("search", {"q": topic}) as call:
                call.result = await cut.call(topic)
            await asyncio.gather(*(run.agent(name).text(f"{name} on {topic}. ") for name in ("a", "b")))
            await run.usage(10, 1, "m")
            return topic

        for topic in ("one", "two", "three"):
            await run.step("research", research, topic)
            await run.text(f"{topic} is done. ")
            if topic == "two":
                await cut.at(run)

    await run_through(redis_url, client, cut, report)
    kept = await checked(client)
    assert cut.calls == ["one", "two", "three"]
    assert text(kept) == "one is done. two is done. three is done. "
    assert text(kept, "a") == "a on one. a on two. a on three. "
    assert [event["attempt"] for event in await client.events() if event["type"] == "job.started"] == [1, 2]
    assert [event["index"] for event in kept if event["type"] == "section.started"] == [0, 1, 2]
    assert [event["call_id"] for event in kept if event["type"] == "tool.result"] == ["call-0", "call-1", "call-2"]
    assert (await client.job()).usage == {"input_tokens": 30, "output_tokens": 3, "model": "m"}


async def test_usage_is_counted_once(redis_url: str, client: Client, cut: Cut) -> None:
    async def spends(run: Run) -> None:
        await run.usage(1, 1, "m")
        await run.step("step", cut.call, "step")
        await run.usage(10, 10, "m")
        await cut.at(run)

    await run_through(redis_url, client, cut, spends)
    assert (await client.job()).usage == {"input_tokens": 11, "output_tokens": 11, "model": "m"}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text.delta", '{"type":"text.delta","job_id":"j1"}'),
        ("text.delta", '{"type":"no JSON}'),
        ("usage", '{"type":"usage","job_id":"j1"}'),
        ("tool.called", '{"type":"no JSON}'),
        ("text.delta", '{"type":"text.delta","job_id":"j1","text":"a","part":0,"agent":[]}'),
        ("tool.started", '{"type":"tool.started","job_id":"j1","call_id":[],"name":"t"}'),
        ("section.started", '{"type":"section.started","job_id":"j1","title":"t","index":{}}'),
        ("data", '{"type":"data","job_id":"j1","name":"n","value":' + "[" * 300 + "]" * 300 + "}"),
    ],
)
async def test_a_malformed_event_in_the_log_is_passed_over(
    redis_url: str, client: Client, cut: Cut, kind: str, body: str
) -> None:
    """No worker wrote the event, so the agent cannot repeat it. It replaces a status that the agent sent."""

    async def climbs(run: Run) -> None:
        await run.text("one ")
        if run.attempt == 1:
            await run.status("in its place")
        await run.step("a", cut.call, "a")
        if run.attempt == 1:
            await replace(client, "status", kind, body)
        await cut.at(run)
        await run.text("two")

    await run_through(redis_url, client, cut, climbs)
    entries = await client.entries()
    assert [entry.kind for entry in entries].count("job.started") == 2
    assert [entry.body for entry in entries].count(body.encode()) == 1
    [_, answer] = await client.sessions.history("s", "j1")
    assert answer["content"] == "one two"
    assert cut.calls == ["a"]


async def replace(client: Client, kind: str, by_kind: str, body: str) -> None:
    """Replace the log's events of one type by another event."""
    log_key = session_keys("s").log
    commands: list[tuple[Any, ...]] = [("DEL", log_key)]
    for entry_id, fields in await client.log_redis.xrange(log_key):
        written = {f"j1 {by_kind}": body} if f"j1 {kind}".encode() in fields else fields
        commands.append(("XADD", log_key, entry_id, *(part for field in written.items() for part in field)))
    await client.log_redis.transaction(*commands)


async def test_a_text_that_is_split_otherwise_is_the_same_text(redis_url: str, client: Client, cut: Cut) -> None:
    pieces = [["Once upon a", " time ", "the end"], ["Once ", "upon a time the", " end"]]

    async def tells(run: Run) -> None:
        for piece in pieces[run.attempt - 1]:
            await run.text(piece)
        await run.text(".", part=1)
        await run.step("step", cut.call, "step")
        await cut.at(run)

    await run_through(redis_url, client, cut, tells)
    kept = await checked(client)
    assert text(kept) == "Once upon a time the end."
    assert [event["type"] for event in await client.events()].count("text.delta") == 4
    assert discards(kept) == [None, f"{parse_id(kept[0]['id']).epoch}-6"]


@pytest.mark.parametrize("checkpoint", ["tool", "section"])
async def test_a_tool_or_section_may_be_recorded_as_a_step_is(
    redis_url: str, client: Client, cut: Cut, checkpoint: str
) -> None:
    async def writes(run: Run) -> Any:
        if checkpoint == "tool":
            async with run.tool("search", {"q": 1}, checkpoint=True) as call:
                await run.text("Searching. ")
                if not call.done:
                    call.result = await cut.call("search")
            result = call.result
        else:
            async with run.section("Prices", checkpoint=True) as section:
                if not section.done:
                    await run.text("Searching. ")
                    await cut.call("search")
            result = section.done
        await run.text("Found. ")
        await cut.at(run)
        return result

    await run_through(redis_url, client, cut, writes)
    kept = await checked(client)
    assert cut.calls == ["search"]
    assert text(kept) == "Searching. Found. "
    assert (await client.end())["result"] == ("search 1" if checkpoint == "tool" else True)
    kinds = [event["type"] for event in await client.events()]
    assert [kind for kind in kinds if kind.startswith(checkpoint)] == (
        ["tool.started", "tool.called", "tool.result"] if checkpoint == "tool" else ["section.started", "section.ended"]
    )


async def test_a_failed_step_inside_a_recorded_section_emits_nothing_again(
    redis_url: str, client: Client, cut: Cut
) -> None:
    async def writes(run: Run) -> None:
        async def fails() -> None:
            async with run.section("Inside"):
                await run.text("trying ")
                await run.step("nested", run.text, "and trying ")
            raise ValueError("no")

        async with run.section("All", checkpoint=True):
            with suppress(ValueError):
                await run.step("fails", fails)
            with suppress(ValueError):
                async with run.tool("fails", checkpoint=True):
                    await run.text("with a tool ")
                    raise ValueError("no")
            await run.text("in vain ")
        await run.text("after ")
        await cut.at(run)

    await run_through(redis_url, client, cut, writes)
    kept = await checked(client)
    assert text(kept) == "trying and trying with a tool in vain after "
    assert [event["index"] for event in kept if event["type"] == "section.started"] == [0, 1]
    assert [event["call_id"] for event in kept if event["type"] == "tool.failed"] == ["call-0"]


async def test_a_tool_without_checkpoint_is_no_step(redis_url: str, client: Client, cut: Cut) -> None:
    async def writes(run: Run) -> None:
        async with run.tool("search") as call:
            call.result = await cut.call("search")
        await cut.at(run)

    await run_through(redis_url, client, cut, writes)
    assert cut.calls == ["search", "search"]
    assert discards(await checked(client)) == [str((await client.job()).first)]


async def test_sub_agents_side_by_side_are_matched_each_by_itself(redis_url: str, client: Client, cut: Cut) -> None:
    async def panel(run: Run) -> None:
        async def speak(name: str, turn: asyncio.Event, after: asyncio.Event) -> None:
            own = run.agent(name)
            for number in range(3):
                if run.attempt == 1:
                    await turn.wait()
                async with own.section(f"{name} {number}"):
                    await own.text(f"{number} ")
                await own.step("think", cut.call, f"{name} {number}")
                after.set()

        one, two = asyncio.Event(), asyncio.Event()
        one.set()
        await asyncio.gather(speak("a", one, two), speak("b", two, one))
        for name in "ab":
            await run.agent(name).text(f"attempt {run.attempt} ")
        await cut.at(run)

    await run_through(redis_url, client, cut, panel)
    kept = await checked(client)
    assert sorted(cut.calls) == [f"{name} {number}" for name in "ab" for number in range(3)]
    for name in "ab":
        assert text(kept, name) == "0 1 2 attempt 2 "
    indices = [event["index"] for event in kept if event["type"] == "section.started"]
    assert sorted(indices) == list(range(6))
    assert [event["type"] for event in await client.events()].count("section.started") == 6


async def test_steps_side_by_side_of_one_agent_may_complete_in_any_order(
    redis_url: str, client: Client, cut: Cut
) -> None:
    async def gathers(run: Run) -> None:
        others = asyncio.Event()

        async def slow(name: str) -> str:
            if name == "first" and run.attempt == 1:
                await run.step("inner", cut.call, "inner")
                await others.wait()
                await cut.at(run)
            return await cut.call(name)

        async def second_and_third() -> None:
            await asyncio.gather(*(run.step(name, slow, name) for name in ("second", "third")))
            others.set()

        await run.text("All: ")
        await asyncio.gather(run.step("first", slow, "first"), second_and_third())
        await run.text("done")

    await run_through(redis_url, client, cut, gathers)
    kept = await checked(client)
    assert sorted(cut.calls) == ["first", "inner", "second", "third"]
    assert text(kept) == "All: done"
    assert [event["type"] for event in await client.events()].count("text.delta") == 2


@pytest.mark.parametrize("left", [0, 1], ids=["all recorded", "the last one cut"])
async def test_chains_of_steps_side_by_side_may_be_called_in_another_order(
    redis_url: str, client: Client, cut: Cut, left: int
) -> None:
    async def gathers(run: Run) -> None:
        ended = {"a": asyncio.Event(), "b": asyncio.Event()}

        async def work(name: str) -> str:
            if run.attempt == 1 and name == "a 0":
                await ended["b"].wait()
            if name == "a 1" and left:
                await cut.at(run)
            await run.agent(name).text("said ")
            return await cut.call(name)

        async def chain(name: str) -> None:
            for number in range(2):
                await run.step("work", work, f"{name} {number}")
            ended[name].set()

        await run.text("Begin. ")
        await asyncio.gather(chain("a"), chain("b"))
        await cut.at(run)
        await run.text("End.")

    await run_through(redis_url, client, cut, gathers)
    kept = await checked(client)
    assert text(kept) == "Begin. End."
    assert sorted(cut.calls) == ["a 0", "a 1", "b 0", "b 1"]
    assert [event["type"] for event in await client.events()].count("job.started") == 2  # none of them for a divergence


async def test_a_part_of_an_agent_that_is_slow_to_repeat_its_events_is_waited_for(
    redis_url: str, client: Client, cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.worker.attempt.replay.STALL_SECONDS", 0.1)

    async def panel(run: Run) -> None:
        async def fast() -> None:
            await run.agent("fast").text("same ")
            if run.attempt == 2:
                await run.agent("fast").text("new ")

        async def slow() -> None:
            if run.attempt == 2:
                await asyncio.sleep(1)  # ten times as long as an agent is waited for none of whose tasks runs
            await run.agent("slow").text("again ")
            await run.step("mark", cut.call, "mark")

        await asyncio.gather(fast(), slow())
        await cut.at(run)

    await run_through(redis_url, client, cut, panel)
    assert text(await checked(client), "fast") == "same new "
    assert [event["type"] for event in await client.events()].count("job.started") == 2  # none of them for a divergence


async def test_a_synchronous_agent_is_taken_over_at_its_steps_too(redis_url: str, client: Client, cut: Cut) -> None:
    def sync(run: ThreadRun) -> str:
        def pay() -> str:
            run.status("in the step")
            cut.calls.append("pay")
            return "paid"

        run.text("Hello. ")
        paid = run.step("pay", pay)
        with run.section("Rest", checkpoint=True):
            run.text(f"I {paid}. ")
        run.text(f"Attempt {run.attempt}. ")
        ThreadRun._wait(run, cut.at(run._run))
        run.text("End.")
        return str(paid)

    await run_through(redis_url, client, cut, sync)
    kept = await checked(client)
    assert cut.calls == ["pay"]
    assert text(kept) == "Hello. I paid. Attempt 2. End."
    kinds = [event["type"] for event in await client.events()]
    assert (kinds.count("status"), kinds.count("section.started"), kinds.count("section.ended")) == (1, 1, 1)


async def answered(client: Client, value: bytes) -> None:
    await client.until("s", "j1", lambda state: state.status == "waiting")
    found = await client.sessions.answer("s", "j1", None, value)
    if found.lease_owner is None:
        await client.queue.make_ready("s", "j1", found.agent)
    else:
        await client.queue.notify(found.lease_owner, "s")


async def test_a_question_that_stands_before_a_recorded_step_is_seen_once(
    redis_url: str, client: Client, cut: Cut
) -> None:
    async def asks(run: Run) -> list[Any]:
        city = await run.ask("Which city?", {"type": "string"})
        await run.step("book", cut.call, "book")
        await cut.at(run)
        return [city, await run.ask("Sure?")]

    async with worker_on(redis_url, [asks]):
        await client.offered("asks")
        await client.post(agent="asks")
        await answered(client, b'"Rome"')
        await asyncio.wait_for(cut.reached.wait(), 30)
    async with worker_on(redis_url, [asks]):
        await answered(client, b"true")
        assert (await client.end())["result"] == ["Rome", True]
    kinds = [event["type"] for event in await client.events()]
    assert (kinds.count("question.asked"), kinds.count("question.answered")) == (2, 2)
    await checked(client)


async def test_a_question_that_waited_while_its_worker_went_away_is_asked_behind_what_is_kept(
    redis_url: str, client: Client, cut: Cut
) -> None:
    async def asks(run: Run) -> Any:
        await run.text("Let me see. ")
        await run.step("look", cut.call, "look")
        answer = await run.ask("Which city?")
        await run.text(f"To {answer}.")
        return answer

    async with worker_on(redis_url, [asks]):
        await client.offered("asks")
        await client.post(agent="asks")
        await client.until("s", "j1", lambda state: state.status == "waiting")
    async with worker_on(redis_url, [asks]):
        await answered(client, b'"Rome"')
        assert (await client.end())["result"] == "Rome"
    kept = await checked(client)
    assert [event["type"] for event in kept] == [
        "job.started", "text.delta", "job.started", "question.asked", "question.answered", "text.delta",
        "job.completed",
    ]  # fmt: skip
    assert cut.calls == ["look"]


async def test_a_text_that_is_returned_after_a_kept_text_is_the_result_alone(
    redis_url: str, client: Client, cut: Cut
) -> None:
    async def returns(run: Run) -> str:
        await run.step("speak", run.text, "Spoken.")
        await cut.at(run)
        return "Returned."

    await run_through(redis_url, client, cut, returns)
    assert text(await checked(client)) == "Spoken."


async def settled(run: Run) -> None:
    """Emit what the second attempt of the panel below emitted: what that wrote again is kept like anything else."""
    steady, other = run.agent("steady"), run.agent("other")
    await other.text("same ")
    await steady.text("one ")
    await steady.step("think", run.text)
    await steady.text("two three ")
    await steady.step("mark", run.text, "mark")
    await steady.text("four ")
    await other.text("attempt 2 ")
    await run.text("end")


@pytest.fixture
def no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a takeover that waits for nothing wait for longer than a test."""
    monkeypatch.setattr("holdfast.worker.attempt.replay.STALL_SECONDS", 3600.0)


class TestDivergence:
    async def test_from_another_emission_on_everything_is_discarded_and_a_log_line_says_so(
        self, redis_url: str, client: Client, cut: Cut, capsys: pytest.CaptureFixture[str]
    ) -> None:
        async def shop(run: Run) -> list[str]:
            await run.text("Same. ")
            await run.text(f"In attempt {run.attempt}. ")
            await run.status("Paying")
            paid = await run.step("pay", cut.call, "pay")
            await run.text(f"Paid by {paid}. ")
            await cut.at(run)
            return [paid]

        await run_through(redis_url, client, cut, shop)
        kept = await checked(client)
        assert text(kept) == "Same. In attempt 2. Paid by pay 1. "
        assert [event["type"] for event in kept].count("status") == 1
        assert cut.calls == ["pay"]
        epoch = parse_id(kept[0]["id"]).epoch
        starts = [event for event in await client.events() if event["type"] == "job.started"]
        assert [event.get("discard_from") for event in starts] == [None, f"{epoch}-5", f"{epoch}-2"]
        assert [event["attempt"] for event in starts] == [1, 2, 2]
        out = capsys.readouterr().out
        assert "replay diverged" in out
        assert f"discard_from={epoch}-2" in out  # a viewer may have got both texts as one

    async def test_another_step_at_the_same_position_discards_what_follows_it(
        self, redis_url: str, client: Client, cut: Cut
    ) -> None:
        async def shop(run: Run) -> None:
            await run.text("Begin. ")
            await run.step("pay" if run.attempt == 1 else "lend", cut.call, f"in {run.attempt}")
            await run.text("Middle. ")
            await run.step("ship", cut.call, "ship")
            await run.text("End. ")
            await cut.at(run)

        await run_through(redis_url, client, cut, shop)
        kept = await checked(client)
        assert text(kept) == "Begin. Middle. End. "
        assert cut.calls == ["in 1", "ship", "in 2"]
        epoch = parse_id(kept[0]["id"]).epoch
        assert [event.get("discard_from") for event in kept if event["type"] == "job.started"] == [None, f"{epoch}-3"]

    async def test_an_agent_that_returns_before_what_is_kept_discards_the_rest(
        self, redis_url: str, client: Client, cut: Cut
    ) -> None:
        async def shop(run: Run) -> None:
            await run.text("Begin. ")
            if run.attempt == 1:
                await run.text("More. ")
                await run.step("pay", cut.call, "pay")
            await cut.at(run)

        await run_through(redis_url, client, cut, shop)
        assert text(await checked(client)) == "Begin. "

    async def test_an_agent_that_fails_before_what_is_kept_keeps_it(
        self, redis_url: str, client: Client, cut: Cut
    ) -> None:
        async def shop(run: Run) -> None:
            if run.attempt == 2:
                raise ValueError("no database")
            await run.text("Begin. ")
            await run.step("pay", cut.call, "pay")
            await cut.at(run)

        await run_through(redis_url, client, cut, shop)
        assert (await client.end())["type"] == "job.failed"
        assert text(await checked(client)) == "Begin. "

    async def test_a_job_that_is_cancelled_before_what_is_kept_keeps_it(
        self, redis_url: str, client: Client, cut: Cut
    ) -> None:
        async def shop(run: Run) -> None:
            if run.attempt == 2:
                cut.reached.set()
                await asyncio.Event().wait()
            await run.text("Begin. ")
            await run.step("pay", cut.call, "pay")
            await cut.at(run)

        async with worker_on(redis_url, [shop]):
            await client.offered("shop")
            await client.post(agent="shop")
            await asyncio.wait_for(cut.reached.wait(), 30)
            cut.reached.clear()
        async with worker_on(redis_url, [shop]):
            await asyncio.wait_for(cut.reached.wait(), 30)
            await client.cancel()
            assert (await client.end())["type"] == "job.cancelled"
        assert text(await checked(client)) == "Begin. "

    @pytest.mark.usefixtures("no_stall")
    async def test_a_tool_call_instead_of_a_text_is_one_at_once(self, redis_url: str, client: Client, cut: Cut) -> None:
        async def writes(run: Run) -> None:
            if run.attempt == 1:
                await run.text("thinking ")
            async with run.tool("search"):
                await run.text("searching ")
            await run.step("pay", cut.call, "pay")
            await cut.at(run)

        await run_through(redis_url, client, cut, writes)
        assert text(await checked(client)) == "searching "
        assert cut.calls == ["pay"]

    @pytest.mark.usefixtures("no_stall")
    async def test_a_step_that_was_recorded_before_it_in_the_same_attempt_stays_finished(
        self, redis_url: str, client: Client, cut: Cut
    ) -> None:
        async def panel(run: Run) -> None:
            a, b = run.agent("a"), run.agent("b")

            async def think() -> None:
                await b.text("thought ")
                cut.calls.append("think")
                if run.attempt == 1:
                    await run.step("mark", cut.call, "mark")
                await cut.at(run)

            if run.attempt == 1:
                await a.text("attempt 1 ")

            async def outer() -> None:
                await b.step("think", think)

            await b.step("outer", outer)
            await a.text("attempt 2 ")
            await run.step("end", cut.call, "end")
            await cut.at(run, attempt=2)
            await run.text("end")

        await run_through(redis_url, client, cut, panel, attempts=3)
        kept = await checked(client)
        assert (text(kept, "a"), text(kept, "b"), text(kept)) == ("attempt 2 ", "thought ", "end")
        assert cut.calls == ["think", "mark", "think", "end"]
        thoughts = [event for event in await client.events() if event.get("text") == "thought "]
        assert len(thoughts) == 2  # the second time behind the divergence

    @pytest.mark.parametrize("refused", ["rewind", "record"])
    async def test_a_job_that_times_out_while_redis_is_full_ends_and_keeps_what_is_kept(
        self, redis_url: str, client: Client, cut: Cut, monkeypatch: pytest.MonkeyPatch, refused: str
    ) -> None:
        async def full(*_: Any) -> None:
            cut.reached.set()
            raise LogFull

        def shop(run: ThreadRun) -> None:
            if run.attempt == 2 and refused == "record":
                run.agent("other").step("new", list)
            run.text(f"Attempt {run.attempt} ")
            run.step("pay", list)
            ThreadRun._wait(run, cut.at(run._run))

        async with worker_on(redis_url, [shop]):
            await client.offered("shop")
            await client.post(agent="shop", timeout_s=3)
            await asyncio.wait_for(cut.reached.wait(), 30)
            cut.reached.clear()
        monkeypatch.setattr(LogWriter, refused, full)
        async with worker_on(redis_url, [shop]):
            await asyncio.wait_for(cut.reached.wait(), 30)
            assert (await client.end())["error"]["code"] == "timeout"
        kept = await checked(client)
        assert text(kept) == "Attempt 1 "
        assert len(discards(await client.events())) == 2

    async def test_a_recorded_step_behind_a_divergence_is_not_run_again_and_its_events_are_written_again(
        self, redis_url: str, client: Client, cut: Cut
    ) -> None:
        async def shop(run: Run) -> None:
            async def pay() -> None:
                await run.text("(in the step) ")
                async with run.section("Bill"):
                    await cut.call("pay")

            await run.text(f"Attempt {run.attempt} ")
            await run.step("pay", pay)
            if run.attempt < 4:
                await cut.at(run, attempt=run.attempt)
            async with run.section("After"):
                await run.text("end")

        await run_through(redis_url, client, cut, shop, attempts=4)
        kept = await checked(client)
        assert text(kept) == "Attempt 4 (in the step) end"
        assert cut.calls == ["pay"]
        assert [event["index"] for event in kept if event["type"] == "section.started"] == [0, 1]

    @pytest.mark.parametrize("attempts", [2, 3], ids=["two attempts", "three attempts"])
    async def test_what_another_agent_has_emitted_again_behind_it_is_written_again(
        self, redis_url: str, client: Client, cut: Cut, attempts: int
    ) -> None:
        async def panel(run: Run) -> None:
            steady, other = run.agent("steady"), run.agent("other")
            ready = asyncio.Event()

            async def think() -> None:
                await steady.text("thought ")
                await cut.call("think")

            async def speak() -> None:
                await other.text(f"attempt {run.attempt} ")

            async def wait_and_speak() -> None:
                await ready.wait()
                await speak()

            async def speak_steadily() -> None:
                await steady.text("one ")
                await steady.step("think", think)
                await steady.text("two three ")
                await steady.step("mark", cut.call, "mark")
                ready.set()
                await steady.text("four ")  # which no attempt has emitted yet: it waits for what is kept of the other

            await other.text("same ")
            for part in (speak, speak_steadily) if run.attempt == 1 else ():
                await part()
            await cut.at(run)
            await asyncio.gather(speak_steadily(), wait_and_speak())
            await run.step("end", cut.call, "end")
            if attempts == 3:
                await cut.at(run, attempt=2)
            await run.text("end")

        await run_through(redis_url, client, cut, panel, panel, settled, attempts=attempts)
        kept = await checked(client)
        assert text(kept, "other") == "same attempt 2 "
        assert text(kept, "steady") == "one thought two three four "
        assert text(kept) == "end"
        assert cut.calls == ["think", "mark", "end"]
        starts = [event["attempt"] for event in await client.events() if event["type"] == "job.started"]
        assert starts == [1, 2, 2, 3][: attempts + 1]

    async def test_a_log_that_no_longer_has_the_first_events_begins_again_without_repeating_steps(
        self, redis_url: str, client: Client, cut: Cut
    ) -> None:
        async def shop(run: Run) -> None:
            for word in ("One ", "two ", "three "):
                await run.text(word)
            await run.step("pay", cut.call, "pay")
            await cut.at(run)
            await run.text("four ")

        async with worker_on(redis_url, [shop]):
            await client.offered("shop")
            await client.post(agent="shop")
            await asyncio.wait_for(cut.reached.wait(), 30)
        await client.log_redis.xtrim("holdfast:{s}:log", maxlen=1, approximate=False)
        async with worker_on(redis_url, [shop]):
            await client.end()
        found = await client.log.between("s", ORIGIN, EventId(2**53, 0), 1000)
        events = [orjson.loads(entry.body) for entry in found[0]]
        assert [event.get("discard_from") for event in events if event["type"] == "job.started"][-1] == str(
            (await client.job()).first
        )
        assert text(events[-5:]) == "One two three four "
        [*_, message] = (await client.sessions.messages("s")).messages
        assert orjson.loads(message)["content"] == "One two three four "
        assert cut.calls == ["pay"]

    async def test_a_job_that_times_out_behind_a_trimmed_log_ends_so(
        self, redis_url: str, client: Client, cut: Cut, capsys: pytest.CaptureFixture[str]
    ) -> None:
        async def shop(run: Run) -> None:
            if run.attempt == 2:
                await asyncio.Event().wait()
            await run.text("Begin. ")
            await run.status("Paying")
            await run.step("pay", cut.call, "pay")
            await cut.at(run)

        await self.cut_and_trim(redis_url, client, cut, shop, timeout_s=3)
        async with worker_on(redis_url, [shop]):
            assert (await client.end())["error"]["code"] == "timeout"
        assert "delivery failed" not in capsys.readouterr().out

    @pytest.mark.parametrize("first", ["a text", "the step"])
    async def test_events_of_a_step_that_the_log_no_longer_has_are_missed_in_the_conversation(
        self, redis_url: str, client: Client, cut: Cut, capsys: pytest.CaptureFixture[str], first: str
    ) -> None:
        async def shop(run: Run) -> None:
            async def think() -> None:
                await run.text("A long ")
                await run.text("answer. ")

            if first == "a text":
                await run.text("Begin. ")
            await run.step("think", think)
            await run.text("More. ")
            await run.step("pay", cut.call, "pay")
            await cut.at(run)
            await run.text("End.")

        await self.cut_and_trim(redis_url, client, cut, shop, left=2)
        async with worker_on(redis_url, [shop]):
            await client.end()
        [*_, message] = map(orjson.loads, (await client.sessions.messages("s")).messages)
        assert message["content"] == ("Begin. " if first == "a text" else "") + "answer. More. End."
        assert message["truncated"] is True
        assert "events were trimmed" in capsys.readouterr().out

    async def cut_and_trim(
        self, redis_url: str, client: Client, cut: Cut, agent: Agent, left: int = 1, **job: Any
    ) -> None:
        """Run the first attempt, and leave so many events of it."""
        async with worker_on(redis_url, [agent]):
            await client.offered(agent.__name__)
            await client.post(agent=agent.__name__, **job)
            await asyncio.wait_for(cut.reached.wait(), 30)
            cut.reached.clear()
        await client.log_redis.xtrim("holdfast:{s}:log", maxlen=left, approximate=False)
