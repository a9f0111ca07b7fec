"""Encryption at rest on a real server: what opens, what does not, and what readers get then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import orjson
import pytest
from holdfast.shared import keyring
from holdfast.shared.data_keys import DataKeys
from holdfast.shared.errors import DataKeyGone, MasterKeyMissing, SealBroken
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.keys import DATA_KEYS
from holdfast.shared.log import sealed_entries
from holdfast.shared.log.conversation import CONVERSATION_BYTES
from holdfast.shared.log.event_log import Page
from holdfast.shared.log.log_replies import AppendOutcome, Attempt, Event, Refusal
from holdfast.shared.sealing import MARK, is_sealed

from tests.support.log import Session, completed, delta
from tests.support.process import until
from tests.support.redis_server import RedisServer
from tests.support.sealed import master_key, sealed_logs
from tests.support.sse import Frame
from tests.support.streams import frames_until, streams

ACME, OTHER = "acme/anna/s", "other/anna/s"
Open = Callable[..., Session]


@pytest.fixture
async def open_sealed(redis_url: str) -> AsyncIterator[Open]:
    """`open_sealed(session_id, *master key ids)`: a session, as a process with these keys has it."""
    opened: list[Session] = []

    def open_(session_id: str = ACME, *ids: str) -> Session:
        opened.append(Session(sealed_logs(redis_url, *(ids or ("m1",))), session_id))
        return opened[-1]

    yield open_
    for session in opened:
        await session.aclose()


@pytest.fixture
def sealed(open_sealed: Open) -> Session:
    return open_sealed()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are confirmed all the time."""
    monkeypatch.setattr(keyring, "REFRESH_SECONDS", 0.01)


def data_keys(session: Session, *ids: str) -> DataKeys:
    return DataKeys(session.redis, {key_id: master_key(key_id) for key_id in ids or ("m1",)})


async def said(session: Session, *texts: str) -> Attempt:
    """A job with these deltas."""
    attempt = await session.started()
    await session.append(attempt, 1, *texts)
    return attempt


async def page(session: Session, cursor: EventId = ORIGIN) -> Page:
    return await session.log.read(session.id, cursor)


def texts(found: Page) -> list[str]:
    events = [orjson.loads(entry.body) for entry in found.entries]
    return [event["text"] for event in events if "text" in event]


async def bodies(session: Session) -> list[bytes]:
    """The values of the log's entries as they are stored."""
    return [fields[1] for _, fields in await session.redis.call("XRANGE", session.keys.log, "-", "+")]


async def put(session: Session, raw_id: str, value: bytes) -> None:
    """Replace everything in the log by one entry of this value, under another's id."""
    await session.redis.delete(session.keys.log)
    await session.redis.call("XADD", session.keys.log, raw_id, "j1 text.delta", value)


async def test_events_are_stored_encrypted_and_read_as_they_were_written(sealed: Session) -> None:
    await said(sealed, "one", "two")
    assert all(body[:1] == MARK for body in (await bodies(sealed))[1:])
    found = await page(sealed)
    assert texts(found) == ["one", "two"]
    started = orjson.loads(found.entries[0].body)
    assert (started["type"], started["input"]) == ("job.started", "hello")


async def test_an_append_without_the_script_is_encrypted_too(sealed: Session) -> None:
    attempt = await sealed.started()
    appended = await sealed.append(attempt, 1, "one")
    sent = await sealed.append_plain(appended.permit, EventId(attempt.epoch, 3), delta("j1", "two"), delta("j1", "3"))
    assert sent is AppendOutcome.ADDED
    assert all(body[:1] == MARK for body in (await bodies(sealed))[1:])
    assert texts(await page(sealed)) == ["one", "two", "3"]


async def test_an_append_without_the_script_is_refused_until_the_key_is_loaded(sealed: Session) -> None:
    attempt = await sealed.started()
    appended = await sealed.append(attempt, 1, "one")
    await sealed.logs.keyring.aclose()  # as when Redis did not confirm the key
    sent = await sealed.append_plain(appended.permit, EventId(attempt.epoch, 3), delta("j1", "two"))
    assert sent is AppendOutcome.REFUSED
    await sealed.append(attempt, 2, "two")
    assert texts(await page(sealed)) == ["one", "two"]


