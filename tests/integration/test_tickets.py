"""Tickets: short-lived, for one session, renewed in its stream; and the sign-in of a browser."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest
from holdfast.gateway.authentication.tickets import Ticket, write_ticket
from holdfast.shared import keys
from holdfast.shared.auth_store import ANNOUNCED, ANNOUNCEMENTS, AuthStore
from holdfast.shared.keys import session_keys
from holdfast.shared.redis.client import Redis

from tests.support.access import Caller, guarded, key_of
from tests.support.process import until
from tests.support.served import Served
from tests.support.sse import Frame, SseStream
from tests.support.tokens import sibling

LATER = 4e9


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with guarded(redis_url) as gateway:
        yield gateway


def events(gateway: Served, ticket: str) -> SseStream:
    return SseStream(f"{gateway.url}/v1/sessions/s/events?ticket={ticket}")


async def until_end(stream: SseStream) -> Sequence[Frame]:
    return [frame async for frame in stream]


class TestRights:
    async def test_a_ticket_reads_its_session_by_header_query_and_cookie(self, gateway: Served, owner: Caller) -> None:
        ticket = await owner.ticket()
        for path, fields in (
            ("/v1/sessions/s", {"Authorization": f"Bearer {ticket}"}),
            (f"/v1/sessions/s?ticket={ticket}", {}),
            ("/v1/sessions/s", {"Cookie": f"a=b; __Host-holdfast-ticket={ticket}"}),
        ):
            assert (await Caller(gateway)("GET", path, **fields)).status_code == 200

    async def test_to_a_ticket_another_session_of_its_owner_does_not_exist(
        self, gateway: Served, owner: Caller
    ) -> None:
        await owner.job("other")
        caller = Caller(gateway, await owner.ticket())
        there, nowhere = await caller("GET", "/v1/sessions/other"), await caller("GET", "/v1/sessions/nowhere")
        assert (there.status_code, there.content) == (404, nowhere.content)
        assert (await caller("GET", "/v1/sessions")).json()["sessions"][0]["session_id"] == "s"

    async def test_a_ticket_does_not_tell_how_many_sessions_its_owner_has(self, gateway: Served, owner: Caller) -> None:
        for session in ("s", "o1", "o2"):
            await owner.job(session)
        caller = Caller(gateway, await owner.ticket())
        for query in ("limit=1", "limit=1&q=s"):
            listed = (await caller("GET", f"/v1/sessions?{query}")).json()
            assert [session["session_id"] for session in listed["sessions"]] == ["s"]
            assert listed["next"] is None
        assert (await caller("GET", "/v1/sessions?cursor=1")).json() == {"sessions": [], "next": None}

    async def test_a_ticket_has_only_the_rights_that_were_asked_for(self, gateway: Served, owner: Caller) -> None:
        job = await owner.job()
        reading = Caller(gateway, await owner.ticket())
        for method, path in (
            ("POST", f"/v1/sessions/s/jobs/{job}/cancel"),
            ("POST", "/v1/sessions/s/jobs"),
            ("POST", "/v1/sessions/s/tickets"),
            ("DELETE", "/v1/sessions/s"),
        ):
            refused = await reading(method, path, {"agent": "scripted", "input": "x"} if method == "POST" else None)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), path
        stopping = Caller(gateway, await owner.ticket(rights=["read", "stop"]))
        assert (await stopping("POST", f"/v1/sessions/s/jobs/{job}/cancel")).status_code == 202

    async def test_nobody_can_give_rights_that_he_lacks(self, gateway: Served, owner: Caller) -> None:
        caller = await key_of(gateway, "acme", ["read", "ticket"])
        assert (await caller("POST", "/v1/sessions/s/tickets", {"rights": ["stop"]})).status_code == 403

    async def test_a_ticket_is_made_for_sessions_that_exist_only(self, gateway: Served, owner: Caller) -> None:
        stranger = await key_of(gateway, "other")
        foreign = await stranger("POST", "/v1/sessions/s/tickets", {})
        unknown = await stranger("POST", "/v1/sessions/t/tickets", {})
        assert (foreign.status_code, foreign.content) == (404, unknown.content)

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"rights": []}, "rights"),
            ({"rights": ["delete"]}, "rights.0"),
            ({"rights": "read"}, "rights"),
            ({"expires_in_s": 0}, "expires_in_s"),
            ({"expires_in_s": 3601}, "expires_in_s"),
            ({"for": "ever"}, "for"),
            ([], "body"),
        ],
    )
    async def test_an_invalid_body_names_the_field(self, owner: Caller, body: object, field: str) -> None:
        refused = await owner("POST", "/v1/sessions/s/tickets", body)
        assert (refused.status_code, refused.json()["field"]) == (422, field)

    async def test_a_ticket_does_not_contain_the_key_that_made_it(self, owner: Caller) -> None:
        assert owner.token.split("_", 2)[2] not in await owner.ticket()


class TestForgery:
    @pytest.mark.parametrize("change", ["payload", "signature", "secret"])
    async def test_a_ticket_that_was_changed_is_refused(self, gateway: Served, owner: Caller, change: str) -> None:
        secret = await gateway.redis.get(keys.AUTH_SECRET)
        ticket = Ticket("acme//s", "acme", "", ["read"], 1, LATER, 0)
        text = write_ticket(b"another" if change == "secret" else secret or b"", ticket)
        if change == "payload":
            other = write_ticket(b"", ticket._replace(session="acme//t"))
            text = f"{other.partition('.')[0]}.{text.partition('.')[2]}"
        if change == "signature":
            text = text[:-2] + ("AA" if text[-2:] != "AA" else "BB")
        assert (await Caller(gateway, text)("GET", "/v1/sessions/s")).status_code == 401

    @pytest.mark.parametrize("at", [-1, -20])
    async def test_a_ticket_has_one_text(self, gateway: Served, owner: Caller, at: int) -> None:
        ticket = await owner.ticket()
        for text in (f"{ticket[:at]}!{ticket[at:]}", f"{ticket}=", f"{ticket}\xa0", sibling(ticket)):
            headers = {b"authorization": f"Bearer {text}".encode("latin-1")}
            refused = await gateway.client.get("/v1/sessions/s", headers=list(headers.items()))
            assert refused.status_code == 401, text

    @pytest.mark.parametrize("secret", [b"", b"short"])
    async def test_without_a_good_secret_every_ticket_is_refused_until_there_is_one(
        self, gateway: Served, owner: Caller, secret: bytes
    ) -> None:
        before = Caller(gateway, await owner.ticket())
        await gateway.redis.set(keys.AUTH_SECRET, secret)

        async def status(caller: Caller, method: str, path: str) -> int:
            return (await caller(method, path, {} if method == "POST" else None)).status_code

        async def refused() -> bool:
            return await status(before, "GET", "/v1/sessions/s") == 401

        await until(refused)
        forged = Ticket("acme//s", "acme", "", ["read"], 1, LATER, 0)
        assert await status(Caller(gateway, write_ticket(secret, forged)), "GET", "/v1/sessions/s") == 401
        assert await status(owner, "POST", "/v1/sessions/s/tickets") == 503
        assert await status(owner, "GET", "/v1/sessions/s") == 200
        await gateway.redis.delete(keys.AUTH_SECRET)

        async def made() -> bool:
            return await status(owner, "POST", "/v1/sessions/s/tickets") == 201

        await until(made)
        assert await status(Caller(gateway, await owner.ticket()), "GET", "/v1/sessions/s") == 200

    async def test_a_server_that_is_emptied_while_it_is_read_leaves_no_state_without_a_secret(
        self, gateway: Served
    ) -> None:
        redis = gateway.redis

        class Emptied:
            async def set(self, *arguments: Any, **options: Any) -> None:
                await redis.set(*arguments, **options)
                await redis.flushdb()

            def __getattr__(self, name: str) -> Any:
                return getattr(redis, name)

        assert len((await AuthStore(cast("Redis", Emptied())).state()).version.secret or b"") == 32

    async def test_two_tickets_in_one_query_are_refused(self, gateway: Served, owner: Caller) -> None:
        ticket = await owner.ticket()
        refused = await Caller(gateway)("GET", f"/v1/sessions/s?ticket={ticket}&ticket={ticket}")
        assert refused.status_code == 401


class TestStreams:
    async def test_a_stream_gets_a_new_ticket_before_its_own_expires_and_goes_on(
        self, gateway: Served, owner: Caller
    ) -> None:
        async with events(gateway, await owner.ticket(expires_in_s=2)) as stream:
            renewed = [event.json async for event in _tickets(stream, 2)]
        assert all(event["expires_at"] for event in renewed)
        fresh = Caller(gateway, renewed[-1]["ticket"])
        assert (await fresh("GET", "/v1/sessions/s")).status_code == 200

    async def test_a_renewed_ticket_moves_no_cursor(self, gateway: Served, owner: Caller) -> None:
        async with events(gateway, await owner.ticket(expires_in_s=2)) as stream:
            assert [event.id async for event in _tickets(stream, 1)] == [""]

    async def test_a_stream_whose_ticket_is_not_renewable_ends_when_it_expires(
        self, gateway: Served, owner: Caller
    ) -> None:
        ticket = await owner.ticket(expires_in_s=1, renewable=False)
        async with events(gateway, ticket) as stream:
            assert await until_end(stream) == []
        assert (await Caller(gateway, ticket)("GET", "/v1/sessions/s/events")).status_code == 401

    async def test_a_stream_whose_ticket_is_revoked_ends(self, gateway: Served, owner: Caller) -> None:
        ticket = await owner.ticket()
        async with events(gateway, ticket) as stream:
            assert stream.status == 200
            assert (await owner("DELETE", "/v1/sessions/s/tickets")).status_code == 204
            assert await until_end(stream) == []
        assert (await Caller(gateway, ticket)("GET", "/v1/sessions/s")).status_code == 401
        assert (await Caller(gateway, await owner.ticket())("GET", "/v1/sessions/s")).status_code == 200

    async def test_a_stream_ends_with_the_key_that_made_its_ticket(self, gateway: Served, owner: Caller) -> None:
        async with events(gateway, await owner.ticket()) as stream:
            await AuthStore(gateway.redis).revoke_key(owner.token.split("_")[1])
            assert await until_end(stream) == []

    async def test_the_stream_of_another_session_goes_on_after_a_revocation(
        self, gateway: Served, owner: Caller
    ) -> None:
        await owner.job("other")
        ticket = await owner.ticket("other", expires_in_s=2)
        async with SseStream(f"{gateway.url}/v1/sessions/other/events?ticket={ticket}") as stream:
            await owner("DELETE", "/v1/sessions/s/tickets")
            assert [event.json["type"] async for event in _tickets(stream, 2)] == ["ticket", "ticket"]


class TestRevocation:
    async def test_revocations_leave_nothing_that_grows(self, gateway: Served, owner: Caller) -> None:
        store = AuthStore(gateway.redis)
        before = await store.state()
        for _ in range(3):
            assert (await owner("DELETE", "/v1/sessions/s/tickets")).status_code == 204
        assert await store.state() == before
        assert not await gateway.redis.exists(keys.AUTH_REVOKED)
        commands = [("XADD", keys.AUTH_REVOCATIONS, *ANNOUNCED, "*", f"acme//{n}", "") for n in range(3000)]
        await gateway.redis.call_all(commands)
        await store.announce_revocation("acme//s")
        assert await gateway.redis.call("XLEN", keys.AUTH_REVOCATIONS) < 1200
        announced = await store.announced_since("0")
        assert (len(announced.sessions), announced.partial) == (ANNOUNCEMENTS, True)
        assert (await store.announced_since(announced.newest)).sessions == {"acme//s"}

    async def test_a_ticket_ends_with_its_session(self, gateway: Served, owner: Caller) -> None:
        reading = Caller(gateway, await owner.ticket())
        assert (await reading("GET", "/v1/sessions/s")).status_code == 200
        await gateway.redis.delete(*session_keys("acme//s"))  # as the worker does at the end of a deletion
        await owner.job()
        assert (await reading("GET", "/v1/sessions/s")).status_code == 401
        assert (await Caller(gateway, await owner.ticket())("GET", "/v1/sessions/s")).status_code == 200

    async def test_a_session_that_is_deleted_gets_no_ticket(self, gateway: Served, owner: Caller) -> None:
        assert (await owner("DELETE", "/v1/sessions/s")).status_code == 202
        assert (await owner("POST", "/v1/sessions/s/tickets", {})).status_code == 404

    async def test_the_tickets_of_a_session_are_valid_side_by_side(self, gateway: Served, owner: Caller) -> None:
        for ticket in [await owner.ticket(), await owner.ticket()]:
            assert (await Caller(gateway, ticket)("GET", "/v1/sessions/s")).status_code == 200

    async def test_a_stream_of_another_gateway_ends_too(self, gateway: Served, owner: Caller, redis_url: str) -> None:
        async with guarded(redis_url) as other, events(other, await owner.ticket()) as stream:
            await owner("DELETE", "/v1/sessions/s/tickets")
            assert await until_end(stream) == []

    async def test_a_stream_ends_even_if_its_revocation_is_trimmed_from_the_announcements(
        self, gateway: Served, owner: Caller
    ) -> None:
        async with events(gateway, await owner.ticket()) as stream:
            await owner("DELETE", "/v1/sessions/s/tickets")
            await gateway.redis.call_all(
                [("XADD", keys.AUTH_REVOCATIONS, *ANNOUNCED, "*", f"acme//{n}", "") for n in range(3000)]
            )
            assert await until_end(stream) == []

    async def test_the_tickets_and_sign_ins_of_a_tenant_are_revoked(self, gateway: Served, owner: Caller) -> None:
        ticket = await owner.ticket()
        cookie = (await owner("POST", "/v1/sign-in")).headers["set-cookie"].partition(";")[0]
        async with events(gateway, ticket) as stream:
            await AuthStore(gateway.redis).revoke_tickets("acme")
            assert await until_end(stream) == []
        for caller in (Caller(gateway, ticket), Caller(gateway, Cookie=cookie)):
            assert (await caller("GET", "/v1/sessions/s")).status_code == 401


class TestSignIn:
    async def test_a_sign_in_is_a_cookie_that_no_script_reads(self, gateway: Served, owner: Caller) -> None:
        signed_in = await owner("POST", "/v1/sign-in")
        assert (signed_in.status_code, signed_in.json()["tenant"]) == (200, "acme")
        name, *attributes = signed_in.headers["set-cookie"].split("; ")
        assert {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"} <= set(attributes)
        browser = Caller(gateway, Cookie=name)
        assert (await browser("GET", "/v1/sessions/s")).status_code == 200
        assert (await browser("GET", "/v1/sign-in")).json()["rights"] == sorted(signed_in.json()["rights"])

    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            ({}, 403),
            ({"Origin": "https://evil.example"}, 403),
            ({"Sec-Fetch-Site": "none"}, 403),
            ({"Sec-Fetch-Site": "same-origin"}, 202),
        ],
    )
    async def test_a_cookie_has_an_effect_from_pages_of_the_gateway_only(
        self, gateway: Served, owner: Caller, fields: dict[str, str], status: int
    ) -> None:
        cookie = (await owner("POST", "/v1/sign-in")).headers["set-cookie"].partition(";")[0]
        body = {"agent": "scripted", "input": "x"}
        answered = await Caller(gateway, Cookie=cookie)("POST", "/v1/sessions/s/jobs", body, **fields)
        assert answered.status_code == status

    async def test_signing_out_deletes_the_cookie(self, owner: Caller) -> None:
        assert "Max-Age=0" in (await owner("DELETE", "/v1/sign-in")).headers["set-cookie"]

    async def test_a_ticket_is_no_sign_in(self, gateway: Served, owner: Caller) -> None:
        refused = await Caller(gateway, await owner.ticket())("POST", "/v1/sign-in")
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert "one session" in refused.json()["detail"]

    async def test_a_key_signs_in_with_the_rights_that_it_has(self, gateway: Served) -> None:
        signed_in = await (await key_of(gateway, "acme", ["observe", "read"]))("POST", "/v1/sign-in")
        assert (signed_in.status_code, signed_in.json()["rights"]) == (200, ["observe", "read"])
        browser = Caller(gateway, Cookie=signed_in.headers["set-cookie"].partition(";")[0])
        assert (await browser("GET", "/v1/overview")).status_code == 200
        own_page = {"Sec-Fetch-Site": "same-origin"}
        assert (await browser("DELETE", "/v1/sessions/s", **own_page)).status_code == 403
        assert (await browser("POST", "/v1/sessions/s/tickets", {}, **own_page)).status_code == 403


async def _tickets(stream: SseStream, count: int) -> AsyncIterator[Frame]:
    async for frame in stream:
        if json.loads(frame.data)["type"] == "ticket":
            yield frame
            count -= 1
            if not count:
                return
