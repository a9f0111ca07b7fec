"""API keys: who may do what with whose sessions."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from holdfast.shared.auth_store import AuthStore, Tenant

from tests.support.access import JOB, Caller, guarded, key_of
from tests.support.process import Processes, until
from tests.support.served import Served
from tests.support.sse import SseStream

GATEWAY = [sys.executable, "-m", "holdfast.gateway"]


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with guarded(redis_url) as gateway:
        yield gateway


class TestKeys:
    async def test_a_key_is_accepted_as_soon_as_it_is_created(self, gateway: Served) -> None:
        assert (await (await key_of(gateway, "acme"))("GET", "/v1/sessions")).status_code == 200

    @pytest.mark.parametrize(
        "given",
        [
            {},
            {"Authorization": "Basic YTpi"},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer hf_0123456789ab_wrong"},
            {"Authorization": "Bearer hf_"},
            {"Authorization": f"Bearer {'x' * 9000}"},
            {"Authorization": "Bearer hft_e30.e30"},
            {"Authorization": "Bearer a.b.c"},
            {"Cookie": "__Host-holdfast=nonsense"},
        ],
    )
    async def test_a_call_without_valid_credentials_is_401(self, gateway: Served, given: dict[str, str]) -> None:
        response = await Caller(gateway)("GET", "/v1/sessions", **given)
        assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert "hf_" not in response.text

    async def test_the_secret_of_one_key_does_not_open_another(self, gateway: Served) -> None:
        ann, bob = await key_of(gateway, "acme"), await key_of(gateway, "other")
        mixed = "_".join([*ann.token.split("_")[:2], bob.token.split("_", 2)[2]])
        assert (await Caller(gateway, mixed)("GET", "/v1/sessions")).status_code == 401

    async def test_several_keys_of_a_tenant_share_its_sessions(self, gateway: Served) -> None:
        await (await key_of(gateway, "acme")).job()
        assert (await (await key_of(gateway, "acme"))("GET", "/v1/sessions/s")).status_code == 200

    async def test_a_revoked_key_is_refused(self, gateway: Served) -> None:
        caller = await key_of(gateway, "acme")
        assert (await caller("GET", "/v1/sessions")).status_code == 200
        await AuthStore(gateway.redis).revoke_key(caller.token.split("_")[1])

        async def refused() -> bool:
            return (await caller("GET", "/v1/sessions")).status_code == 401

        await until(refused)

    async def test_an_expired_key_is_refused(self, gateway: Served) -> None:
        _, token = await AuthStore(gateway.redis).create_key("acme", ["read"], expires_at=1)
        refused = await Caller(gateway, token)("GET", "/v1/sessions")
        assert (refused.status_code, refused.json()["detail"]) == (401, "the credentials have expired")

    async def test_only_a_digest_of_a_key_is_stored(self, gateway: Served) -> None:
        caller = await key_of(gateway, "acme")
        stored = await gateway.redis.hgetall("holdfast:auth:keys")
        assert caller.token.split("_", 2)[2].encode() not in b"".join([*stored, *stored.values()])

    @pytest.mark.parametrize("path", ["/", "/console", "/livez", "/readyz", "/openapi.json", "/web/app.js"])
    async def test_the_page_and_health_need_no_credentials(self, gateway: Served, path: str) -> None:
        assert (await Caller(gateway)("GET", path)).status_code != 401

    async def test_metrics_need_the_right_of_operators(self, gateway: Served) -> None:
        assert (await (await key_of(gateway, "acme"))("GET", "/metrics")).status_code == 403
        assert (await (await key_of(gateway, "acme", ["operate"]))("GET", "/metrics")).status_code == 200

    async def test_a_request_with_two_authorization_fields_is_refused(self, gateway: Served) -> None:
        caller = await key_of(gateway, "acme")
        fields = [("Authorization", f"Bearer {caller.token}")] * 2
        assert (await gateway.client.get("/v1/sessions", headers=fields)).status_code == 401


class TestSubjects:
    async def test_a_key_speaks_for_the_subject_that_it_names(self, gateway: Served) -> None:
        key = await key_of(gateway, "acme")
        ann, bob = (Caller(gateway, key.token, **{"Holdfast-Subject": name}) for name in ("ann", "b%C3%B6b"))
        await ann.job()
        assert (await ann("GET", "/v1/sessions/s")).status_code == 200
        for stranger in (bob, key):
            assert (await stranger("GET", "/v1/sessions/s")).status_code == 404

    @pytest.mark.parametrize("subject", ["\xe4", "%FF", "x" * 256])
    async def test_a_subject_that_cannot_be_one_is_refused(self, gateway: Served, subject: str) -> None:
        key = await key_of(gateway, "acme")
        headers = {b"authorization": f"Bearer {key.token}".encode(), b"holdfast-subject": subject.encode("latin-1")}
        refused = await gateway.client.get("/v1/sessions", headers=list(headers.items()))
        assert (refused.status_code, refused.json()["field"]) == (422, "Holdfast-Subject")

    async def test_two_subjects_are_refused(self, gateway: Served) -> None:
        """A proxy may add the field and pass on that of its client."""
        key = await key_of(gateway, "acme")
        fields = [("Authorization", f"Bearer {key.token}"), ("Holdfast-Subject", "ann"), ("Holdfast-Subject", "bob")]
        refused = await gateway.client.get("/v1/sessions", headers=fields)
        assert (refused.status_code, refused.json()["field"]) == (422, "Holdfast-Subject")


class TestTenants:
    async def test_a_tenant_sees_only_the_agents_that_it_may_use(self, gateway: Served) -> None:
        await gateway.offer("scripted", "secret")
        await AuthStore(gateway.redis).set_tenant("acme", Tenant(["scripted"]))
        caller = await key_of(gateway, "acme")
        assert [one["name"] for one in (await caller("GET", "/v1/agents")).json()["agents"]] == ["scripted"]
        assert [one["id"] for one in (await caller("GET", "/openai/v1/models")).json()["data"]] == ["scripted"]
        foreign = await caller("POST", "/v1/jobs", JOB | {"agent": "secret"})
        unknown = await caller("POST", "/v1/jobs", JOB | {"agent": "nobody"})
        assert (foreign.status_code, foreign.text) == (404, unknown.text.replace("nobody", "secret"))

    async def test_a_tenant_may_name_only_the_models_that_it_may_use(self, gateway: Served) -> None:
        await AuthStore(gateway.redis).set_tenant("acme", Tenant(None, ["small"]))
        caller = await key_of(gateway, "acme")
        refused = await caller("POST", "/v1/jobs", JOB | {"options": {"model": "large"}})
        assert (refused.status_code, refused.json()["field"]) == (422, "options.model")
        assert (await caller("POST", "/v1/jobs", JOB | {"options": {"model": "small"}})).status_code == 202


async def test_the_stream_of_a_revoked_key_ends(gateway: Served) -> None:
    caller = await key_of(gateway, "acme")
    await caller.job()
    async with SseStream(f"{gateway.url}/v1/sessions/s/events", headers=caller.headers) as stream:
        assert stream.status == 200
        await AuthStore(gateway.redis).revoke_key(caller.token.split("_")[1])
        assert [frame async for frame in stream] == []
    assert (await caller("GET", "/v1/sessions/s/events")).status_code == 401


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, "HOLDFAST_AUTH is not set"),
        ({"HOLDFAST_AUTH": "jwt"}, "HOLDFAST_JWT_ISSUER"),
        ({"HOLDFAST_AUTH": "yes"}, "HOLDFAST_AUTH"),
    ],
)
async def test_a_gateway_that_others_can_reach_does_not_start_without_a_choice(
    processes: Processes, settings: dict[str, Any], wanted: str
) -> None:
    gateway = processes.start(GATEWAY, HOLDFAST_HOST="0.0.0.0", HOLDFAST_PORT="0", **settings)
    assert await gateway.wait() == 2
    [line] = gateway.output().strip().splitlines()
    assert line.startswith("holdfast gateway:")
    assert wanted in line


async def test_authentication_that_is_off_where_others_can_reach_it_is_logged(
    processes: Processes, redis_url: str
) -> None:
    reachable = {"HOLDFAST_HOST": "0.0.0.0", "HOLDFAST_PORT": "0", "HOLDFAST_AUTH": "off"}
    gateway = processes.start(GATEWAY, HOLDFAST_REDIS_URL=redis_url, **reachable)
    await gateway.until_output("authentication is off")


async def test_the_commands_create_list_and_revoke_keys_and_restrict_tenants(
    processes: Processes, gateway: Served
) -> None:
    async def holdfast(*arguments: str) -> str:
        process = processes.start(
            [sys.executable, "-m", "holdfast", *arguments], HOLDFAST_REDIS_URL=gateway.settings.redis_url
        )
        assert await process.wait() == 0, process.output()
        return process.output().strip()

    token = await holdfast("keys", "create", "--tenant", "acme", "--name", "backend")
    assert (await Caller(gateway, token)("GET", "/v1/sessions")).status_code == 200
    listed = await holdfast("keys", "list", "--tenant", "acme")
    assert "backend" in listed
    assert token.split("_", 2)[2] not in listed
    await holdfast("tenants", "set", "acme", "--agents", "nothing")
    assert await holdfast("tenants", "list") == "acme  agents: nothing  models: all"
    await holdfast("keys", "revoke", listed.split()[0])
    assert await holdfast("keys", "list") == ""
