"""What only LangGraph has: state, custom data, subgraphs, interrupts."""

from __future__ import annotations

import asyncio
from operator import add
from typing import Annotated, Any, TypedDict

import httpx2
import orjson
import pytest
from holdfast.worker import AgentError, Run
from holdfast.worker.adapters import langgraph
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Interrupt, interrupt

from tests.support.aimock import Aimock, says
from tests.support.process import until
from tests.support.record import Notebook, Record, a_run
from tests.support.workers import Client, worker_on


class Report(TypedDict):
    topic: str
    parts: Annotated[list[str], add]


async def test_what_a_node_puts_into_the_state_and_writes_is_for_the_page(record: Record) -> None:
    async def plan(state: Report) -> dict[str, Any]:
        write = get_stream_writer()
        write(f"Planning {state['topic']}")
        write({"done": 0.5})
        return {"parts": ["beginning", "end"]}

    graph = StateGraph(Report).add_node("plan", plan).add_edge(START, "plan").compile()
    agent = langgraph.agent("planner", graph, to_input=lambda run: {"topic": run.input})

    result = await agent(a_run(record, "bees"))

    assert [event["message"] for event in record.of("status")] == ["Planning bees"]
    assert [(event["name"], event["value"]) for event in record.of("data")] == [
        ("custom", {"done": 0.5}),
        ("parts", ["beginning", "end"]),
    ]
    assert result == {"output": {"topic": "bees", "parts": ["beginning", "end"]}}


async def test_parallel_subgraphs_speak_under_their_names_and_each_text_is_whole(
    aimock: Aimock, http: httpx2.AsyncClient, record: Record
) -> None:
    await aimock.answer(says("The sky is blue", to="sky", chunkSize=3), says("The sea is deep", to="sea", chunkSize=3))
    model = ChatOpenAI(model="gpt-5.4-mini", http_async_client=http)

    def about(thing: str) -> Any:
        async def speak(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke(thing)]}

        return StateGraph(MessagesState).add_node("speak", speak).add_edge(START, "speak").compile()

    graph = StateGraph(MessagesState)
    for thing in ("sky", "sea"):
        graph.add_node(thing, about(thing))
        graph.add_edge(START, thing)

    await langgraph.agent("both", graph.compile())(a_run(record))

    texts = {thing: [event for event in record.of("text.delta") if event["agent"] == thing] for thing in ("sky", "sea")}
    assert {thing: "".join(event["text"] for event in spoken) for thing, spoken in texts.items()} == {
        "sky": "The sky is blue",
        "sea": "The sea is deep",
    }
    assert {len({event["part"] for event in spoken}) for spoken in texts.values()} == {1}


async def test_a_message_that_no_model_streamed_is_said_once(record: Record) -> None:
    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("Known by heart")]}

    async def repeat(state: MessagesState) -> dict[str, Any]:
        return {"messages": state["messages"]}

    graph = StateGraph(MessagesState).add_node("answer", answer).add_node("repeat", repeat)
    graph.add_edge(START, "answer").add_edge("answer", "repeat")
    history = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Two"}]

    result = await langgraph.agent("heart", graph.compile())(a_run(record, history=history))

    assert record.joined("text.delta") == "Known by heart"
    assert result == {"text": "Known by heart"}


async def test_an_interrupt_asks_a_person_whose_answer_another_worker_goes_on_with(redis_url: str) -> None:
    def agent() -> Any:
        """What each worker's process has: a graph and a checkpointer of its own."""

        async def order(state: Report) -> dict[str, Any]:
            return {"parts": [interrupt({"really": state["topic"]}), interrupt("How many?")]}

        graph = StateGraph(Report).add_node("order", order).add_edge(START, "order")
        compiled = graph.compile(checkpointer=InMemorySaver())
        return langgraph.agent("buyer", compiled, to_input=lambda run: {"topic": run.input})

    client = Client(redis_url)
    async with worker_on(redis_url, [agent()]):
        await client.offered("buyer")
        await client.post(agent="buyer", input="bees")
        await _asked(client, 1)
    async with worker_on(redis_url, [agent()]):
        await _answer(client, b'"yes"')
        await _asked(client, 2)
        await _answer(client, b"12")
        end = await client.end()

    assert end["result"] == {"output": {"topic": "bees", "parts": ["yes", 12]}}
    asked = [event["prompt"] for event in await client.events() if event["type"] == "question.asked"]
    assert list(dict.fromkeys(asked)) == ['{"really":"bees"}', "How many?"]
    await client.close()


