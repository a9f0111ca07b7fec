"""Blocks of code: highlighted by spans, never as markup, and copied as they are."""

from __future__ import annotations

import json

import pytest

from tests.support.browser import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

CODES = [
    ("python", 'def f():  # a \'b\'\n    return "x\\"y" + 1', ["def", "# a 'b'", "return", '"x\\"y"', "1"]),
    ("js", "let a = `b\n${c}`; // d\n/* open", ["let", "`b\n${c}`", "// d", "/* open"]),
    ("SQL", "SELECT 'a' -- b\nFROM t", ["SELECT", "'a'", "-- b", "FROM"]),
    ("unknown", 'let a = "b"', []),
]


async def tokens(page: Page, language: str, code: str) -> list[list[str | None]]:
    given = f"{json.dumps(code)}, {json.dumps(language)}"
    found: list[list[str | None]] = await page.evaluate(
        f"import('/web/highlight.js').then(({{ tokensOf }}) => tokensOf({given}))"
    )
    return found


@pytest.mark.parametrize(("language", "code", "highlighted"), CODES)
async def test_comments_strings_numbers_and_keywords_are_highlighted(
    blank: Page, language: str, code: str, highlighted: list[str]
) -> None:
    found = await tokens(blank, language, code)
    assert [text for kind, text in found if kind] == highlighted
    assert "".join(text or "" for _, text in found) == code


async def test_a_long_block_is_not_highlighted(blank: Page) -> None:
    assert [kind for kind, _ in await tokens(blank, "js", "let " * 6000)] == [None]


async def test_the_button_copies_the_code_alone_and_markup_in_it_stays_text(blank: Page) -> None:
    text = '```html\n<img src=x onerror="1">\n```\n\n```js\nlet a = "<b>";\n```'
    script = f"""import("/web/markdown.js").then(async ({{ Markdown }}) => {{
        const copied = [];
        const clipboard = {{ writeText: async (words) => void copied.push(words) }};
        Object.defineProperty(navigator, "clipboard", {{ value: clipboard }});
        new Markdown(document.body).update({json.dumps(text)});
        for (const button of document.querySelectorAll(".copy")) button.click();
        return [copied, document.querySelectorAll("pre img, pre b").length];
    }})"""
    assert await blank.evaluate(script) == [['<img src=x onerror="1">', 'let a = "<b>";'], 0]
    await blank.until("document.querySelectorAll('.copy[data-copied=true]').length")
