"""A Pydantic AI agent behind Holdfast. It needs `holdfast-gateway[pydantic-ai]` and OPENAI_API_KEY:

holdfast dev --agents examples.pydantic_ai_agent
"""

from __future__ import annotations

from holdfast.worker.adapters import pydantic_ai
from pydantic_ai import Agent, ModelRetry, RunContext

from holdfast import Run

CELSIUS = {"Paris": 18, "Oslo": 4}


async def weather(context: RunContext[Run], city: str) -> str:
    """Tell the weather in a city."""
    if city not in CELSIUS:
        raise ModelRetry(f"There is no weather station in {city}")
    await context.deps.status(f"Asking the station in {city}")
    return f"{CELSIUS[city]} °C in {city}"


helper = pydantic_ai.agent(
    "pydantic_ai",
    Agent("openai-chat:gpt-5.4-mini", deps_type=Run, instructions="You tell the weather. Be brief.", tools=[weather]),
)
