"""Markdown in a real browser: a text that is rendered while it grows ends as the same nodes as one rendered at once."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest

from tests.support.browser import Page
from tests.support.process import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = 200_000
MAX_SECONDS = 10
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
LINK = '<a href="%s" target="_blank" rel="noopener noreferrer">%s</a>'
COPY = '<button type="button" class="copy" aria-label="Copy code"></button>'
DRAWN = {
    "**a** b": "<p><strong>a</strong> b</p>",
    "- a\n  - b": "<ul><li><p>a</p><ul><li><p>b</p></li></ul></li></ul>",
    "```py\nx < 1\n```": (
        '<pre tabindex="0" data-language="py"><code>x &lt; <span class="number">1</span></code>' + COPY + "</pre>"
    ),
    "~~~\na\n\nb\n~~": f'<pre tabindex="0"><code>a\n\nb</code>{COPY}</pre>',
    "    a": f'<pre tabindex="0"><code>a</code>{COPY}</pre>',
    "a\n---": "<p>a</p><hr>",
    "a  \nb\\\nc": "<p>a\nb\nc</p>",
    "![a](https://b.c)": f"<p>!{LINK % ('https://b.c', 'a')}</p>",
    "[a](//b.c) <ftp://b.c> ftp://b.c b.c": "<p>[a](//b.c) &lt;ftp://b.c&gt; ftp://b.c b.c</p>",
    "<MAILTO:a@b.c> <https://b.c/ü>": f"<p>{LINK % ('MAILTO:a@b.c', 'MAILTO:a@b.c')} "
    f"{LINK % ('https://b.c/%C3%BC', 'https://b.c/ü')}</p>",
    "[a][b]\n\n[b]: https://c": f"<p>[a][b]</p><p>[b]: {LINK % ('https://c', 'https://c')}</p>",
    "<script>x</script>": "<p>&lt;script&gt;x&lt;/script&gt;</p>",
    "[x](javascript:alert(1))": "<p>[x](javascript:alert(1))</p>",
    "[x](data:image/png;base64,aa)": "<p>[x](data:image/png;base64,aa)</p>",
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


HOSTILE = [
    "# " + " " * MANY + "x",
    "# x" + " #" * MANY + "x",
    "```" + " " * MANY + "`",
    "```" + "a" * MANY + "`",
    ("|" + "-" * MANY + "x|\n") * 2,
    "a|b\n" + "|" + " " * MANY + "x",
    "- a\n" + "\n" * MANY + "x",
    "`" + " " * MANY + "x`",
    "http://" + "a." * 900 + "!" * 200 + " ",
    "http://" + "a" * MANY,
    "http://a.b *c* " * 20_000,
    "* " * MANY + "x",
    "*" * MANY,
    "**a __b " * 20_000,
    "**a " * 20_000,
    "*_" * 20_000,
    "x " + "`" * 20_001,
    "".join("x" + "`" * run for run in range(600)),
    "[a" * 20_000,
    "[" * 20_000 + "]" * 20_000,
    "[a](http://" * 20_000,
    "![[]()" * 20_000,
    "<http://a" * 20_000,
    "|a" * 5_000 + "\n" + "|-" * 5_000 + "\n" + "|b\n" * 5_000,
    "> " * 5_000 + "x",
    "- " * 5_000,
    "a\n> b\n" * 5_000,
]


async def test_hostile_texts_are_rendered_in_linear_time(blank: Page) -> None:
    """Quadratic time would be billions of steps for most of them."""
    for hostile in HOSTILE:
        seconds = await blank.evaluate(
            f"""import("/web/markdown.js").then(({{ Markdown }}) => {{
                const began = performance.now();
                new Markdown(document.createElement("div")).update({json.dumps(hostile)});
                return (performance.now() - began) / 1000;
            }})"""
        )
        assert seconds < MAX_SECONDS, hostile[:40]


async def test_only_the_last_two_blocks_of_a_growing_text_are_parsed_and_changed(blank: Page) -> None:
    """A node that stays keeps its selection and its scroll position."""
    parsed, text, kept, grown = await blank.evaluate(
        """Promise.all([import("/web/markdown.js"), import("/web/vendor/markdown-it.js")]).then(
            ([{ Markdown }, { default: MarkdownIt }]) => {
            const { parse } = MarkdownIt.prototype;
            let parsed = 0;
            MarkdownIt.prototype.parse = function (text, env) {
                parsed += text.length;
                return parse.call(this, text, env);
            };
            const box = document.createElement("div");
            const markdown = new Markdown(box);
            const text = "a *block* of text\\r\\n\\r\\n".repeat(500);
            let first;
            for (let end = 10; end <= text.length; end += 10) {
                markdown.update(text.slice(0, end));
                first ??= box.firstChild;
            }
            const kept = box.firstChild === first && box.childElementCount === 500;
            const paragraph = box.lastChild;
            markdown.update(text + "one");
            const words = box.lastChild.firstChild;
            markdown.update(text + "one more");
            const grown = box.lastChild.firstChild === words && words.data === "one more";
            MarkdownIt.prototype.parse = parse;
            return [parsed, text.length, kept && box.contains(paragraph), grown];
        })"""
    )
    assert kept
    assert grown
    assert text <= parsed < 10 * text


@pytest.mark.parametrize(
    ("name", "built"), [("markdown-it", "dist/browser/markdown-it.esm.min.mjs"), ("temml", "dist/temml.mjs")]
)
async def test_vendored_modules_are_the_files_of_their_packages(name: str, built: str) -> None:
    package = ROOT / "tests/node/node_modules" / name
    version = json.loads((package / "package.json").read_text("utf-8"))["version"]
    vendored = ROOT / "gateway/web/vendor"
    digests = [sha256(file.read_bytes()).hexdigest() for file in (vendored / f"{name}.js", package / built)]
    assert digests[0] == digests[1]
    assert f"{name} {version}, unchanged" in (vendored / "LICENSES.txt").read_text("utf-8")
