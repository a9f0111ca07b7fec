"""An agent of the OpenAI Agents SDK behind Holdfast. It needs `holdfast-gateway[openai-agents]` and OPENAI_API_KEY:

holdfast dev --agents examples.openai_agents_agent
"""

from __future__ import annotations

from agents import Agent, RunContextWrapper, function_tool
from holdfast.worker.adapters import openai_agents

from holdfast import Run

CELSIUS = {"Paris": 18, "Oslo": 4}


@function_tool
async def weather(context: RunContextWrapper[Run], city: str) -> str:
    """Tell the weather in a city."""
    await context.context.status(f"Asking the station in {city}")
    return f"{CELSIUS[city]} °C in {city}"


helper = openai_agents.agent(
    "openai_agents",
    Agent(name="Helper", instructions="You tell the weather. Be brief.", model="gpt-5.4-mini", tools=[weather]),
)