async def test_what_was_written_before_encryption_was_on_is_readable_up_to_a_time(
    session: Session, redis_url: str
) -> None:
    await session.submit(metadata=b'{"of":"before"}')
    attempt = await session.claim()
    await session.append(attempt, 1, "before")
    now = Session(sealed_logs(redis_url, "m1", plain_until_s=time.time() + 60))
    await now.append(attempt, 2, "after")
    await now.finish(attempt, 3)
    assert texts(await page(now)) == ["before", "after"]
    job = await now.sessions.job("s", "j1")
    assert (job.ending["type"], job.metadata) == ("job.completed", {"of": "before"})
    await now.aclose()

    later = Session(sealed_logs(redis_url, "m1", plain_until_s=time.time() - 1))
    first = await page(later)
    assert first.gap is not None
    assert texts(await page(later, first.gap.resume)) == ["after"]
    with pytest.raises(SealBroken):
        await later.sessions.job("s", "j1")
    await later.aclose()


async def test_a_process_without_master_keys_refuses_what_is_encrypted(redis_url: str, sealed: Session) -> None:
    attempt = await said(sealed, "one")
    await sealed.finish(attempt, 2)
    without = Session(redis_url, ACME)
    reads = (
        page(without),
        without.log.last(ACME),
        without.sessions.job(ACME, "j1"),
        without.sessions.summary(ACME),
    )
    for read in reads:
        with pytest.raises(MasterKeyMissing):
            await read
    await without.aclose()


async def test_a_worker_without_the_master_key_leaves_the_job_to_others(sealed: Session, open_sealed: Open) -> None:
    await sealed.submit()
    with pytest.raises(MasterKeyMissing):
        await open_sealed(ACME, "m2").claim()
    assert (await sealed.claim()).input == b'"hello"'


async def test_a_changed_event_is_foreign_and_costs_no_other(sealed: Session) -> None:
    attempt = await said(sealed, "one", "two", "three")
    entries = await sealed.redis.call("XRANGE", sealed.keys.log, "-", "+")
    value = entries[2][1][1]
    entries[2][1][1] = value[:-1] + bytes([value[-1] ^ 1])
    await sealed.redis.delete(sealed.keys.log)
    for raw_id, fields in entries:
        await sealed.redis.call("XADD", sealed.keys.log, raw_id, *fields)
    first = await page(sealed)
    assert texts(first) == ["one"]
    lost = await page(sealed, first.entries[-1].id)
    assert lost.gap is not None
    assert (lost.gap.reason, lost.gap.foreign) == ("lost", EventId(attempt.epoch, 3))
    assert texts(await page(sealed, lost.gap.resume)) == ["three"]


async def test_an_event_that_was_moved_is_foreign(sealed: Session, open_sealed: Open) -> None:
    other = open_sealed("acme/ben/s")
    attempt = await said(sealed, "one", "two")
    await said(other, "three")
    mine, theirs = await bodies(sealed), await bodies(other)
    for raw_id, value, opens in (
        (f"{attempt.epoch}-2", mine[1], True),
        (f"{attempt.epoch}-3", mine[1], False),  # within the log
        (f"{attempt.epoch}-2", theirs[1], False),  # of another session of the tenant
    ):
        await put(sealed, raw_id, value)
        assert (await sealed.log.last(ACME) is not None) == opens, raw_id


async def test_a_value_of_a_record_that_was_moved_is_refused(sealed: Session, open_sealed: Open) -> None:
    other = open_sealed("acme/ben/s")
    for session in (sealed, other):
        await session.submit(metadata=b'{"plan":"secret"}')
    stolen = await sealed.redis.hget(sealed.keys.jobs, "j1:metadata")
    await other.redis.hset(other.keys.jobs, "j1:metadata", stolen)
    assert (await sealed.sessions.job(ACME, "j1")).metadata == {"plan": "secret"}
    with pytest.raises(SealBroken):
        await other.sessions.job(other.id, "j1")


async def test_two_processes_that_write_first_agree_on_the_key(open_sealed: Open) -> None:
    one, two = open_sealed(), open_sealed("acme/ben/s")
    await asyncio.gather(said(one, "one"), said(two, "two"))
    assert len((await data_keys(one).read(["acme"]))[0].split()) == 1
    assert texts(await page(open_sealed())) == ["one"]
    assert texts(await page(open_sealed("acme/ben/s"))) == ["two"]


async def test_a_new_data_key_takes_over_under_a_running_stream(open_sealed: Open, quick: None) -> None:
    writer = open_sealed("s")
    attempt = await said(writer, "0")
    async with streams(open_sealed("s").logs) as served, served.open() as viewer:
        await frames_until(viewer, shows("0"))
        before = await versions(writer, "")
        await data_keys(writer).rotate("")
        number = 0
        while {key_id for _, key_id in await ids_of_keys(writer)} == set(before):
            number += 1
            await writer.append(attempt, 1 + number, str(number))
        frames = await frames_until(viewer, shows(str(number)))
    assert [frame.json["text"] for frame in frames] == [str(n) for n in range(1, number + 1)]
    assert texts(await page(open_sealed("s"))) == [str(n) for n in range(number + 1)]


