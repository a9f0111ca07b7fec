"""A Haystack Agent behind Holdfast. It needs `holdfast-gateway[haystack]` and OPENAI_API_KEY:

holdfast dev --agents examples.haystack_agent
"""

from __future__ import annotations

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.tools import tool
from holdfast.worker.adapters import haystack

CELSIUS = {"Paris": 18, "Oslo": 4}


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"{CELSIUS[city]} °C in {city}"


generator = OpenAIChatGenerator(model="gpt-5.4-mini", generation_kwargs={"stream_options": {"include_usage": True}})
helper = haystack.agent(
    "haystack", Agent(chat_generator=generator, tools=[weather], system_prompt="You tell the weather. Be brief.")
)
