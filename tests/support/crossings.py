"""Attempts to reach sessions of another owner: guessed and crossed ids, cursors, keys and tickets, on every route.

Every attempt is sent twice, with what belongs to the victim and with the same things of nobody. Both responses must be
equal but for the ids in them, and none may contain what the victim's sessions contain. Both sides have webhooks, which
must come to their own receivers only. And access is taken away while WebSockets are open, which must end its use.
With encryption at rest, values on the log server are forged as well, see crossing_forgeries.py; none may be opened.

Prints a table of attempts by route, and ends with 1 if a response differed or had a byte of the victim.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx2
from holdfast.gateway.authentication.authenticator import USER_RIGHTS
from holdfast.shared.auth_store import AuthStore
from holdfast.shared.owner import Owner, complete_id
from holdfast.shared.redis.client import connect

from tests.support.crossing_attempts import ALPHABET, ATTEMPTS, HOOK, JOB, Attempt, Target
from tests.support.crossing_findings import Findings
from tests.support.crossing_forgeries import Forger
from tests.support.crossing_sockets import take_away
from tests.support.crossing_webhooks import HOOKS, Hook, examine, hook_of, reported
from tests.support.process import Gateway, Processes, until
from tests.support.receiver import Receiver, receiver
from tests.support.redis_server import RedisServer
from tests.support.sealed import files_of, master_keys

MARK = "marrow-of-the-victim"
POST_JOB = "POST /v1/jobs"
OWNER = "the owner"
JWT_SECRET = "a secret of at least 32 bytes, for tests"
SETTINGS: dict[str, Any] = {
    "HOLDFAST_AUTH": "keys,jwt",
    "HOLDFAST_JWT_SECRET": JWT_SECRET,
    "HOLDFAST_JWT_ISSUER": "https://id.test",
    "HOLDFAST_JWT_AUDIENCE": "holdfast",
    "HOLDFAST_SCRIPTED_AGENT": "1",
    **HOOKS,
}
IGNORED_FIELDS = frozenset({"date", "x-request-id", "retry-after"})


class Attacker:
    """Sends attempts with credentials of somebody who is not the owner of the victim's sessions."""

    def __init__(self, client: httpx2.AsyncClient, findings: Findings, fields: Mapping[str, str], hook: Hook) -> None:
        self.name = hook.name
        self.hook = hook
        self._client = client
        self._findings = findings
        self._fields = fields

    async def cross(self, attempt: Attempt, victim: Target, nobody: Target) -> None:
        """Send an attempt with the ids of a victim and with those of nobody, in a random order."""
        found = self._findings
        pair = [(0, victim), (1, nobody)]
        random.shuffle(pair)  # neither is always the first
        seen: dict[int, tuple[int, str, str]] = {}
        for which, target in pair:
            began = time.perf_counter()
            status, fields, body = await self._send(attempt, target)
            found.times_s[attempt.name][which].append(time.perf_counter() - began)
            seen[which] = status, target.anonymous(fields), target.anonymous(body)
            if status == 202 and attempt.name == POST_JOB:
                self._own(body)
            if MARK in body + fields:
                found.wrong.append(f"{self.name}: {attempt.name} shows the victim's content")
        found.attempts[attempt.name] += 1
        found.statuses[attempt.name][seen[0][0]] += 1
        if attempt.name == POST_JOB:  # a job of the attacker's own, whose ids are new
            return
        if seen[0] != seen[1]:
            found.wrong.append(f"{self.name}: {attempt.name}: {seen[0]} but {seen[1]}"[:600])

    async def imitate(self, victim: Target) -> None:
        """Create a session of the attacker's own with the id of the victim's."""
        status, _, body = await self._send(Attempt("POST", "/v1/sessions/{session}/jobs", JOB | HOOK), victim)
        if status != 202:
            self._findings.wrong.append(f"{self.name}: a session of the attacker's own got {status}: {body}")
        else:
            self._own(body)

    def _own(self, body: str) -> None:
        posted = json.loads(body)
        self.hook.jobs.add((posted["session_id"], posted["job_id"]))

    async def guess(self, name: str, path: str, token: str) -> None:
        """Send a guessed token."""
        response = await self._client.get(path, headers={"Authorization": f"Bearer {token}"})
        self._findings.attempts[name] += 1
        self._findings.statuses[name][response.status_code] += 1
        if response.status_code != 401 or MARK in response.text:
            self._findings.wrong.append(f"a guessed token got {response.status_code}: {name}")

    async def _send(self, attempt: Attempt, target: Target) -> tuple[int, str, str]:
        ids = {"session": target.session, "job": target.job, "cursor": target.cursor, "key": target.key}
        ids["hook"] = self.hook.url
        fields = {name: _filled(value, ids) for name, value in attempt.fields.items()} | dict(self._fields)
        body = None if attempt.body is None else json.loads(_filled(json.dumps(attempt.body), ids))
        path = _filled(attempt.path, ids)
        async with self._client.stream(attempt.method, path, json=body, headers=fields) as response:
            content = b""
            async for chunk in response.aiter_bytes():
                content += chunk
        shown = "\n".join(f"{k}: {v}" for k, v in sorted(response.headers.items()) if k not in IGNORED_FIELDS)
        return response.status_code, shown, content.decode()