def asking(value: Any, checkpointer: Any = None) -> Any:
    """A graph that ends with the answer to an interrupt of this value."""

    async def ask(state: Report) -> dict[str, Any]:
        return {"parts": [interrupt(value)]}

    graph = StateGraph(Report).add_node("ask", ask).add_edge(START, "ask")
    return graph.compile(checkpointer=checkpointer)


async def answers(record: Record, value: Any, *given: Any, **how: Any) -> tuple[list[dict[str, Any]], Any]:
    """The questions for an interrupt, and what the graph gets when they are answered so."""
    run, notebook = a_run(record), Notebook(*given)
    run.begin([], notebook)  # type: ignore[arg-type]
    agent = langgraph.agent("asking", asking(value, InMemorySaver()), to_input=lambda run: {"topic": ""}, **how)
    result = await agent(run)
    return notebook.asked, result["output"]["parts"][0]


SEND = {"name": "send", "args": {"to": "Ada"}, "description": "Send the mail?"}
DROP = {"name": "drop", "args": {"table": "users"}, "description": ""}
REVIEW = {
    "action_requests": [SEND],
    "review_configs": [{"action_name": "send", "allowed_decisions": ["approve", "reject"]}],
}


async def test_calls_for_review_are_asked_about_one_by_one(record: Record) -> None:
    """As LangChain's HumanInTheLoopMiddleware interrupts a graph."""
    value = {
        "action_requests": [SEND, DROP, SEND],
        "review_configs": [
            {"action_name": "send", "allowed_decisions": ["approve", "edit", "reject"]},
            {"action_name": "drop", "allowed_decisions": ["approve", "reject"]},
        ],
    }
    edit = {"decision": "edit", "arguments": {"to": "Grace"}}
    asked, got = await answers(record, value, {"decision": "approve"}, {"decision": "reject", "message": "No"}, edit)

    assert [question["prompt"] for question in asked] == [
        *("Send the mail?", 'Run drop with {"table":"users"}?', "Send the mail?")
    ]
    decisions = [question["schema"]["properties"]["decision"]["enum"] for question in asked]
    assert decisions[:2] == [["approve", "edit", "reject"], ["approve", "reject"]]
    assert "arguments" not in asked[1]["schema"]["properties"]
    assert got == {
        "decisions": [
            {"type": "approve"},
            {"type": "reject", "message": "No"},
            {"type": "edit", "edited_action": {"name": "send", "args": {"to": "Grace"}}},
        ]
    }


async def test_calls_with_other_arguments_are_other_questions_under_the_same_description(record: Record) -> None:
    """An answer is found by prompt and schema: that to one call must not be taken for another after a takeover."""
    other = SEND | {"args": {"to": "Eve"}}
    config = {"action_name": "send", "allowed_decisions": ["approve"]}
    value = {"action_requests": [SEND, other], "review_configs": [config]}
    asked, _ = await answers(record, value, {"decision": "approve"}, {"decision": "approve"})

    assert asked[0]["prompt"] == asked[1]["prompt"]
    assert asked[0]["schema"] != asked[1]["schema"]


async def test_a_question_with_options_offers_them(record: Record) -> None:
    [asked], got = await answers(record, {"question": "Which?", "options": ["tea", "coffee"]}, "tea")

    assert (asked["prompt"], asked["schema"]["enum"], got) == ("Which?", ["tea", "coffee"], "tea")


