"""The product's OpenAI chat completions, which are read once: each viewer repeats the request that made its job."""

from __future__ import annotations

import orjson
from holdfast.gateway.dialects.openai.completion_body import completion_job, parse_completion_body
from holdfast.gateway.routes.job_body import job_request, parse_job_body, with_key
from holdfast.gateway.submission import derived_session_id
from holdfast.shared.secret import Secret
from holdfast.shared.sessions import JobRequest

from bench.load import Target
from bench.peers.holdfast import AGENT, Submission, start_at
from bench.peers.stage import Peer, Stage

BODY = {"model": AGENT, "messages": [{"role": "user", "content": "go"}], "stream": True}


async def submissions(secret: Secret, sessions: int) -> list[Submission]:
    """Return the sessions and jobs that the gateway makes of the viewers' requests, whose keys are 0, 1, …"""
    shared = await secret.read()
    return [Submission(derived_session_id(shared, str(number)), _request(str(number))) for number in range(sessions)]


def _request(key: str) -> JobRequest:
    body = parse_job_body(completion_job(parse_completion_body(BODY)))
    return with_key(job_request(body), body, key)


def start(stage: Stage) -> Target:
    return start_at(stage, f"post:/openai/v1/chat/completions {orjson.dumps(BODY).decode()}", submissions)


PEER = Peer("completions", "Holdfast, OpenAI chat completions", start)