async def test_the_first_master_key_takes_over_and_the_old_one_can_be_removed(
    sealed: Session, open_sealed: Open
) -> None:
    attempt = await said(sealed, "one")
    both = open_sealed(ACME, "m2", "m1")
    await both.append(attempt, 2, "two")
    await data_keys(both, "m2", "m1").rewrap("acme")
    with pytest.raises(MasterKeyMissing):
        await page(open_sealed(ACME, "m1"))
    assert texts(await page(open_sealed(ACME, "m2"))) == ["one", "two"]
    assert texts(await page(sealed)) == ["one", "two"]  # which has the data key already


async def test_no_data_key_is_wrapped_anew_without_its_master_key(sealed: Session) -> None:
    await said(sealed, "one")
    stored = await sealed.redis.get(DATA_KEYS + "acme")
    with pytest.raises(MasterKeyMissing):
        await data_keys(sealed, "m2").rewrap("acme")
    assert await sealed.redis.get(DATA_KEYS + "acme") == stored


async def test_a_forgotten_key_takes_the_tenants_data_with_it_and_no_others(
    sealed: Session, open_sealed: Open, quick: None
) -> None:
    other = open_sealed(OTHER)
    await said(other, "kept")
    await sealed.finish(await said(sealed, "one"), 2)
    assert await data_keys(sealed).tenants() == ["acme", "other"]
    assert await data_keys(sealed).forget("acme")
    await until(lambda: sealed.logs.keyring.seal_now(ACME) is None)
    for reader in (sealed, open_sealed()):
        for read in (page(reader), reader.sessions.job(ACME, "j1"), reader.sessions.summary(ACME)):
            with pytest.raises(DataKeyGone):
                await read
    assert texts(await page(other)) == ["kept"]


async def test_after_its_key_was_forgotten_a_tenant_goes_on_with_a_new_one(sealed: Session, open_sealed: Open) -> None:
    await said(sealed, "one")
    await data_keys(sealed).forget("acme")
    new = open_sealed("acme/anna/new")
    await said(new, "two")
    assert texts(await page(new)) == ["two"]
    with pytest.raises(DataKeyGone):
        await page(open_sealed())


async def test_a_waiting_job_whose_key_is_gone_ends(sealed: Session, open_sealed: Open) -> None:
    await sealed.submit()
    await data_keys(sealed).forget("acme")
    claimed = await open_sealed().try_claim()
    assert isinstance(claimed, Refusal)
    assert claimed.verdict == "ended"
    last = await open_sealed().log.last(ACME)
    assert last is not None
    assert orjson.loads(last.body)["error"]["code"] == "data_key_gone"


@pytest.mark.parametrize("deleted", [False, True], ids=["cancelled", "deleted"])
async def test_a_session_whose_key_is_gone_can_be_cancelled_and_deleted(
    sealed: Session, open_sealed: Open, deleted: bool
) -> None:
    attempt = await said(sealed, "one")
    await sealed.log_writer.release(ACME, attempt.epoch)
    await data_keys(sealed).forget("acme")
    late = open_sealed()
    await (late.sessions.delete(ACME) if deleted else late.sessions.cancel(ACME, "j1"))
    settled = await late.log_writer.settle(ACME)
    assert settled.ended == ["j1"]


async def test_a_live_stream_ends_when_its_key_is_forgotten(open_sealed: Open, quick: None) -> None:
    writer = open_sealed("s")
    attempt = await said(writer, "one")
    gateway = open_sealed("s")
    async with streams(gateway.logs) as served, served.open() as viewer:
        await frames_until(viewer, shows("one"))
        seal = await writer.logs.keyring.seal_for("s")
        await data_keys(writer).forget("")
        await until(lambda: gateway.logs.keyring.seal_now("s") is None)
        entry_id = EventId(attempt.epoch, 3)
        (event,) = sealed_entries.sealed(seal, entry_id, [delta("j1", "two")])  # of a worker that has the key yet
        await writer.redis.call("XADD", writer.keys.log, str(entry_id), *event.field())
        assert [frame.data async for frame in viewer if frame.data] == []
        async with served.open() as late:
            assert [frame.data async for frame in late if frame.data] == []