@pytest.mark.parametrize("to_question", [None, lambda interrupt: (interrupt.value, {"$comment": "of the application"})])
async def test_equal_questions_of_two_nodes_are_other_questions(record: Record, to_question: Any) -> None:
    """Which of them is asked first may differ after a takeover."""

    async def ask(state: Report) -> dict[str, Any]:
        return {"parts": [interrupt("Sure?")]}

    graph = StateGraph(Report).add_node("left", ask).add_node("right", ask)
    graph.add_edge(START, "left").add_edge(START, "right")
    run, notebook = a_run(record), Notebook("yes", "no")
    run.begin([], notebook)  # type: ignore[arg-type]
    compiled = graph.compile(checkpointer=InMemorySaver())
    await langgraph.agent("asking", compiled, to_input=lambda run: {"topic": ""}, to_question=to_question)(run)

    assert [question["prompt"] for question in notebook.asked] == ["Sure?", "Sure?"]
    assert notebook.asked[0]["schema"] != notebook.asked[1]["schema"]


@pytest.mark.parametrize(
    "value", ["Sure?", {"question": "Sure?", "options": [1, 2]}, REVIEW], ids=["text", "options", "call"]
)
async def test_a_thread_that_lasts_gets_the_answer_to_each_of_two_equal_questions(redis_url: str, value: Any) -> None:
    saver, got = InMemorySaver(), list[Any]()

    async def ask(state: MessagesState) -> dict[str, Any]:
        got[:] = [interrupt(value), interrupt(value)]
        return {}

    def agent() -> Any:
        compiled = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile(checkpointer=saver)
        return langgraph.agent("asking", compiled, to_config=lambda run: {"configurable": {"thread_id": "t"}})

    first, second = ({"decision": "approve"}, {"decision": "reject"}) if value is REVIEW else (1, 2)
    client = Client(redis_url)
    async with worker_on(redis_url, [agent()]):
        await client.offered("asking")
        await client.post(agent="asking")
        await _asked(client, 1)
        await _answer(client, orjson.dumps(first))
        await _asked(client, 2)
    async with worker_on(redis_url, [agent()]):
        await _answer(client, orjson.dumps(second))
        await client.end()

    assert got[0] != got[1]
    await client.close()


async def test_an_application_says_how_its_interrupts_are_asked(record: Record) -> None:
    def to_question(found: Interrupt) -> tuple[str, dict[str, Any]]:
        return f"How many {found.value['of']}?", {"type": "integer"}

    [asked], got = await answers(record, {"of": "bees"}, 3, to_question=to_question)

    assert (asked["prompt"], asked["schema"]["type"], got) == ("How many bees?", "integer", 3)


async def test_without_a_checkpointer_nobody_is_asked(record: Record) -> None:
    agent = langgraph.agent("asking", asking("Really?"), to_input=lambda run: {"topic": ""})

    with pytest.raises(AgentError) as failed:
        await agent(a_run(record))

    assert failed.value.code == "approval_unsupported"
    assert "needs a checkpointer" in failed.value.message
    assert record.of("question.answered") == []


def lasting(saver: InMemorySaver, read: list[list[str]], fail: list[bool]) -> Any:
    """An agent whose thread is that of the session. `read`: the messages that its model reads, each time."""

    async def answer(state: MessagesState) -> dict[str, Any]:
        read.append([str(message.text) for message in state["messages"]])
        return {"messages": [AIMessage(f"answer {len(read)}", id=f"provider-{len(read)}")]}

    async def check(state: MessagesState) -> dict[str, Any]:
        if fail:
            raise RuntimeError(fail.pop())
        return {}

    graph = StateGraph(MessagesState).add_node("answer", answer).add_node("check", check)
    graph.add_edge(START, "answer").add_edge("answer", "check")
    compiled = graph.compile(checkpointer=saver)
    return langgraph.agent("lasting", compiled, to_config=lambda run: {"configurable": {"thread_id": run.session_id}})


def turn(number: int, history: list[dict[str, Any]]) -> Run:
    run = a_run(Record(), f"question {number}", history=history)
    run.job_id = f"j{number}"
    return run


async def test_a_thread_that_lasts_gets_each_message_once() -> None:
    read: list[list[str]] = []
    agent = lasting(InMemorySaver(), read, [])
    history: list[dict[str, Any]] = []
    for number in (1, 2, 3):
        await agent(turn(number, history))
        history += [
            {"role": "user", "content": f"question {number}"},
            {"role": "assistant", "content": f"answer {number}"},
        ]
        history = history[-2:]  # a session may keep fewer messages than the thread

    assert read[-1] == ["question 1", "answer 1", "question 2", "answer 2", "question 3"]


