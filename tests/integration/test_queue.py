"""The queue's entries on a real server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from holdfast.shared import keys
from holdfast.shared.errors import AgentUnknown, QueueFull
from holdfast.shared.leases import Leases
from holdfast.shared.offered_agents import OfferedAgents
from holdfast.shared.queue import Queue, QueueEntry, WakeUp
from holdfast.shared.redis.client import Redis, connect
from holdfast.shared.settings import CommonSettings

AGENTS = ["a", "b"]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url, max_connections=32)
    yield client
    await client.aclose()


@pytest.fixture
async def queue(redis: Redis) -> Queue:
    queue = Queue(redis, CommonSettings(queue_limit=1000))
    await OfferedAgents(redis).offer({agent: {"type": "string"} for agent in AGENTS})
    return queue


@pytest.fixture
def leases(redis: Redis) -> Leases:
    return Leases(redis, CommonSettings())


async def one(queue: Queue, worker_id: str = "w1") -> QueueEntry:
    entries = await queue.take(worker_id, AGENTS, 1)
    assert len(entries) == 1
    return entries[0]


async def test_a_ready_job_is_taken_once_however_many_workers_ask(queue: Queue) -> None:
    await queue.make_ready("s", "j", "a")
    taken = await asyncio.gather(*(queue.take(f"w{n}", AGENTS, 5) for n in range(20)))
    assert [entry.id for entries in taken for entry in entries] == ["s/j"]


async def test_the_oldest_ready_job_of_all_offered_agents_comes_first(queue: Queue) -> None:
    for number in range(6):
        await queue.make_ready("s", f"j{number}", "ab"[number % 2])
    assert [entry.job_id for entry in await queue.take("w", AGENTS, 4)] == ["j0", "j1", "j2", "j3"]


async def test_a_worker_takes_only_jobs_of_agents_that_it_offers(queue: Queue) -> None:
    await queue.make_ready("s", "j", "b")
    assert await queue.take("w1", ["a"], 5) == []
    assert [entry.id for entry in await queue.take("w2", ["b"], 5)] == ["s/j"]


async def test_an_agent_that_nobody_offers_is_refused(queue: Queue) -> None:
    with pytest.raises(AgentUnknown):
        await queue.reserve("s", "j", "nobody")
    assert await queue.depth() == 0


async def test_an_agent_is_remembered_for_seven_days(queue: Queue, redis: Redis) -> None:
    assert await OfferedAgents(redis).schemas() == {"a": {"type": "string"}, "b": {"type": "string"}}
    await redis.zincrby(keys.AGENTS_SEEN, -7 * 86_400 * 1_000_000 - 1, "a")
    assert list(await OfferedAgents(redis).schemas()) == ["b"]
    with pytest.raises(AgentUnknown):
        await queue.reserve("s", "j", "a")
    await OfferedAgents(redis).offer({"b": {"type": "string"}})
    assert await redis.zrange(keys.AGENTS_SEEN, 0, -1) == await redis.hkeys(keys.AGENTS) == [b"b"]


async def test_a_full_queue_refuses(redis: Redis) -> None:
    queue = Queue(redis, CommonSettings(queue_limit=1))
    await OfferedAgents(redis).offer({"a": {}})
    await queue.reserve("s", "j1", "a")
    with pytest.raises(QueueFull):
        await queue.reserve("s", "j2", "a")


async def test_a_reserved_job_that_nobody_makes_ready_comes_due_by_itself(queue: Queue, redis: Redis) -> None:
    await queue.reserve("s", "j", "a")
    assert await queue.take("w", AGENTS, 1) == []
    await redis.zincrby(keys.DEFERRED, -5_000_000, "s/j")
    assert (await one(queue)).id == "s/j"


async def test_a_reserved_job_that_was_refused_leaves_nothing(queue: Queue) -> None:
    await queue.reserve("s", "j", "a")
    await queue.discard("s", "j", "a")
    assert await queue.depth() == 0


async def test_making_a_job_ready_twice_makes_one_token(queue: Queue) -> None:
    await queue.reserve("s", "j", "a")
    await queue.make_ready("s", "j", "a")
    await queue.make_ready("s", "j", "a")
    await one(queue)
    assert await queue.take("w2", AGENTS, 5) == []


async def test_a_job_that_became_ready_while_it_was_leased_is_due_at_once_when_it_is_put_back(queue: Queue) -> None:
    await queue.make_ready("s", "j", "a")
    entry = await one(queue)
    await queue.make_ready("s", "j", "a")
    assert await queue.put_back("w1", entry, delivery=1, delay_s=60)
    assert (await one(queue, "w2")).id == "s/j"


async def test_an_entry_that_was_put_back_carries_its_delivery(queue: Queue) -> None:
    await queue.make_ready("s", "j", "a")
    await queue.put_back("w1", await one(queue), delivery=7)
    assert (await one(queue)).delivery == 7


async def test_an_entry_is_put_back_or_dropped_only_by_the_worker_that_leases_it(queue: Queue) -> None:
    await queue.make_ready("s", "j", "a")
    entry = await one(queue, "w1")
    assert not await queue.put_back("w2", entry, delivery=1)
    assert not await queue.drop("w2", entry)
    assert await queue.drop("w1", entry)
    assert await queue.depth() == 0


async def test_a_control_entry_that_is_wanted_again_while_it_is_carried_out_is_not_lost(queue: Queue) -> None:
    await queue.add_control_entry("s")
    entry = await one(queue)
    assert entry.job_id is None
    await queue.add_control_entry("s")
    await queue.drop("w1", entry)
    await queue.drop("w1", await one(queue))
    assert await queue.depth() == 0


async def test_the_earlier_of_two_nudges_counts(queue: Queue) -> None:
    await queue.add_control_entry("s", delay_s=60)
    await queue.add_control_entry("s", delay_s=600)
    await queue.add_control_entry("s")
    assert (await one(queue)).session_id == "s"


async def test_a_takeover_makes_what_the_dead_worker_leased_ready_as_the_next_delivery(
    queue: Queue, leases: Leases
) -> None:
    await queue.make_ready("s", "j", "a")
    await one(queue, "dead")
    count = (await leases.workers())["dead"]
    assert await leases.take_over("dead", count) == 1
    assert (await one(queue, "alive")).delivery == 2
    assert "dead" not in await leases.workers()


async def test_a_takeover_spares_a_worker_whose_heart_has_beaten_since(queue: Queue, leases: Leases) -> None:
    await queue.make_ready("s", "j", "a")
    await one(queue, "slow")
    count = (await leases.workers())["slow"]
    assert await leases.beat("slow") == {"s/j"}
    assert await leases.take_over("slow", count) is None
    assert await queue.take("w2", AGENTS, 1) == []


async def test_only_one_of_several_reapers_takes_over(queue: Queue, leases: Leases) -> None:
    await queue.make_ready("s", "j", "a")
    await one(queue, "dead")
    count = (await leases.workers())["dead"]
    moved = await asyncio.gather(*(leases.take_over("dead", count) for _ in range(10)))
    assert sorted(moved, key=lambda n: n or 0) == [None] * 9 + [1]


async def test_a_worker_whose_entries_were_taken_over_learns_it_from_its_next_heartbeat(
    queue: Queue, leases: Leases
) -> None:
    await queue.make_ready("s", "j", "a")
    await one(queue, "zombie")
    await leases.take_over("zombie", (await leases.workers())["zombie"])
    assert await leases.beat("zombie") == set()


async def test_a_busy_worker_takes_no_wake_up_from_an_idle_one(queue: Queue) -> None:
    await queue.make_ready("s", "j", "a")
    assert await queue.wait("busy", 0.05, idle=False) is None
    assert await queue.wait("idle", 60, idle=True) == WakeUp(None)  # at once: the wake-up is still there


async def test_a_message_names_the_session_that_wants_something(queue: Queue) -> None:
    await queue.notify("w1", "s")
    assert await queue.wait("w1", 60, idle=False) == WakeUp("s")


@pytest.mark.parametrize(
    "payload",
    [
        b"\x80junk",
        b"[1]",
        b'{"t":null,"f":"a","a":[],"k":{},"et":0}',
        b'{"t":1,"f":"a","a":[],"k":{},"et":"soon"}',
        b'{"t":1,"f":"a","a":["\x80"],"k":{},"et":0}',
    ],
)
async def test_a_payload_that_nobody_can_read_still_stands_for_its_job_and_keeps_its_delivery(
    queue: Queue, redis: Redis, payload: bytes
) -> None:
    """Numbers that are none ended every worker that took the entry. And one whose delivery could not be written was
    put back at once, as stale, for ever."""
    await queue.reserve("s", "j", "a")
    await redis.hset(keys.ENTRIES, "s/j", payload)
    await redis.zadd(keys.DEFERRED, {"s/j": 1})
    [entry] = await queue.take("w", ["a"], 1)
    assert (entry.session_id, entry.job_id, entry.delivery) == ("s", "j", 1)
    await queue.put_back("w", entry, delivery=7)
    [entry] = await queue.take("w", ["a"], 1)
    assert (entry.id, entry.delivery) == ("s/j", 7)


async def test_what_waited_too_long_can_be_taken_by_any_worker(redis: Redis, queue: Queue) -> None:
    impatient = Leases(redis, CommonSettings(queue_seconds=1))
    await queue.make_ready("s", "j", "a")
    await redis.zincrby(keys.READY + "a", -2_000_000, "s/j")
    await impatient.sweep()
    assert (await queue.take("w", ["b"], 1))[0].id == "s/j"


@pytest.mark.parametrize("seed", range(3))
async def test_through_random_operations_every_entry_is_in_just_one_place(  # noqa: C901 - a case an operation
    queue: Queue, leases: Leases, redis: Redis, seed: int
) -> None:
    draw = random.Random(seed)
    workers, leased = ["w1", "w2", "w3"], dict[str, tuple[str, QueueEntry]]()
    for number in range(1500):
        worker = draw.choice(workers)
        match draw.randrange(7):
            case 0:
                await queue.reserve("s", f"j{number}", draw.choice(AGENTS))
            case 1:
                await queue.make_ready("s", f"j{draw.randrange(number + 1)}", draw.choice(AGENTS))
            case 2:
                await queue.add_control_entry(f"s{draw.randrange(5)}", delay_s=draw.choice([0, 60]))
            case 3:
                for entry in await queue.take(worker, AGENTS, draw.randint(1, 4)):
                    assert entry.id not in leased
                    leased[entry.id] = (worker, entry)
            case 4 | 5 if leased:
                owner, entry = leased.pop(draw.choice(list(leased)))
                if draw.random() < 0.5:
                    assert await queue.put_back(owner, entry, delivery=2, delay_s=draw.choice([0, 60]))
                else:
                    assert await queue.drop(owner, entry)
            case 6 if draw.random() < 0.2:
                count = (await leases.workers()).get(worker, -1)
                await leases.take_over(worker, count)
                leased = {name: held for name, held in leased.items() if held[0] != worker}
    places = [name.decode() for name in await redis.zrange(keys.DEFERRED, 0, -1)]
    for lane in [*AGENTS, "*"]:
        places += [name.decode() for name in await redis.zrange(keys.READY + lane, 0, -1)]
    for worker in workers:
        places += [name.decode() for name in await redis.smembers(keys.LEASED + worker)]
    assert sorted(places) == sorted(name.decode() for name in await redis.hkeys(keys.ENTRIES))


async def test_at_maxmemory_heartbeats_and_entries_work(queue: Queue, leases: Leases, redis: Redis) -> None:
    await queue.make_ready("s", "j", "a")
    await redis.config_set("maxmemory", 1)
    try:
        entry = await one(queue)
        assert await leases.beat("w1") == {entry.id}
        assert await queue.guess(entry) is None
        assert await queue.put_back("w1", entry, delivery=2)
        assert await queue.drop("w1", await one(queue))
    finally:
        await redis.config_set("maxmemory", 0)
    assert await queue.depth() == 0


class TestRetaking:
    """A worker that still holds a session leases its entry again."""

    async def held(self, queue: Queue) -> QueueEntry:
        await queue.make_ready("s", "j", "a")
        return await one(queue)

    async def test_an_entry_that_the_queue_forgot_is_leased_again(
        self, queue: Queue, leases: Leases, redis: Redis
    ) -> None:
        entry = await self.held(queue)
        await redis.delete(keys.ENTRIES, f"{keys.LEASED}w1")
        assert await leases.retake("w1", [entry]) == set()
        assert await leases.beat("w1") == {"s/j"}
        assert await queue.take("w2", AGENTS, 5) == []
        assert await queue.drop("w1", entry)
        assert await queue.depth() == 0

    async def test_an_entry_that_was_taken_from_a_worker_for_dead_is_leased_again(
        self, queue: Queue, leases: Leases
    ) -> None:
        entry = await self.held(queue)
        assert await leases.take_over("w1", (await leases.workers())["w1"]) == 1
        assert await leases.retake("w1", [entry]) == set()
        assert await leases.beat("w1") == {"s/j"}
        assert await queue.take("w2", AGENTS, 5) == []

    async def test_an_entry_that_becomes_visible_later_is_leased_again(
        self, queue: Queue, leases: Leases, redis: Redis
    ) -> None:
        entry = await self.held(queue)
        assert await queue.put_back("w1", entry, delivery=2, delay_s=60)
        assert await leases.retake("w1", [entry]) == set()
        assert await leases.beat("w1") == {"s/j"}
        assert await redis.zcard(keys.DEFERRED) == 0

    async def test_an_entry_that_another_worker_leases_is_lost(self, queue: Queue, leases: Leases) -> None:
        entry = await self.held(queue)
        await leases.take_over("w1", (await leases.workers())["w1"])
        await one(queue, "w2")
        assert await leases.retake("w1", [entry]) == {"s/j"}
        assert await leases.beat("w1") == set()
        assert await leases.beat("w2") == {"s/j"}


async def test_an_agent_that_is_announced_while_its_schema_is_read_is_found(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered, exists = OfferedAgents(redis), redis.exists

    async def announced_before(key: str) -> int:
        await offered.offer({"a": {"type": "string"}})
        return int(await exists(key))

    monkeypatch.setattr(redis, "exists", announced_before)
    assert await offered.schema("a") == b'{"type":"string"}'
