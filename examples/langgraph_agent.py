"""A LangGraph graph behind Holdfast. It needs `holdfast-gateway[langgraph]` and OPENAI_API_KEY:

holdfast dev --agents examples.langgraph_agent
"""

from __future__ import annotations

from typing import Any

from holdfast.worker.adapters import langgraph
from langchain_core.messages import SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

CELSIUS = {"Paris": 18, "Oslo": 4}


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"{CELSIUS[city]} °C in {city}"


model = ChatOpenAI(model="gpt-5.4-mini", stream_usage=True).bind_tools([weather])


async def answer(state: MessagesState) -> dict[str, Any]:
    """Let the model speak."""
    system = SystemMessage("You tell the weather. Be brief.")
    return {"messages": [await model.ainvoke([system, *state["messages"]])]}


graph = StateGraph(MessagesState)
graph.add_node("answer", answer)
graph.add_node("tools", ToolNode([weather], handle_tool_errors=True))
graph.add_edge(START, "answer")
graph.add_conditional_edges("answer", tools_condition)
graph.add_edge("tools", "answer")

helper = langgraph.agent("langgraph", graph.compile())