async def test_a_thread_that_is_new_gets_the_history() -> None:
    read: list[list[str]] = []
    history = [{"role": "user", "content": "before"}, {"role": "assistant", "content": "known"}]
    await lasting(InMemorySaver(), read, [])(turn(1, history))

    assert read == [["before", "known", "question 1"]]


async def test_a_later_attempt_continues_the_thread_of_the_job() -> None:
    read: list[list[str]] = []
    agent = lasting(InMemorySaver(), read, [True])
    with pytest.raises(RuntimeError):
        await agent(turn(1, []))

    assert await agent(turn(1, [])) == {"text": "answer 1"}
    assert read == [["question 1"]]


async def test_a_thread_that_has_ended_is_not_answered_again_after_a_takeover(redis_url: str) -> None:
    read: list[list[str]] = []
    graph, answered = lasting(InMemorySaver(), read, []), asyncio.Event()

    async def taken_over(run: Run) -> Any:
        """Stop between the graph's end and the job's in the first attempt."""
        result = await graph(run)
        answered.set()
        if run.attempt == 1:
            await asyncio.Event().wait()
        return result

    client = Client(redis_url)
    async with worker_on(redis_url, [taken_over]):
        await client.offered("taken_over")
        await client.post(agent="taken_over", input="question 1")
        await answered.wait()
    async with worker_on(redis_url, [taken_over]):
        end = await client.end()

    assert read == [["question 1"]]
    assert end["result"] == {"text": "answer 1"}
    assert await client.said() == "answer 1"
    await client.close()


async def test_a_structured_response_is_the_result(record: Record) -> None:
    class State(MessagesState):
        structured_response: Any

    async def answer(state: State) -> dict[str, Any]:
        return {"messages": [AIMessage("Returning it")], "structured_response": {"age": 36}}

    graph = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").compile()

    assert await langgraph.agent("structured", graph)(a_run(record)) == {"output": {"age": 36}}


async def test_a_subgraph_has_the_name_that_it_was_compiled_with(record: Record) -> None:
    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("Known by heart")]}

    def around(name: str, inner: Any) -> Any:
        return StateGraph(MessagesState).add_node(name, inner).add_edge(START, name)

    researcher = around("inner", around("answer", answer).compile(name="librarian")).compile(name="researcher")
    await langgraph.agent("boss", around("res", researcher).compile())(a_run(record))

    assert {event["agent"] for event in record.of("text.delta")} == {"librarian"}


async def _asked(client: Client, questions: int) -> None:
    """Wait until the job waits for the answer to that many different questions."""

    async def look() -> bool:
        events = await client.events()
        asked = {event["question_id"] for event in events if event["type"] == "question.asked"}
        return len(asked) == questions and (await client.job()).status == "waiting"

    await until(look)


async def _answer(client: Client, value: bytes) -> None:
    answered = await client.sessions.answer("s", "j1", None, value)
    if answered.lease_owner is None:
        await client.queue.make_ready("s", "j1", answered.agent)
    else:
        await client.queue.notify(answered.lease_owner, "s")


async def test_two_jobs_of_a_session_share_no_checkpoint(aimock: Aimock, record: Record) -> None:
    """Their history is Holdfast's; the checkpointer would add it a second time."""
    heard: list[int] = []

    async def answer(state: MessagesState) -> dict[str, Any]:
        heard.append(len(state["messages"]))
        return {"messages": [AIMessage("ok")]}

    graph = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer")
    agent = langgraph.agent("counting", graph.compile(checkpointer=InMemorySaver()))
    second = a_run(record, history=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ok"}])
    second.job_id = "j2"

    await agent(a_run(record))
    await agent(second)

    assert heard == [1, 3]


async def test_a_tool_deep_in_a_graph_finds_the_run(record: Record) -> None:
    async def work(state: Report) -> dict[str, Any]:
        await asyncio.create_task(langgraph.current_run().status("working"))
        return {"parts": []}

    graph = StateGraph(Report).add_node("work", work).add_edge(START, "work").compile()
    await langgraph.agent("deep", graph, to_input=lambda run: {"topic": ""})(a_run(record))

    assert [event["message"] for event in record.of("status")] == ["working"]
