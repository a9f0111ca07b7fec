"""The page's small Markdown, in a real browser: drawn while it grows, it ends as the same nodes as drawn at once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.browser import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXTS = [
    "one\n\ntwo\nstill two\n\n\nthree",
    "# Head #\ntext\n## Sub\n---\n***\nafter",
    "**bold** and *slanted* and `code` and ~~gone~~ and __bold__ and _slanted_ and ***both***",
    "- a\n- b\n  - c\n\n    deeper\n- d\n\n1. one\n2. two\n\n   ```py\n   x = 1\n\n\n   y = 2\n   ```\n3. three\n\nend",
    "```js\nconst a = `b`;\n\n<b>\n```\nafter\n~~~\nopen",
    "| a | b |\n|---|:-:|\n| 1 | **2** |\n| x \\| y | |\n\nafter",
    "> quoted\n> - item\n\nplain [link](https://example.com/a_b_c) https://example.com/d, (https://example.com/e).",
    "2 * 3 * 4, snake_case_name, **open, `open, [open](http",
    "\\*not slanted\\* a\\\\b\r\nnext line\r\n\r\nlast",
    "in the year\n1969. Not a list\n1. a list",
    "💧 ünïcode **fett💧**\n\n" + "w " * 50,
]
DRAWN = {
    "**a** b": "<p><strong>a</strong> b</p>",
    "- a\n  - b": "<ul><li><p>a</p><ul><li><p>b</p></li></ul></li></ul>",
    "```py\nx < 1\n```": '<pre data-language="py" tabindex="0"><code>x &lt; 1</code></pre>',
    "<script>x</script>": "<p>&lt;script&gt;x&lt;/script&gt;</p>",
    "[x](javascript:alert(1))": "<p>[x](javascript:alert(1))</p>",
    "2 * 3 * 4": "<p>2 * 3 * 4</p>",
    "## Head ## ": "<h4>Head</h4>",
    "# C#": "<h3>C#</h3>",
    "#none": "<p>#none</p>",
    "` a ` `  `": "<p><code>a</code> <code>  </code></p>",
    "``a` b `c`": "<p>``a<code>b</code>c`</p>",
    "a|b\n-|-\n1|2": (
        '<div class="table" tabindex="0"><table><thead><tr><th>a</th><th>b</th></tr></thead>'
        "<tbody><tr><td>1</td><td>2</td></tr></tbody></table></div>"
    ),
    "3. c\n4. d": '<ol start="3"><li><p>c</p></li><li><p>d</p></li></ol>',
}


async def drawn(blank: Page, texts: list[str]) -> str:
    """The HTML after the texts were shown one after the other."""
    html: Any = await blank.evaluate(
        f"""import("/web/markdown.js").then(({{ Markdown }}) => {{
            const box = document.createElement("div");
            const markdown = new Markdown(box);
            for (const text of {json.dumps(texts)}) markdown.update(text);
            box.normalize();
            return box.innerHTML;
        }})"""
    )
    return str(html)


async def test_a_text_drawn_while_it_grows_ends_like_one_drawn_at_once(blank: Page) -> None:
    for text in TEXTS:
        growing = [text[:end] for end in range(1, len(text) + 1)]
        assert await drawn(blank, growing) == await drawn(blank, [text]), text


async def test_markdown_is_drawn_as_nodes(blank: Page) -> None:
    for text, html in DRAWN.items():
        assert await drawn(blank, [text]) == html


async def test_a_hostile_text_full_of_signs_that_never_close_is_drawn(blank: Page) -> None:
    run = 200_000
    signs = ["# " + " " * run + "x", "# x" + " #" * run + "x", "```" + " " * run + "`", "```" + "a" * run + "`"]
    signs += ["|" + "-" * run + "x|\n" * 2, "a|b\n" + "|" + " " * run + "x", "- a\n" + "\n" * run + "x"]
    signs += ["`" + " " * run + "x`", "http://" + "a." * 900 + "!" * 200 + " ", "* " * run + "x", "**a __b " * 20_000]
    for hostile in (
        *signs,
        "**a " * 20_000,
        "x " + "`" * 20_001,
        "[a" * 20_000,
        "*_" * 20_000,
        "> " * 5_000 + "x",
        "- " * 5_000,
    ):
        assert await drawn(blank, [hostile])


async def test_a_run_of_backticks_that_never_closes_is_matched_once(blank: Page) -> None:
    """Counted in characters that expressions match: one match a backtick would be 200 million of them."""
    matched = await blank.evaluate(
        """import("/web/markdown.js").then(({ Markdown }) => {
            const { exec } = RegExp.prototype;
            let matched = 0;
            RegExp.prototype.exec = function (text) {
                const found = exec.call(this, text);
                matched += found?.[0].length ?? 0;
                return found;
            };
            new Markdown(document.createElement("div")).update("x " + "`".repeat(20000));
            RegExp.prototype.exec = exec;
            return matched;
        })"""
    )
    assert 20_000 <= matched < 100_000
