"""A call that needs a person's approval: asked once, and the same job goes on, on another worker too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from agents import Agent as OpenAIAgent
from agents import OpenAIResponsesModel, function_tool
from holdfast.worker import AgentError
from holdfast.worker.adapters import langchain, openai_agents, pydantic_ai, semantic_kernel
from holdfast.worker.adapters.approval import decide
from holdfast.worker.sdk.registry import AgentFunction
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt
from openai import AsyncOpenAI
from pydantic_ai import Agent, CallDeferred, DeferredToolRequests, Tool
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.function_choice_behavior import FunctionChoiceBehavior
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion

from tests.support.aimock import Aimock, call, rounds
from tests.support.process import until
from tests.support.provider_relay import Relay, relayed
from tests.support.record import Notebook, Record, a_run
from tests.support.workers import Client, worker_on

Send = Callable[[str], str]
Make = Callable[[Send], AgentFunction]


def openai_agent(url: str, http: httpx2.AsyncClient, send: Send) -> AgentFunction:
    model = OpenAIResponsesModel("gpt-5.4-mini", AsyncOpenAI(http_client=http, base_url=url))
    tool = function_tool(send, name_override="send", needs_approval=True)
    return openai_agents.agent("mailer", OpenAIAgent(name="Mailer", model=model, tools=[tool]))


def pydantic_agent(url: str, http: httpx2.AsyncClient, send: Send) -> AgentFunction:
    model = OpenAIChatModel("gpt-5.4-mini", provider=OpenAIProvider(http_client=http, base_url=url))
    tool = Tool(send, name="send", requires_approval=True)
    return pydantic_ai.agent("mailer", Agent(model, tools=[tool], output_type=[str, DeferredToolRequests]))


@pytest.fixture
async def relay(aimock: Aimock) -> Any:
    turn = {"content": "I send it", "toolCalls": [call("call_1", "send", to="Ada")], "usage": _used(1)}
    await aimock.answer(*rounds("hi", turn, {"content": "Done", "usage": _used(2)}))
    async with relayed(aimock.url) as relay:
        yield relay


def _used(tokens: int) -> dict[str, int]:
    """The usage of a model call, as both APIs of OpenAI name it."""
    used = {"input_tokens": tokens, "output_tokens": 1, "prompt_tokens": tokens, "completion_tokens": 1}
    return used | {"total_tokens": tokens + 1}


@pytest.fixture(params=[openai_agent, pydantic_agent])
def make(request: pytest.FixtureRequest, relay: Relay, http: httpx2.AsyncClient) -> Make:
    return lambda send: request.param(f"{relay.url}/v1", http, send)


class Outbox(list[str]):
    """The mails that were sent."""

    def send(self, to: str) -> str:
        """Send a mail."""
        self.append(to)
        return f"sent to {to}"


async def answered(agent: AgentFunction, record: Record, **answer: Any) -> Notebook:
    """Run a job whose question gets this answer."""
    run, notebook = a_run(record), Notebook(answer)
    run.begin([], notebook)  # type: ignore[arg-type]
    assert await agent(run) == {"text": "Done"}
    return notebook


async def test_an_approved_call_runs_and_the_job_goes_on(make: Make, record: Record) -> None:
    outbox = Outbox()
    notebook = await answered(make(outbox.send), record, decision="approve")

    [asked] = notebook.asked
    assert asked["prompt"] == 'Run send with {"to":"Ada"}?'
    assert asked["schema"]["required"] == ["decision"]
    assert outbox == ["Ada"]
    assert [kind for kind in record.kinds() if kind not in {"usage", "tool.arguments.delta"}] == [
        *("text.delta", "tool.started", "tool.called", "question.answered", "tool.result", "text.delta")
    ]
    assert [event["part"] for event in record.of("text.delta")] == [0, 1]


async def test_a_rejected_call_does_not_run_and_the_model_reads_why(make: Make, relay: Relay, record: Record) -> None:
    outbox = Outbox()
    await answered(make(outbox.send), record, decision="reject", message="Not to Ada")

    assert outbox == []
    assert [event["error"] for event in record.of("tool.failed")] == ["Not to Ada"]
    assert record.of("tool.result") == []
    assert "Not to Ada" in str(relay.requests[-1])


async def test_another_worker_goes_on_from_the_pause(make: Make, relay: Relay, redis_url: str) -> None:
    outbox = Outbox()
    client = Client(redis_url)
    async with worker_on(redis_url, [make(outbox.send)]):
        await client.offered("mailer")
        await client.post(agent="mailer")
        await until(lambda: _waits(client))
    assert len(relay.requests) == 1
    async with worker_on(redis_url, [make(outbox.send)]):
        answer = await client.sessions.answer("s", "j1", None, b'{"decision":"approve"}')
        await client.queue.make_ready("s", "j1", answer.agent)
        end = await client.end()

    assert end["result"] == {"text": "Done"}
    assert (outbox, len(relay.requests)) == (["Ada"], 2)  # the model was not called again for what was before the pause
    events = await client.events()
    assert len({event["question_id"] for event in events if event["type"] == "question.asked"}) == 1
    for kind in ("tool.started", "tool.called", "question.answered", "tool.result"):
        assert len([event for event in events if event["type"] == kind]) == 1, kind
    texts = [(event["text"], event["part"]) for event in events if event["type"] == "text.delta"]
    assert texts == [("I send it", 0), ("Done", 1)]
    assert [event["input_tokens"] for event in events if event["type"] == "usage"] == [1, 2]
    await client.close()


async def _waits(client: Client) -> bool:
    return (await client.job()).status == "waiting"


async def test_arguments_can_be_changed_with_pydantic_ai(
    relay: Relay, http: httpx2.AsyncClient, record: Record
) -> None:
    outbox = Outbox()
    agent = pydantic_agent(f"{relay.url}/v1", http, outbox.send)
    await answered(agent, record, decision="edit", arguments={"to": "Grace"})

    assert outbox == ["Grace"]


async def test_a_tool_that_runs_elsewhere_is_no_empty_answer(
    relay: Relay, http: httpx2.AsyncClient, record: Record
) -> None:
    def send(to: str) -> str:
        """Send a mail."""
        raise CallDeferred

    model = OpenAIChatModel("gpt-5.4-mini", provider=OpenAIProvider(http_client=http, base_url=f"{relay.url}/v1"))
    agent = pydantic_ai.agent("mailer", Agent(model, tools=[send], output_type=[str, DeferredToolRequests]))

    assert "send" in await refused(agent, record)


async def test_calls_that_a_kernel_leaves_to_its_caller_are_no_empty_answer(
    aimock: Aimock, http: httpx2.AsyncClient, record: Record
) -> None:
    await aimock.answer(*rounds("hi", {"toolCalls": [call("call_1", "Mail-send", to="Ada")]}))
    service = OpenAIChatCompletion(ai_model_id="gpt-5.4-mini", async_client=AsyncOpenAI(http_client=http))
    mailer = ChatCompletionAgent(
        service=service, name="mailer", function_choice_behavior=FunctionChoiceBehavior.Auto(auto_invoke=False)
    )

    assert "Mail-send" in await refused(semantic_kernel.agent("mailer", mailer), record)


async def test_a_graph_that_interrupts_itself_is_no_answer_of_a_runnable(record: Record) -> None:
    async def send(state: MessagesState) -> dict[str, Any]:
        return {"messages": [interrupt("Really?")]}

    graph = StateGraph(MessagesState).add_node("send", send).add_edge(START, "send")

    assert "LangGraph" in await refused(langchain.agent("mailer", graph.compile()), record)


async def refused(agent: AgentFunction, record: Record) -> str:
    """The message of a job that fails since nobody can approve."""
    with pytest.raises(AgentError) as failed:
        await agent(a_run(record))
    assert failed.value.code == "approval_unsupported"
    return failed.value.message


async def test_a_long_call_says_how_much_of_it_is_not_shown(record: Record) -> None:
    run, notebook = a_run(record), Notebook({"decision": "approve"})
    run.begin([], notebook)  # type: ignore[arg-type]
    await decide(run, "send", {"padding": "x" * 5000, "to": "Eve"})
    [asked] = notebook.asked
    assert asked["prompt"].endswith("x… (1040 more characters)")
