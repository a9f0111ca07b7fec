"""The page where a gateway authenticates: a sign-in with a JWT, and tickets that are renewed or revoked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from holdfast.gateway.authentication.authenticator import USER_RIGHTS
from holdfast.shared.auth_store import AuthStore
from holdfast.shared.redis.client import connect

from tests.support.browser import Context, Page
from tests.support.gated import Gate, told
from tests.support.process import Gateway, Processes, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "a secret of at least 32 bytes, for tests"
JWT: dict[str, Any] = {
    "HOLDFAST_AUTH": "keys,jwt",
    "HOLDFAST_JWT_SECRET": SECRET,
    "HOLDFAST_JWT_ISSUER": "https://id.test",
    "HOLDFAST_JWT_AUDIENCE": "holdfast",
}
KEPT = "JSON.parse(sessionStorage.getItem('holdfast.ticket')).ticket"
LAST = "document.querySelector('[data-job]')"


def token(subject: str) -> str:
    """A JWT of the tenant acme."""
    claims = {"iss": "https://id.test", "aud": "holdfast", "sub": subject, "tenant": "acme", "exp": 4_000_000_000}
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in ({"alg": "HS256"}, claims)]
    mac = hmac.digest(SECRET.encode(), b".".join(parts), hashlib.sha256)
    return b".".join([*parts, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()


@dataclass
class Deployment:
    """A gateway that authenticates, a worker, and a caller with an API key of the tenant acme."""

    gateway: Gateway
    gate: Gate
    client: httpx2.AsyncClient

    async def call(self, method: str, path: str, body: object = None) -> Any:
        response = await self.client.request(method, f"/v1/sessions/session{path}", json=body)
        response.raise_for_status()
        return response.json() if response.content else None


@pytest_asyncio.fixture(loop_scope="module")
async def deployment(processes: Processes, redis_url: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    gateway = processes.gateway(redis_url, **JWT)
    processes.worker(redis_url, HOLDFAST_AGENTS="tests.support.gated")
    await gateway.until_ready()
    redis = connect(redis_url, max_connections=1)
    _, key = await AuthStore(redis).create_key("acme", USER_RIGHTS)
    await redis.aclose()
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False) as client:

        async def offered() -> bool:
            return "gated" in (await client.get("/v1/agents")).text

        await until(offered)
        yield Deployment(gateway, Gate(tmp_path / "gate"), client)


@pytest_asyncio.fixture(loop_scope="module")
async def shared(deployment: Deployment, context: Context) -> Page:
    """The page behind a link with a ticket, with a job that writes as its gate opens."""
    job = {"agent": "gated", "input": str(deployment.gate.path)}
    posted = await deployment.call("POST", "/jobs", job)
    made = await deployment.call("POST", "/tickets", {"rights": ["read", "answer"], "expires_in_s": 2})
    page = await context.page(f"{deployment.gateway.url}/#session~{made['ticket']}")
    await page.until("document.querySelector('.question[data-state=waiting]')")
    await deployment.call("POST", f"/jobs/{posted['job_id']}/answer", {"value": "Faro"})
    return page


async def test_a_person_signs_in_with_a_jwt_and_stays_signed_in(deployment: Deployment, context: Context) -> None:
    page = await context.page(f"{deployment.gateway.url}/#mine")
    await page.until("document.getElementById('sign-in').open")
    await page.call("fill", "#token", "nonsense")
    await page.call("press", "#token", "Enter")
    await page.until("!document.getElementById('sign-in-problem').hidden")
    await page.call("fill", "#token", token("ann"))
    await page.call("press", "#token", "Enter")
    await page.until("!document.getElementById('sign-in').open")
    deployment.gate.open()
    await page.ask(str(deployment.gate.path), agent="gated")
    await page.until("document.querySelector('.question[data-state=waiting]')")
    assert not await page.evaluate("document.cookie")
    await page.call("reload")
    await page.until("document.querySelector('.question[data-state=waiting]')")
    await page.call("click", "#sign-out")
    await page.call("waitForSelector", "#sign-in[open]")  # also if the page is loaded again meanwhile


async def key(redis_url: str, *rights: str) -> str:
    redis = connect(redis_url, max_connections=1)
    _, token = await AuthStore(redis).create_key("acme", rights)
    await redis.aclose()
    return token


async def sign_in(page: Page, token: str) -> None:
    await page.until("document.getElementById('sign-in').open")
    await page.call("fill", "#token", token)
    await page.call("press", "#token", "Enter")
    await page.until("!document.getElementById('sign-in').open")


async def test_a_first_visit_asks_for_credentials_and_says_of_none_that_they_ended(
    deployment: Deployment, context: Context
) -> None:
    for view in ("/", "/console", "/console#/sessions/session"):
        page = await context.page(f"{deployment.gateway.url}{view}")
        await page.until("document.getElementById('sign-in').open")
        if view == "/":
            await page.until("document.getElementById('connection').innerText === 'Not connected'")
        await page.until("performance.getEntriesByName(new URL('v1/sign-in', location.href).href).length")
        assert await page.evaluate("document.getElementById('sign-in-problem').hidden")


async def test_the_key_of_an_operator_signs_in_to_every_view(
    deployment: Deployment, context: Context, redis_url: str
) -> None:
    await deployment.call("POST", "/jobs", {"agent": "gated", "input": str(deployment.gate.path)})
    page = await context.page(f"{deployment.gateway.url}/console")
    await sign_in(page, await key(redis_url, "observe", "read"))
    await page.until("document.querySelector('polyline[points]')")
    await page.evaluate("void (location.hash = '#/sessions/session')")
    await page.until("document.body.textContent.includes('job.started')")
    assert await page.evaluate("document.getElementById('problem').hidden")
    chat = await context.page(f"{deployment.gateway.url}/#session")
    await chat.until_jobs("waiting")
    await chat.call("fill", "#input", "tea")
    await chat.call("press", "#input", "Enter")
    await chat.until("document.getElementById('problem').innerText.includes('The right `answer` is needed')")


async def test_a_console_that_may_not_show_a_view_names_the_right(
    deployment: Deployment, context: Context, redis_url: str
) -> None:
    page = await context.page(f"{deployment.gateway.url}/console")
    await sign_in(page, await key(redis_url, "stop"))
    await page.until("document.getElementById('problem').innerText.includes('The right `observe` is needed')")
    await page.evaluate("void (location.hash = '#/sessions/session')")
    await page.until("document.getElementById('problem').innerText.includes('The right `read` is needed')")
    assert not await page.evaluate("document.getElementById('sign-in').open")


async def test_a_sign_in_that_ends_while_the_page_is_open_says_so(
    deployment: Deployment, context: Context, redis_url: str
) -> None:
    page = await context.page(f"{deployment.gateway.url}/#session")
    token = await key(redis_url, "read")
    await sign_in(page, token)
    redis = connect(redis_url, max_connections=1)
    await AuthStore(redis).revoke_key(token.split("_")[1])
    await redis.aclose()
    await page.until("document.getElementById('sign-in').open")
    await page.until_shown("#sign-in-problem", "Your sign-in has ended. Sign in to continue.")


async def test_a_ticket_is_renewed_in_the_middle_of_an_answer(deployment: Deployment, shared: Page) -> None:
    assert "hft_" not in await shared.evaluate("location.href")
    first = await shared.evaluate(KEPT)
    deployment.gate.open(10)
    await shared.until(f"window.holdfast.text({LAST}.dataset.job).includes(' 9 ')")

    async def expired() -> bool:
        url = f"{deployment.gateway.url}/v1/sessions/session"
        async with httpx2.AsyncClient(trust_env=False) as client:
            return (await client.get(url, headers={"Authorization": f"Bearer {first}"})).status_code == 401

    await until(expired)
    assert await shared.evaluate(KEPT) != first
    deployment.gate.open()
    await shared.until_jobs("completed")
    [job_id] = await shared.job_ids()
    await shared.until_text(job_id, told())
    assert await shared.evaluate("document.getElementById('banner').hidden")


async def test_a_ticket_that_is_revoked_ends_the_page_politely(deployment: Deployment, shared: Page) -> None:
    deployment.gate.open(10)
    await shared.until(f"window.holdfast.text({LAST}.dataset.job).includes(' 9 ')")
    await deployment.call("DELETE", "/tickets")
    await shared.until("document.getElementById('problem').innerText === 'Your access to this conversation has ended.'")
    await shared.until("document.getElementById('banner').hidden")
    assert " 9 " in await shared.evaluate(f"window.holdfast.text({LAST}.dataset.job)")
