"""A Semantic Kernel agent with a plugin behind Holdfast.

It needs `holdfast-gateway[semantic-kernel]` and OPENAI_API_KEY:

holdfast dev --agents examples.semantic_kernel_agent
"""

from __future__ import annotations

from holdfast.worker.adapters import semantic_kernel
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
from semantic_kernel.functions import kernel_function

CELSIUS = {"Paris": 18, "Oslo": 4}


class Stations:
    """A plugin: what it can do, the model can call."""

    @kernel_function(description="Tell the weather in a city.")
    def weather(self, city: str) -> str:
        return f"{CELSIUS[city]} °C in {city}"


helper = semantic_kernel.agent(
    "semantic_kernel",
    ChatCompletionAgent(
        name="helper",
        instructions="You tell the weather. Be brief.",
        service=OpenAIChatCompletion(ai_model_id="gpt-5.4-mini"),
        plugins=[Stations()],
    ),
)