def _filled(text: str, ids: Mapping[str, str]) -> str:
    for name, value in ids.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _random_id(rng: random.Random, like: str) -> str:
    """Return an id of the same length, with digits where the other one has them."""
    return "".join(
        rng.choice("123456789") if c.isdigit() else rng.choice(ALPHABET[:52]) if c.isalnum() else c for c in like
    )


def nobody_like(rng: random.Random, target: Target) -> Target:
    """Return the ids of a session that does not exist."""
    return Target(*(_random_id(rng, getattr(target, name)) for name in ("session", "job", "cursor", "key")))


def jwt(tenant: str, subject: str) -> str:
    """Return a JWT that the gateway accepts."""
    claims = {"iss": "https://id.test", "aud": "holdfast", "sub": subject, "tenant": tenant, "exp": 4_000_000_000}
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in ({"alg": "HS256"}, claims)]
    mac = hmac.digest(JWT_SECRET.encode(), b".".join(parts), hashlib.sha256)
    return b".".join([*parts, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()


async def victims(client: httpx2.AsyncClient, owner: Mapping[str, str], hook: Hook) -> list[Target]:
    """Create sessions with a job that has ended, one that runs and one that asks."""
    options: Sequence[dict[str, Any]] = (
        {"tokens": 3, "interval_ms": 0},
        {"tokens": 100_000, "interval_ms": 500},
        {"tokens": 3, "ask": MARK},
    )
    found = []
    for number, each in enumerate(options):
        key = f"key-{number}-{'k' * 20}"
        body: dict[str, Any] = {"agent": "scripted", "input": MARK, "metadata": {"of": MARK}, "options": each}
        body["webhook"] = {"url": hook.url}
        posted = (await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key, **owner})).json()
        path = f"/v1/sessions/{posted['session_id']}"
        cursor = "0-0"

        async def begun(path: str = path) -> bool:
            return bool((await client.get(path, headers=owner)).json()["cursor"] != "0-0")

        await until(begun)
        cursor = (await client.get(path, headers=owner)).json()["cursor"]
        hook.jobs.add((posted["session_id"], posted["job_id"]))
        found.append(Target(posted["session_id"], posted["job_id"], cursor, key))
    return found


@asynccontextmanager
async def deployed(processes: Processes, redis_url: str, encryption_keys: str) -> AsyncIterator[Gateway]:
    """Start a gateway that authenticates, and a worker."""
    settings = SETTINGS | {"HOLDFAST_ENCRYPTION_KEYS": encryption_keys}
    gateway = processes.gateway(redis_url, **settings)
    processes.worker(redis_url, **settings)
    await gateway.until_ready()
    yield gateway


async def cross(
    processes: Processes, redis_url: str, *, attempts: int, seed: int, encryption_keys: str = ""
) -> Findings:
    """Make so many attempts against a new deployment. `encryption_keys`: encrypt at rest with them."""
    rng, findings = random.Random(seed), Findings()
    redis = connect(redis_url, max_connections=1)
    store = AuthStore(redis)
    tokens = [(await store.create_key(tenant, USER_RIGHTS))[1] for tenant in ("victim", "attacker")]
    await redis.aclose()
    theirs, own = ({"Authorization": f"Bearer {token}"} for token in tokens)
    owner = theirs | {"Holdfast-Subject": "ann"}
    async with (
        deployed(processes, redis_url, encryption_keys) as gateway,
        receiver(host="0.0.0.0") as hooks,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as client,
    ):

        async def offered() -> bool:
            return "scripted" in (await client.get("/v1/agents", headers=own)).text

        await until(offered)
        owners_hook = hook_of(hooks, 0, OWNER, "victim", MARK)
        targets = await victims(client, owner, owners_hook)
        other = await client.post("/v1/sessions/other/jobs", json=JOB, headers=owner)
        other.raise_for_status()
        rights = {"rights": ["read", "submit", "stop", "answer"], "expires_in_s": 3600}
        ticket = (await client.post("/v1/sessions/other/tickets", json=rights, headers=owner)).json()["ticket"]
        callers = {
            "another tenant": ("attacker", own),
            "another tenant with the same subject": ("attacker", own | {"Holdfast-Subject": "ann"}),
            "another subject of the tenant": ("victim", theirs | {"Holdfast-Subject": "bob"}),
            "a JWT of another tenant": ("attacker", {"Authorization": f"Bearer {jwt('attacker', 'ann')}"}),
            "a JWT of another subject": ("victim", {"Authorization": f"Bearer {jwt('victim', 'bob')}"}),
            "a ticket for another session": ("victim", {"Authorization": f"Bearer {ticket}"}),
        }
        attackers = [
            Attacker(client, findings, fields, hook_of(hooks, number, name, tenant))
            for number, (name, (tenant, fields)) in enumerate(callers.items(), 1)
        ]
        await until(lambda: any(request.message["type"] == "question.asked" for request in hooks.received))
        await _attack(rng, attackers, targets, attempts, [*tokens, ticket])
        await take_away(gateway.url, redis_url, findings)
        for attacker, target in zip(
            attackers[:-1], cycle(targets), strict=False
        ):  # the ticket is not for these sessions
            await attacker.imitate(target)
        await _unharmed(client, owner, targets, findings)
        await _delivered(hooks, [owners_hook, *(attacker.hook for attacker in attackers)], findings)
        if encryption_keys:
            await _forge(client, owner, redis_url, findings)
    return findings


