"""No secret is in any log line of a gateway and a worker, whatever callers and receivers do."""

from __future__ import annotations

from typing import Any

import httpx2
from holdfast.gateway.authentication.authenticator import USER_RIGHTS
from holdfast.gateway.authentication.credentials import COOKIE
from holdfast.shared.auth_store import AuthStore
from holdfast.shared.redis.client import connect
from holdfast.shared.webhooks.signature import tenant_secret

from tests.support.crossing_webhooks import HOOKS, SECRET
from tests.support.crossings import JWT_SECRET, SETTINGS, jwt
from tests.support.process import Processes, until
from tests.support.receiver import OK, receiver
from tests.support.sealed import master_keys
from tests.support.websocket_client import open_socket, receive

KEYS = master_keys("m1")
WRONG = "hfk_wrong-token-of-somebody"
FAILED = b"HTTP/1.1 500 leaked-by-the-receiver\r\nContent-Length: 0\r\n\r\n"
JOB: dict[str, Any] = {"agent": "scripted", "input": "confided", "options": {"tokens": 1, "interval_ms": 0}}


async def test_no_log_line_has_a_secret(processes: Processes, redis_url: str) -> None:
    settings = SETTINGS | HOOKS | {"HOLDFAST_ENCRYPTION_KEYS": KEYS, "HOLDFAST_WEBHOOK_RETRY_SECONDS": "0.05"}
    gateway, worker = processes.gateway(redis_url, **settings), processes.worker(redis_url, **settings)
    await gateway.until_ready()
    redis = connect(redis_url, max_connections=1)
    stored, key = await AuthStore(redis).create_key("acme", USER_RIGHTS)
    token = jwt("acme", "ann")
    async with (
        receiver(lambda number: [FAILED, b"leaked-by-the-receiver\r\n\r\n", OK][min(number, 2)]) as hook,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client,
    ):
        bearer = {"Authorization": f"Bearer {token}"}
        posted = JOB | {"webhook": hook.hook}

        async def accepted() -> bool:
            return (await client.post("/v1/sessions/s/jobs", json=posted, headers=bearer)).status_code == 202

        await until(accepted)
        await hook.got(3)
        await worker.until_output("webhook delivered")
        ticket = (await client.post("/v1/sessions/s/tickets", json={}, headers=bearer)).json()["ticket"]
        signed_in = await client.post("/v1/sign-in", headers={"Authorization": f"Bearer {key}"})
        cookie = signed_in.headers["set-cookie"].partition(";")[0].removeprefix(f"{COOKIE}=")
        for sent in (WRONG, ticket[:-2], key[:-2], token[:-2], ticket, key, token):
            await client.get("/v1/sessions/s", headers={"Authorization": f"Bearer {sent}"})
            await client.get(f"/v1/sessions/s?ticket={sent}")
            await client.get(f"/v1/{sent}?last_event_id={sent}", headers={"Cookie": f"{COOKIE}={sent}"})
        async with open_socket(int(gateway.url.rpartition(":")[2]), query=f"?ticket={ticket}") as socket:
            await receive(socket)
        await AuthStore(redis).revoke_key(stored.key_id)
    await redis.aclose()
    for process in (gateway, worker):
        process.terminate()
        assert await process.wait() == 0
    lines = gateway.output() + worker.output()
    assert "webhook not delivered; it is retried" in lines
    given = {"key": key, "ticket": ticket, "cookie": cookie, "JWT": token, "wrong token": WRONG}
    ours = {
        "secret of webhooks": SECRET,
        "secret of a tenant's webhooks": tenant_secret(SECRET.encode(), "acme"),
        "secret of JWTs": JWT_SECRET,
        "master key": KEYS.partition(":")[2],
    }
    content = {"URL of a webhook": "private-1", "input": "confided", "response": "leaked-by-the-receiver"}
    secrets = given | ours | content
    shown = {name for name, secret in secrets.items() for part in _parts(secret) if part in lines}
    assert shown == set()


def _parts(secret: str) -> list[str]:
    """A token of which a part is random is not shown by its beginning, which others have too."""
    return [secret] if len(secret) < 30 else [secret[12:28], secret[-16:]]
