"""The queue of several tenants on a real server: turns, limits and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest
from holdfast.shared import keys
from holdfast.shared.errors import QueueFull, TenantQueueFull
from holdfast.shared.leases import Leases
from holdfast.shared.offered_agents import OfferedAgents
from holdfast.shared.owner import tenant_of
from holdfast.shared.queue import Queue, QueueEntry, WakeUp
from holdfast.shared.redis.client import Redis, connect
from holdfast.shared.settings import CommonSettings

AGENTS = ["a", "b"]
COUNTS = keys.TENANT + "counts"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url, max_connections=8)
    await OfferedAgents(client).offer({agent: {} for agent in AGENTS})
    yield client
    await client.aclose()


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue(redis, CommonSettings())


@pytest.fixture
def limited(redis: Redis) -> Queue:
    """A queue with a limit of two running jobs of a tenant."""
    return Queue(redis, CommonSettings(tenant_max_running=2))


@pytest.fixture
def leases(redis: Redis) -> Leases:
    return Leases(redis, CommonSettings())


async def submit(queue: Queue, tenant: str, count: int = 1, agent: str = "a", first: int = 0) -> None:
    for number in range(first, first + count):
        session = f"{tenant}//s{number}" if tenant else f"s{number}"
        await queue.reserve(session, "j", agent)
        await queue.make_ready(session, "j", agent)


async def served(queue: Queue, slots: int, worker: str = "w") -> list[str]:
    """Take entries for free slots one after the other. Returns their tenants."""
    return [tenant_of(entry.session_id) for _ in range(slots) for entry in await queue.take(worker, AGENTS, 1)]


async def counts(redis: Redis) -> dict[str, int]:
    stored = await redis.hgetall(COUNTS)
    return {name.decode(): int(number) for name, number in stored.items() if b":" in name}


async def keys_of_tenants(redis: Redis) -> set[str]:
    return {name.decode() for name in await redis.keys(keys.TENANT + "*")} - {COUNTS}


async def drain_wake_ups(redis: Redis) -> int:
    count = int(await redis.llen(keys.WAKE))
    await redis.delete(keys.WAKE)
    return count


class TestTurns:
    async def test_a_job_behind_the_flood_of_another_tenant_gets_the_next_free_slot(self, queue: Queue) -> None:
        await submit(queue, "flood", 1000)
        running = await queue.take("w", AGENTS, 10)
        await submit(queue, "calm")
        await queue.drop("w", running[0])
        assert await served(queue, 1) == ["calm"]

    async def test_the_last_slot_goes_to_the_tenant_without_a_running_job(self, queue: Queue) -> None:
        await submit(queue, "many", 10)
        await served(queue, 9)
        await submit(queue, "none")
        assert await served(queue, 1) == ["none"]

    async def test_of_several_floods_each_gets_as_many_slots(self, queue: Queue) -> None:
        for tenant in ("a", "b", "c"):
            await submit(queue, tenant, 20)
        assert Counter(await served(queue, 30)) == {"a": 10, "b": 10, "c": 10}

    async def test_tenants_without_a_running_job_are_served_once_each_before_one_is_served_again(
        self, queue: Queue
    ) -> None:
        """Their jobs end at once, so none of them runs a job when the next slot is free."""
        tenants = [f"t{number}" for number in range(20)]
        for tenant in tenants:
            await submit(queue, tenant, 3)
        order = []
        for _ in range(3 * len(tenants)):
            [entry] = await queue.take("w", AGENTS, 1)
            order.append(tenant_of(entry.session_id))
            await queue.drop("w", entry)
        assert order == tenants * 3

    async def test_a_tenant_that_comes_back_does_not_pass_one_that_waits(self, queue: Queue) -> None:
        await submit(queue, "waits", 2)
        await submit(queue, "returns")
        for expected in ("waits", "returns", "waits"):
            [entry] = await queue.take("w", AGENTS, 1)
            assert tenant_of(entry.session_id) == expected
            await queue.drop("w", entry)
            if expected == "returns":
                await submit(queue, "returns")

    async def test_the_turn_is_that_of_all_lanes_of_a_worker(self, queue: Queue) -> None:
        await submit(queue, "flood", 3, agent="a")
        await submit(queue, "flood", 3, agent="b", first=3)
        await served(queue, 1)
        await submit(queue, "calm", agent="b")
        assert await served(queue, 2) == ["calm", "flood"]

    async def test_jobs_of_a_tenant_start_in_the_order_in_which_they_became_visible(self, queue: Queue) -> None:
        for number in range(6):
            await submit(queue, "t", agent="ab"[number % 2], first=number)
        taken = await queue.take("w", AGENTS, 6)
        assert [entry.session_id for entry in taken] == [f"t//s{number}" for number in range(6)]

    async def test_entries_without_a_tenant_go_first(self, queue: Queue) -> None:
        await submit(queue, "t")
        await submit(queue, "")
        await queue.add_control_entry("t//s0")
        taken = await queue.take("w", AGENTS, 3)
        assert [entry.id for entry in taken] == ["s0/j", "t//s0/", "t//s0/j"]

    async def test_an_entry_that_an_older_process_made_visible_is_taken_and_counted(
        self, queue: Queue, redis: Redis
    ) -> None:
        await queue.reserve("t//s", "j", "a")
        await redis.zrem(keys.DEFERRED, "t//s/j")
        await redis.zadd(keys.READY + "a", {"t//s/j": 1})
        await queue.make_ready("t//s", "j", "a")
        [entry] = await queue.take("w", AGENTS, 5)
        assert await counts(redis) == {"open:t": 1, "running:t": 1}
        await queue.drop("w", entry)
        assert await queue.depth() == 0

    async def test_a_tenant_whose_entries_the_server_lost_blocks_no_other(self, queue: Queue, redis: Redis) -> None:
        await submit(queue, "lost")
        await submit(queue, "kept")
        await redis.delete(f"{keys.TENANT}ready:lost/a")
        assert await served(queue, 2) == ["kept"]
        await submit(queue, "lost", first=1)
        assert await served(queue, 1) == ["lost"]


class TestPutBack:
    async def test_a_job_of_a_dead_worker_is_the_next_of_its_tenant(self, queue: Queue, leases: Leases) -> None:
        for tenant in ("", "t"):
            await submit(queue, tenant, 3)
            [entry] = await queue.take("dead", AGENTS, 1)
            await leases.take_over("dead", (await leases.workers())["dead"])
            [again] = await queue.take("alive", AGENTS, 1)
            assert (again.id, again.delivery) == (entry.id, 2)
            await queue.take("alive", AGENTS, 2)

    async def test_a_job_that_a_stopping_worker_releases_is_the_next_of_its_tenant(self, queue: Queue) -> None:
        await submit(queue, "t", 3)
        [entry] = await queue.take("stops", AGENTS, 1)
        await queue.put_back("stops", entry, delivery=2)
        assert (await queue.take("w", AGENTS, 1))[0].id == entry.id

    async def test_a_job_that_is_put_back_for_later_waits_behind_the_others(self, queue: Queue, redis: Redis) -> None:
        await submit(queue, "t", 2)
        [entry] = await queue.take("w", AGENTS, 1)
        await queue.put_back("w", entry, delivery=1, delay_s=60)
        await redis.zincrby(keys.DEFERRED, -60_000_000, entry.id)
        assert [taken.session_id for taken in await queue.take("w", AGENTS, 2)] == ["t//s1", "t//s0"]

    async def test_a_job_of_a_tenant_that_waited_too_long_can_be_taken_by_any_worker(
        self, queue: Queue, redis: Redis
    ) -> None:
        await submit(queue, "t", agent="b")
        await redis.zincrby(f"{keys.TENANT}ready:t/b", -2_000_000, "t//s0/j")
        await Leases(redis, CommonSettings(queue_seconds=1)).sweep()
        assert (await queue.take("w", ["a"], 1))[0].id == "t//s0/j"
        assert await keys_of_tenants(redis) == set()


class TestLimits:
    async def test_a_tenant_at_its_limit_of_running_jobs_is_passed_over(self, limited: Queue) -> None:
        await submit(limited, "flood", 5)
        assert await served(limited, 5) == ["flood"] * 2
        await submit(limited, "calm")
        await limited.add_control_entry("flood//s4")
        taken = await limited.take("w", AGENTS, 5)
        assert [entry.id for entry in taken] == ["flood//s4/", "calm//s0/j"]

    @pytest.mark.parametrize("end", ["drop", "put back", "pause"])
    async def test_a_job_that_ends_at_the_limit_wakes_a_worker_for_the_next(
        self, limited: Queue, redis: Redis, end: str
    ) -> None:
        await submit(limited, "t", 3)
        entries = await limited.take("w", AGENTS, 3)
        assert len(entries) == 2
        await drain_wake_ups(redis)
        if end == "drop":
            await limited.drop("w", entries[0])
        elif end == "put back":
            await limited.put_back("w", entries[0], delivery=1, delay_s=60)
        else:
            await limited.pause("w", [entries[0].id], [])
        assert await limited.wait("idle", 60, idle=True) == WakeUp(None)
        assert (await limited.take("idle", AGENTS, 1))[0].session_id == "t//s2"

    async def test_a_job_that_ends_wakes_no_worker_where_nothing_waits_for_the_limit(
        self, limited: Queue, redis: Redis
    ) -> None:
        await submit(limited, "t", 2)
        entries = await limited.take("w", AGENTS, 2)
        await drain_wake_ups(redis)
        await limited.drop("w", entries[0])
        await submit(limited, "t", 3)
        await drain_wake_ups(redis)
        await limited.drop("w", entries[1])
        assert await drain_wake_ups(redis) == 0

    async def test_a_job_that_waits_for_a_person_does_not_run_until_it_goes_on(
        self, limited: Queue, redis: Redis
    ) -> None:
        await submit(limited, "t", 4)
        entries = await limited.take("w", AGENTS, 4)
        for _ in range(2):  # the reply may be lost
            assert await limited.pause("w", [entries[0].id], []) == set()
        assert await counts(redis) == {"open:t": 4, "running:t": 1}
        assert len(await limited.take("w", AGENTS, 4)) == 1
        for _ in range(2):
            assert await limited.pause("w", [], [entries[0].id]) == set()
        assert await counts(redis) == {"open:t": 4, "running:t": 3}
        await limited.drop("w", entries[1])
        assert await limited.take("w", AGENTS, 4) == []

    async def test_only_the_worker_that_leases_an_entry_says_whether_it_waits(
        self, limited: Queue, redis: Redis
    ) -> None:
        await submit(limited, "t")
        [entry] = await limited.take("w", AGENTS, 1)
        assert await limited.pause("other", [entry.id], []) == {entry.id}
        await limited.pause("w", [entry.id], [])
        assert await limited.pause("other", [], [entry.id]) == {entry.id}
        assert await counts(redis) == {"open:t": 1}

    async def test_a_tenant_at_its_limit_of_open_jobs_is_refused_and_others_are_not(self, redis: Redis) -> None:
        queue = Queue(redis, CommonSettings(tenant_queue_limit=2))
        await submit(queue, "flood")
        await submit(queue, "flood", first=1)
        entries = await queue.take("w", AGENTS, 2)
        with pytest.raises(TenantQueueFull, match="A tenant may have 2 open jobs") as refused:
            await queue.reserve("flood//s2", "j", "a")
        assert (refused.value.code, refused.value.status, refused.value.retry_after_s) == ("tenant_queue_full", 429, 5)
        await submit(queue, "calm")
        await submit(queue, "", 3)
        await queue.drop("w", entries[0])
        await submit(queue, "flood", first=2)

    async def test_the_limit_of_the_deployment_says_nothing_of_tenants(self, redis: Redis) -> None:
        queue = Queue(redis, CommonSettings(queue_limit=1))
        await submit(queue, "flood")
        with pytest.raises(QueueFull) as refused:
            await queue.reserve("calm//s", "j", "a")
        assert refused.value.code == "queue_full"
        assert "tenant" not in str(refused.value)
        assert "flood" not in str(refused.value)


class TestCounts:
    async def leased(self, queue: Queue) -> QueueEntry:
        await submit(queue, "t")
        [entry] = await queue.take("w", AGENTS, 1)
        return entry

    @pytest.mark.parametrize("way", ["drop", "discard", "retire", "retire deferred", "taken over", "paused", "lost"])
    async def test_a_tenant_without_jobs_leaves_nothing(
        self, queue: Queue, leases: Leases, redis: Redis, way: str
    ) -> None:
        match way:
            case "discard":
                await submit(queue, "t")
                await queue.discard("t//s0", "j", "a")
            case "retire":
                await submit(queue, "t")
                await queue.retire("t//s0", ["j"])
            case "retire deferred":
                await queue.reserve("t//s0", "j", "a")
                await queue.retire("t//s0", ["j"])
            case _:
                entry = await self.leased(queue)
                if way == "paused":
                    await queue.pause("w", [entry.id], [])
                if way == "lost":
                    await redis.hdel(keys.ENTRIES, entry.id)
                    await redis.hdel(COUNTS, "open:t")
                    assert not await queue.put_back("w", entry, delivery=2)
                elif way == "taken over":
                    await queue.pause("w", [entry.id], [])
                    await leases.take_over("w", (await leases.workers())["w"])
                    assert await counts(redis) == {"open:t": 1}
                    [entry] = await queue.take("w", AGENTS, 1)
                await queue.drop("w", entry)
        assert await queue.depth() == 0
        assert await counts(redis) == {}
        assert await keys_of_tenants(redis) == set()

    async def test_an_emptied_queue_counts_what_is_leased_and_created_again(
        self, queue: Queue, leases: Leases, redis: Redis
    ) -> None:
        entry = await self.leased(queue)
        await queue.pause("w", [entry.id], [])
        await redis.flushall()
        await leases.retake("w", [entry])
        assert await counts(redis) == {"open:t": 1, "running:t": 1}
        await queue.drop("w", entry)
        assert await counts(redis) == {}

    async def test_counts_that_an_older_process_left_wrong_are_corrected_once_in_five_minutes(
        self, queue: Queue, leases: Leases, redis: Redis
    ) -> None:
        await submit(queue, "t", 3)
        entry = (await queue.take("w", AGENTS, 2))[0]
        await queue.pause("w", [entry.id], [])
        right = await counts(redis)
        assert await leases.recount() == 0
        await redis.hset(COUNTS, "open:gone", 4)
        await redis.hset(COUNTS, "running:t", 9)
        await redis.sadd(keys.TENANT + "paused", "gone//s/j")
        assert await leases.recount() == 0
        await redis.hincrby(COUNTS, "counted", -300_000_000)
        assert await leases.recount() == 2
        assert await counts(redis) == right == {"open:t": 3, "running:t": 1}
        assert await redis.smembers(keys.TENANT + "paused") == {entry.id.encode()}

    async def test_at_maxmemory_a_running_job_ends_and_the_next_starts(self, limited: Queue, redis: Redis) -> None:
        await submit(limited, "t", 3)
        entries = await limited.take("w", AGENTS, 2)
        await redis.config_set("maxmemory", 1)
        try:
            await limited.pause("w", [entries[0].id], [])
            await limited.drop("w", entries[1])
            assert len(await limited.take("w", AGENTS, 2)) == 1
        finally:
            await redis.config_set("maxmemory", 0)

    async def test_without_tenants_no_key_of_theirs_is_written(
        self, queue: Queue, leases: Leases, redis: Redis
    ) -> None:
        await submit(queue, "", 2)
        await queue.add_control_entry("s0")
        for entry in await queue.take("w", AGENTS, 3):
            await queue.drop("w", entry)
        assert await leases.recount() == 0
        assert await redis.keys(keys.TENANT + "*") == []
