"""The queue of several tenants on a real server, through random operations.

Every entry is in exactly one place, every free slot goes to the tenant whose turn it is, and the counts of the tenants
are those of their entries: after each operation they equal those of a model.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import count
from typing import Any, ClassVar

import pytest
from holdfast.shared import keys
from holdfast.shared.leases import Leases
from holdfast.shared.offered_agents import OfferedAgents
from holdfast.shared.owner import tenant_of
from holdfast.shared.queue import Queue, QueueEntry
from holdfast.shared.redis.client import connect
from holdfast.shared.settings import CommonSettings
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

AGENTS = ["a", "b"]
LANES = ["*", *AGENTS]
LIMIT = 3
TENANTS = ["", "north", "south", "west"]
WORKERS = {"w1": ["a"], "w2": ["a", "b"]}

some = st.integers(0, 1000)


class QueueMachine(RuleBasedStateMachine):
    """A model of the queue: `lines` are the visible entries of a tenant in a lane, in order, and `turns` when the
    tenant came there or was served."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.redis = connect(self.url, max_connections=1)
        common = CommonSettings(tenant_max_running=LIMIT)
        self.queue, self.leases = Queue(self.redis, common), Leases(self.redis, common)
        self.run(self.redis.flushall())
        self.run(OfferedAgents(self.redis).offer({agent: {} for agent in AGENTS}))
        self.ticks = count()
        self.agents: dict[str, str] = {}
        self.deferred: set[str] = set()
        self.lines: dict[tuple[str, str], list[str]] = {}
        self.turns: dict[tuple[str, str], int] = {}
        self.leased: dict[str, tuple[str, QueueEntry]] = {}
        self.paused: set[str] = set()

    def run(self, call: Any) -> Any:
        return self.loop.run_until_complete(call)

    def teardown(self) -> None:
        self.run(self.redis.aclose())
        self.loop.close()

    # Operations.

    @rule(tenant=st.sampled_from(TENANTS), agent=st.sampled_from(AGENTS), ready=st.booleans())
    def submit(self, tenant: str, agent: str, ready: bool) -> None:
        session, job = f"{tenant}//s" if tenant else "s", f"j{next(self.ticks)}"
        entry = f"{session}/{job}"
        self.run(self.queue.reserve(session, job, agent))
        self.agents[entry] = agent
        self.deferred.add(entry)
        if ready:
            self.make_ready(entry)

    @rule(choice=some)
    def make_visible(self, choice: int) -> None:
        if self.deferred:
            self.make_ready(chosen(self.deferred, choice))

    def make_ready(self, entry: str) -> None:
        session, _, job = entry.rpartition("/")
        self.run(self.queue.make_ready(session, job, self.agents[entry]))
        self.deferred.remove(entry)
        self.join(entry)

    @rule(worker=st.sampled_from([*WORKERS]), slots=st.integers(1, 4))
    def take(self, worker: str, slots: int) -> None:
        ages = self.run(self.ages())
        taken = self.run(self.queue.take(worker, WORKERS[worker], slots))
        for entry in taken:
            assert entry.id == self.next_entry(WORKERS[worker], ages)
            tenant = tenant_of_entry(entry.id)
            self.leave(entry.id)
            self.leased[entry.id] = worker, entry
            turn = next(self.ticks)
            self.turns |= {place: turn for place in self.turns if place[0] == tenant}
        assert len(taken) == slots or self.next_entry(WORKERS[worker], ages) is None

    @rule(choice=some, delay_s=st.sampled_from([0, 60]))
    def put_back(self, choice: int, delay_s: int) -> None:
        if self.leased:
            worker, entry = self.release(choice)
            assert self.run(self.queue.put_back(worker, entry, delivery=2, delay_s=delay_s))
            if delay_s:
                self.deferred.add(entry.id)
            else:
                self.join(entry.id, first=True)

    @rule(choice=some)
    def drop(self, choice: int) -> None:
        if self.leased:
            worker, entry = self.release(choice)
            assert self.run(self.queue.drop(worker, entry))
            assert not self.run(self.queue.drop(worker, entry))

    @rule(choice=some, discard=st.booleans())
    def end_while_waiting(self, choice: int, discard: bool) -> None:
        if waiting := self.waiting():
            entry = chosen(waiting, choice)
            session, _, job = entry.rpartition("/")
            if discard:
                self.run(self.queue.discard(session, job, self.agents[entry]))
            else:
                self.run(self.queue.retire(session, [job]))
            self.withdraw(entry)

    @rule(worker=st.sampled_from([*WORKERS]))
    def take_over(self, worker: str) -> None:
        beats = self.run(self.leases.workers())
        if worker in beats:
            moved = [entry for entry, (owner, _) in self.leased.items() if owner == worker]
            self.run(self.leases.take_over(worker, beats[worker]))
            for entry in moved:
                del self.leased[entry]
                self.paused.discard(entry)
                self.join(entry, first=True)
            for place, line in self.lines.items():  # in any order among themselves
                stored = self.run(self.stored_line(*place))
                assert set(stored[: len(set(line) & set(moved))]) == set(line) & set(moved)
                line.sort(key=stored.index)

    @rule(choice=some, worker=st.sampled_from([*WORKERS]))
    def retake(self, choice: int, worker: str) -> None:
        if self.agents:
            entry = chosen(self.agents, choice)
            session, _, job = entry.rpartition("/")
            again = QueueEntry(session, job, self.agents[entry], 1, 0)
            lost = self.run(self.leases.retake(worker, [again]))
            if entry in self.leased:
                assert lost == (set() if self.leased[entry][0] == worker else {entry})
            else:  # visible, deferred, or lost
                if entry in self.waiting():
                    self.withdraw(entry)
                self.leased[entry] = worker, again

    @rule(choice=some, by=st.sampled_from([*WORKERS]))
    def pause_or_resume(self, choice: int, by: str) -> None:
        of_tenants = {entry for entry in self.leased if tenant_of_entry(entry)}
        if of_tenants:
            entry = chosen(of_tenants, choice)
            is_own, paused = self.leased[entry][0] == by, entry in self.paused
            for _ in range(2):  # the reply may be lost
                assert self.run(self.queue.pause(by, [] if paused else [entry], [entry] if paused else [])) == (
                    set() if is_own else {entry}
                )
            if is_own:
                self.paused ^= {entry}

    # The model.

    def join(self, entry: str, *, first: bool = False) -> None:
        place = tenant_of_entry(entry), self.agents[entry]
        line = self.lines.setdefault(place, [])
        line.insert(0 if first else len(line), entry)
        self.turns.setdefault(place, next(self.ticks))

    def leave(self, entry: str) -> None:
        place = tenant_of_entry(entry), self.agents[entry]
        self.lines[place].remove(entry)
        if not self.lines[place]:
            del self.lines[place], self.turns[place]

    def withdraw(self, entry: str) -> None:
        if entry in self.deferred:
            self.deferred.remove(entry)
        else:
            self.leave(entry)

    def waiting(self) -> set[str]:
        return self.deferred.union(*self.lines.values())

    def release(self, choice: int) -> tuple[str, QueueEntry]:
        entry = chosen(self.leased, choice)
        self.paused.discard(entry)
        return self.leased.pop(entry)

    def next_entry(self, lanes: list[str], ages: dict[str, float]) -> str | None:
        """Return which entry is next for a worker. `ages`: the scores of the visible entries."""
        running = self.running()
        places = [place for place in self.turns if place[1] in lanes and running[place[0]] < LIMIT]
        if not places:
            return None
        tenant, _ = min(places, key=lambda place: (place[0] != "", running[place[0]], self.turns[place]))
        return min((self.lines[place][0] for place in places if place[0] == tenant), key=ages.__getitem__)

    def running(self) -> Counter[str]:
        entries = [entry for entry in self.leased if entry not in self.paused]
        return Counter(tenant for entry in entries if (tenant := tenant_of_entry(entry)))

    # What is stored.

    @invariant()
    def every_entry_is_in_one_place(self) -> None:
        self.run(self.check_places())

    @invariant()
    def the_counts_are_those_of_the_entries(self) -> None:
        self.run(self.check_counts())

    async def check_places(self) -> None:
        line_keys = await self.redis.keys(keys.READY + "*") + await self.redis.keys(keys.TENANT + "ready:*")
        stored = {key.decode(): await self.redis.zrange(key, 0, -1) for key in line_keys}
        assert stored == {line_key(*place): [*map(str.encode, line)] for place, line in self.lines.items()}
        assert {*await self.redis.zrange(keys.DEFERRED, 0, -1)} == {*map(str.encode, self.deferred)}
        for worker in WORKERS:
            own = {entry.encode() for entry, (owner, _) in self.leased.items() if owner == worker}
            assert await self.redis.smembers(keys.LEASED + worker) == own
        assert {*await self.redis.hkeys(keys.ENTRIES)} == {*map(str.encode, [*self.waiting(), *self.leased])}

    async def check_counts(self) -> None:
        entries = [*self.waiting(), *self.leased]
        opened = Counter(tenant for entry in entries if (tenant := tenant_of_entry(entry)))
        counts = {f"open:{tenant}": number for tenant, number in opened.items()}
        counts |= {f"running:{tenant}": number for tenant, number in self.running().items()}
        stored = await self.redis.hgetall(keys.TENANT + "counts")
        assert {name.decode(): int(number) for name, number in stored.items() if b":" in name} == counts
        places = {place for place in self.lines if place[0]}
        lanes = {key.decode(): await self.redis.smembers(key) for key in await self.redis.keys(keys.TENANT + "lanes:*")}
        assert {(key.rpartition(":")[2], lane.decode()) for key, of in lanes.items() for lane in of} == places
        turns = {lane: await self.redis.zrange(f"{keys.TENANT}turns:{lane}", 0, -1) for lane in LANES}
        assert {(tenant.decode(), lane) for lane, tenants in turns.items() for tenant in tenants} == places

    async def stored_line(self, tenant: str, lane: str) -> list[str]:
        return [entry.decode() for entry in await self.redis.zrange(line_key(tenant, lane), 0, -1)]

    async def ages(self) -> dict[str, float]:
        found = {}
        for place in self.lines:
            for entry, score in await self.redis.zrange(line_key(*place), 0, -1, withscores=True):
                found[entry.decode()] = score
        return found


def tenant_of_entry(entry: str) -> str:
    return tenant_of(entry.rpartition("/")[0])


def line_key(tenant: str, lane: str) -> str:
    return f"{keys.TENANT}ready:{tenant}/{lane}" if tenant else keys.READY + lane


def chosen(entries: Any, choice: int) -> str:
    ordered = sorted(entries)
    return str(ordered[choice % len(ordered)])


@pytest.fixture
def machine(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> type[QueueMachine]:
    monkeypatch.setattr("holdfast.shared.queue.RESERVE_US", 3_600_000_000)  # nothing becomes visible by itself
    QueueMachine.url = redis_url
    return QueueMachine


def test_each_slot_goes_to_the_tenant_whose_turn_it_is_whatever_happens_to_the_entries(
    machine: type[QueueMachine],
) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