async def _forge(client: httpx2.AsyncClient, owner: Mapping[str, str], redis_url: str, findings: Findings) -> None:
    """Forge what the log server has of further sessions of the victim."""
    redis = connect(redis_url, max_connections=1)
    complete = partial(complete_id, Owner("victim", "ann"))
    async with receiver() as hooks:
        await Forger(client, redis, hooks, findings, headers=owner, complete=complete).forge()
    await redis.aclose()


async def _attack(
    rng: random.Random, attackers: Sequence[Attacker], targets: Sequence[Target], attempts: int, tokens: Sequence[str]
) -> None:
    for number in range(attempts):
        attacker, victim = rng.choice(attackers), rng.choice(targets)
        if number % 5 == 4:
            await attacker.guess("guessed key or ticket", f"/v1/sessions/{victim.session}", _mutated(rng, tokens))
            continue
        attempt = ATTEMPTS[(number - number // 5) % len(ATTEMPTS)]
        tickets_lack = attempt.name.endswith("/tickets") or attempt.method == "DELETE" or attempt.name == POST_JOB
        if tickets_lack and attacker.name.startswith("a ticket"):
            attacker = attackers[0]
        await attacker.cross(attempt, victim, nobody_like(rng, victim))


def _mutated(rng: random.Random, tokens: Sequence[str]) -> str:
    """Return a token with another character in its random part."""
    token = rng.choice(tokens)
    at = rng.randrange(16, len(token) - 1)
    return token[:at] + rng.choice(ALPHABET.replace(token[at], "")) + token[at + 1 :]


async def _unharmed(
    client: httpx2.AsyncClient, owner: Mapping[str, str], targets: Sequence[Target], findings: Findings
) -> None:
    """Check that no attempt had an effect. Ends the jobs."""
    for target, status in zip(targets, ("completed", "running", "waiting"), strict=True):
        state = (await client.get(f"/v1/sessions/{target.session}", headers=owner)).json()
        if state.get("status") != status or state.get("jobs") != [target.job]:
            findings.wrong.append(f"a session of the victim was changed: {state}"[:300])
        await client.post(f"/v1/sessions/{target.session}/jobs/{target.job}/cancel", headers=owner)


async def _delivered(receiver: Receiver, hooks: Sequence[Hook], findings: Findings) -> None:
    """Wait until the end of every job was delivered, and check all deliveries."""
    expected = set[tuple[str, str]]().union(*(hook.jobs for hook in hooks))
    await until(lambda: reported(receiver) >= expected, 60, lambda: f"missing: {expected - reported(receiver)}")
    examine(receiver, {hook.authority: hook for hook in hooks}, OWNER, MARK, findings)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/crossings", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--attempts", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--encrypted", action="store_true", help="with encryption at rest")
    arguments = parser.parse_args()
    keys = master_keys("crossings") if arguments.encrypted else ""
    with tempfile.TemporaryDirectory(prefix="crossings-") as folder:
        server, processes = RedisServer(Path(folder) / "redis", aof=True), Processes(Path(folder))
        try:
            server.start()
            given = {"attempts": arguments.attempts, "seed": arguments.seed}
            findings = asyncio.run(cross(processes, server.url, **given, encryption_keys=keys))
            server.shutdown()
            if (MARK.encode() in files_of(server)) == arguments.encrypted:
                findings.wrong.append("the files of Redis show the victim's content, or the search finds nothing")
        finally:
            processes.kill()
            server.kill()
    sys.stdout.write("\n".join(findings.lines()) + "\n")
    sys.exit(bool(findings.wrong))


if __name__ == "__main__":
    main()