async def test_a_key_that_redis_does_not_confirm_is_dropped(
    redis_server: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "REFRESH_SECONDS", 0.01)
    monkeypatch.setattr(keyring, "CONFIRMED_SECONDS", 0.05)
    server = redis_server()
    session = Session(sealed_logs(server.url, "m1"))
    await session.submit()
    server.kill()
    await until(lambda: session.logs.keyring.seal_now("s") is None)
    await session.aclose()


async def test_the_conversation_has_the_same_bounds_as_without_encryption(session: Session, open_sealed: Open) -> None:
    limit = CONVERSATION_BYTES
    sealed = open_sealed("sealed")
    longest = orjson.dumps({"role": "user", "content": "x" * (limit - 30)})
    message = longest.ljust(limit)  # exactly the bytes that a conversation may have
    for one in (session, sealed):
        attempt = await one.started()
        event = completed("j1")
        await one.log_writer.finish(one.id, attempt.epoch, 1, event, messages=[message], usage=b"")
        assert await one.sessions.history(one.id, "j1") == [orjson.loads(message)], one.id


def shows(text: str) -> Callable[[Frame], bool]:
    return lambda frame: frame.json.get("text") == text


async def versions(session: Session, tenant: str) -> list[str]:
    """The ids of the tenant's data keys, newest first."""
    return [line[:16] for line in (await data_keys(session).read([tenant]))[0].split()]


async def ids_of_keys(session: Session) -> list[tuple[bytes, str]]:
    """The id of each encrypted entry of the log, and of its data key."""
    found = await session.redis.call("XRANGE", session.keys.log, "-", "+")
    return [(raw_id, fields[1][1:9].hex()) for raw_id, fields in found if fields[1][:1] == MARK]


async def test_a_step_or_an_answer_of_another_job_or_question_is_refused(sealed: Session) -> None:
    attempt, journal = await sealed.started(), sealed.keys.journal
    await sealed.record(attempt, b"1")
    assert (await sealed.log_writer.recorded(ACME, "j1")).steps == {"pay:0:abc": b"1"}
    with pytest.raises(SealBroken):
        await sealed.log_writer.recorded(ACME, "j2")

    asked = Event("question.asked", "j1", b'{"type":"question.asked"}')
    await sealed.log_writer.ask(ACME, attempt.epoch, 1, asked, "q1")
    await sealed.sessions.answer(ACME, "j1", None, b'"yes"')
    assert await sealed.log.answer(ACME, "j1", "q1") == b'"yes"'
    await sealed.redis.hset(journal, "question:q2", await sealed.redis.hget(journal, "question:q1"))
    with pytest.raises(SealBroken):
        await sealed.log.answer(ACME, "j1", "q2")


@pytest.mark.parametrize("field", ["step:pay:0:abc", "question:q1"])
async def test_a_plain_entry_of_the_journal_is_refused(sealed: Session, field: str) -> None:
    await sealed.started()
    await sealed.redis.hset(sealed.keys.journal, field, b"1")
    with pytest.raises(SealBroken):
        await sealed.log_writer.recorded(ACME, "j1")


async def test_what_a_newer_worker_records_in_the_journal_is_ignored(sealed: Session) -> None:
    """During an upgrade an older worker may take its job over."""
    attempt = await sealed.started()
    await sealed.record(attempt, b"1")
    await sealed.redis.hset(sealed.keys.journal, "branch:left", b"of a form that is not known yet")
    recorded = await sealed.log_writer.recorded(ACME, "j1")
    assert recorded.steps == {"pay:0:abc": b"1"}


@pytest.mark.parametrize("models", [b"", b'["cheap"]'])
async def test_the_models_of_a_job_are_encrypted_and_an_attempt_has_them(sealed: Session, models: bytes) -> None:
    await sealed.submit(models=models)
    assert is_sealed(await sealed.redis.hget(sealed.keys.jobs, "j1:models") or b"")
    assert (await sealed.claim()).models == models


@pytest.mark.parametrize("field", ["models", "agent"])
@pytest.mark.parametrize("forged", [b'["dear"]', None])
async def test_no_attempt_gets_models_or_an_agent_that_its_tenant_may_not_use(
    sealed: Session, field: str, forged: bytes | None
) -> None:
    await sealed.submit(models=b'["cheap"]')
    if forged is None and field == "models":
        await sealed.redis.hdel(sealed.keys.jobs, "j1:models")
    else:
        await sealed.redis.hset(sealed.keys.jobs, f"j1:{field}", forged or b"other")
    assert isinstance(await sealed.try_claim(), Refusal)
    assert (await sealed.sessions.job(ACME, "j1")).ending["error"]["code"] == "seal_broken"
