"""What the button below an answer copies: its texts as they are shown, as Markdown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.browser import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

COPY = """(async () => {
    const { Turns } = await import("/web/turns.js");
    const { Conversation } = await import("/web/conversation.js");
    const copied = [];
    Object.defineProperty(navigator, "clipboard", { value: { writeText: async (text) => void copied.push(text) } });
    const conversation = new Conversation();
    const parts = %s;
    const content = parts.map(({ text }) => text ?? "").join("");
    conversation.update([{ job_id: "a", status: "completed", attempt: 1, parts, content, steps: [], usage: [] }]);
    const box = document.createElement("div");
    document.body.append(box);
    new Turns(box, {}).render(conversation.turns, new Set());
    [...box.querySelectorAll("button")].find((button) => button.textContent === "Copy").click();
    return copied;
})()"""


async def copied(blank: Page, *parts: dict[str, Any]) -> str:
    """What is copied of an answer of these parts."""
    numbered = [{"id": str(number), **part} for number, part in enumerate(parts)]
    [text] = await blank.evaluate(COPY % json.dumps(numbered))
    return str(text)


async def test_a_text_alone_is_copied_as_it_is(blank: Page) -> None:
    assert await copied(blank, {"type": "text", "text": "    code\n"}) == "    code\n"


async def test_headings_and_the_names_of_agents_are_copied(blank: Page) -> None:
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": "An opening.\n"},
        {"type": "section", "title": "What a holdfast is", "index": 0},
        {"type": "reasoning", "text": "Hm."},
        {"type": "text", "text": "Kelp has no roots."},
        {"type": "text", "text": "I looked.", "agent": "researcher"},
    ]
    expected = "An opening.\n\n## What a holdfast is\n\nKelp has no roots.\n\n**researcher**\n\nI looked."
    assert await copied(blank, *parts) == expected
