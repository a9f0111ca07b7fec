"""A LangChain Runnable behind Holdfast. It needs `holdfast-gateway[langchain]` and OPENAI_API_KEY:

holdfast dev --agents examples.langchain_agent
"""

from __future__ import annotations

import asyncio

from holdfast.worker.adapters import langchain
from langchain_core.messages import BaseMessage, SystemMessage
from langchain_core.runnables import chain
from langchain_core.tools import ToolException, tool
from langchain_openai import ChatOpenAI

CELSIUS = {"Paris": 18, "Oslo": 4}


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    if city not in CELSIUS:
        raise ToolException(f"There is no weather station in {city}")
    return f"{CELSIUS[city]} °C in {city}"


weather.handle_tool_error = True  # the model is told, and the chain goes on
model = ChatOpenAI(model="gpt-5.4-mini", stream_usage=True).bind_tools([weather])


@chain
async def tell_weather(messages: list[BaseMessage]) -> BaseMessage:
    """Let the model speak and call the tool until it has its answer."""
    messages = [SystemMessage("You tell the weather. Be brief."), *messages]
    while (answer := await model.ainvoke(messages)).tool_calls:
        results = await asyncio.gather(*(weather.ainvoke(call) for call in answer.tool_calls))
        messages += [answer, *results]
    return answer


helper = langchain.agent("langchain", tell_weather)
