"""What an application sees with a real client whose gateway stops in the middle of an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import openai
from holdfast.client import Client

from tests.stream_ends.dialects import AGENT, words
from tests.support.ag_ui import ag_ui_clients
from tests.support.ag_ui import text_of as ag_ui_text
from tests.support.ai_sdk import ai_chats
from tests.support.ai_sdk import text_of as ai_text
from tests.support.browser import Page
from tests.support.node import FOLDER, NODE

SEEN_WORDS = 10
Saw = Callable[[], None]


class Outcome(NamedTuple):
    """What an application has in the end. `told`: the error that it sees, or empty."""

    text: str
    told: str = ""


Run = Callable[[str, str, Saw], Awaitable[Outcome]]
"""Submit a job at the URL in this session and read it to the end. Calls `saw` after some words."""


def _enough(text: str) -> bool:
    return len(words(text.encode())) >= SEEN_WORDS


async def python_client(url: str, session: str, saw: Saw) -> Outcome:
    text = ""
    async with Client(url) as client:
        job = await client.send("hold", session_id=session, agent=AGENT)
        async for event in job.stream():
            text += str(event.body.get("text", ""))
            if _enough(text):
                saw()
    return Outcome(text)


async def openai_python(url: str, session: str, saw: Saw) -> Outcome:
    text = ""
    async with openai.AsyncOpenAI(base_url=f"{url}/openai/v1", api_key="none", max_retries=0) as sdk:
        try:
            async with sdk.responses.stream(model=AGENT, input="hold", background=True) as stream:
                async for event in stream:
                    text += event.delta if event.type == "response.output_text.delta" else ""
                    if _enough(text):
                        saw()
                await stream.get_final_response()
        except openai.OpenAIError as error:
            return Outcome(text, type(error).__name__)
    return Outcome(text)


async def openai_python_chat(url: str, session: str, saw: Saw) -> Outcome:
    text = ""
    messages: Any = [{"role": "user", "content": "hold"}]
    async with openai.AsyncOpenAI(base_url=f"{url}/openai/v1", api_key="none", max_retries=0) as sdk:
        try:
            async for chunk in await sdk.chat.completions.create(model=AGENT, messages=messages, stream=True):
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
                if _enough(text):
                    saw()
        except openai.OpenAIError as error:
            return Outcome(text, type(error).__name__)
    return Outcome(text)


def openai_node(call: str, body: dict[str, Any]) -> Run:
    async def run(url: str, session: str, saw: Saw) -> Outcome:
        given = json.dumps({"base": f"{url}/openai/v1", "call": call, "body": {"model": AGENT, **body}})
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            NODE, "openai.mjs", given, cwd=FOLDER, stdout=pipe, limit=1 << 24
        )
        assert process.stdout is not None
        text, told = "", ""
        async for printed in process.stdout:
            line = json.loads(printed)
            text += _delta(line.get("event", {}))
            told = line["error"]["name"] if "error" in line else ""
            if _enough(text):
                saw()
        await process.wait()
        return Outcome(text, told)

    return run


def _delta(event: dict[str, Any]) -> str:
    if "choices" in event:
        return "".join(choice["delta"].get("content") or "" for choice in event["choices"])
    return str(event["delta"]) if event.get("type") == "response.output_text.delta" else ""


def ai_sdk(sdk: str) -> Run:
    async def run(url: str, session: str, saw: Saw) -> Outcome:
        async with ai_chats() as chats:
            chat = await chats(sdk, url, session, agent=AGENT, sendId=True)
            await chat.send("hold")
            await chat.shows(lambda state: bool(state["messages"][1:]) and _enough(ai_text(state["messages"][1])))
            saw()
            ended = await chat.ended()
        told = f"`status` is `{ended['status']}`: {ended['error']}" if ended["error"] else ""
        return Outcome(ai_text(ended["messages"][1]), told)

    return run


def ag_ui(kind: str) -> Run:
    async def run(url: str, session: str, saw: Saw) -> Outcome:
        async with ag_ui_clients() as clients:
            client = await clients(kind, url, session, agent=AGENT)
            await client.do("send", text="hold")
            await client.shows(lambda state: _enough(ag_ui_text(state)))
            saw()
            ended = await client.ended()
        return Outcome(ag_ui_text(ended), ended["error"] or "")

    return run


NODE_CLIENTS: dict[str, Run] = {
    "Python client": python_client,
    "openai-python, Responses": openai_python,
    "openai-python, Chat Completions": openai_python_chat,
    "openai-node, `responses.stream`": openai_node("response", {"input": "hold", "background": True}),
    "openai-node, `chat.completions.stream`": openai_node(
        "completion", {"messages": [{"role": "user", "content": "hold"}]}
    ),
    "`ai` 7, DefaultChatTransport": ai_sdk("v7"),
    "`ai` 6, DefaultChatTransport": ai_sdk("v6"),
    "WorkflowChatTransport": ai_sdk("workflow"),
    "AG-UI HttpAgent": ag_ui("http"),
    "TanStack AI": ag_ui("tanstack"),
    "CopilotKit core": ag_ui("copilotkit"),
}

# In the gateway's own page; `read` has what one of these has read.
_FETCH = """(path, body) => {
    const read = window.read = {text: "", told: "", over: false};
    fetch(path, {method: "POST", headers: {"Content-Type": "application/json"}, body})
        .then(async (response) => {
            const decoder = new TextDecoder();
            for await (const piece of response.body) read.text += decoder.decode(piece, {stream: true});
        })
        .catch((error) => { read.told = error.message; })
        .finally(() => { read.over = true; });
}"""
_EVENT_SOURCE = """(path) => {
    const read = window.read = {text: "", told: "", over: false};
    const source = new EventSource(path);
    const close = () => { source.close(); read.over = true; };
    source.onmessage = ({data}) => {
        const event = JSON.parse(data);
        read.text += event.text ?? "";
        if (event.type === "job.completed") close();
    };
    source.onerror = () => { if (source.readyState === 2) { read.told = "closed for ever"; close(); } };
}"""
_CLIENT = """(session, agent) => {
    const read = window.read = {text: "", told: "", over: false};
    import("/web/client/index.js").then(async ({Client}) => {
        const client = new Client(location.origin);
        const job = await client.session(session).send("hold", {agent});
        for await (const event of client.events(job)) read.text += event.text ?? "";
    }).catch((error) => { read.told = error.message; }).finally(() => { read.over = true; });
}"""
BROWSER_CLIENTS = ("Chromium: `EventSource`", "Chromium: `holdfast-client`", "Chromium: `fetch`, AI SDK `v7`")


async def in_browser(name: str, page: Page, session: str, job_id: str, saw: Saw) -> Outcome:
    """Read a job with a client of BROWSER_CLIENTS. `job_id` is for EventSource, which submits none."""
    await page.evaluate(_program(name, session, job_id))
    while True:
        read = await page.evaluate("window.read")
        if _enough(read["text"]):
            saw()
        if read["over"]:
            return Outcome(read["text"], read["told"])
        await asyncio.sleep(0.1)


def _program(name: str, session: str, job_id: str) -> str:
    if name == BROWSER_CLIENTS[0]:
        return f"({_EVENT_SOURCE})({json.dumps(f'/v1/sessions/{session}/jobs/{job_id}/events')})"
    if name == BROWSER_CLIENTS[1]:
        return f"({_CLIENT})({json.dumps(session)}, {json.dumps(AGENT)})"
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hold"}]}
    body = json.dumps({"id": session, "messages": [message], "trigger": "submit-message"})
    return f"({_FETCH})({json.dumps(f'/ai-sdk/v7/{AGENT}')}, {json.dumps(body)})"
