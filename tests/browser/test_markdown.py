"""Markdown in a real browser: a text that is rendered while it grows ends as the same nodes as one rendered at once."""

from __future__ import annotations

import json
import re
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
    "1. مرحبا\n\n   a\n\nمرحبا\n\n|مرحبا|\n|-|\n|a|",
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


async def show(page: Page, text: str) -> None:
    """Draw the text in place of the page."""
    await page.evaluate(
        f"""import("/web/markdown.js").then(({{ Markdown }}) => {{
            const box = document.createElement("div");
            box.className = "markdown";
            new Markdown(box).update({json.dumps(text)});
            document.body.replaceChildren(box);
        }})"""
    )


async def test_a_text_drawn_while_it_grows_ends_like_one_drawn_at_once(blank: Page) -> None:
    for text in TEXTS:
        growing = [text[:end] for end in range(1, len(text) + 1)]
        assert await drawn(blank, growing) == await drawn(blank, [text]), text


async def test_markdown_is_drawn_as_nodes(blank: Page) -> None:
    for text, html in DRAWN.items():
        assert await drawn(blank, [text]) == html


async def test_cells_of_a_table_are_aligned_by_their_class(blank: Page) -> None:
    table = await drawn(blank, ["|a|b|c|d|\n|-|:-|-:|:-:|\n|1|2|3|4|"])
    for row in ("th", "td"):
        found = re.findall(rf"<{row}((?: .*?)?)>", table)
        assert found == ["", "", ' class="right"', ' class="center"']


RTL = {
    "p": "مرحبا.",
    "h3": "# مرحبا.",
    "li": "- مرحبا.",
    "td": "|a|\n|-|\n|مرحبا.|",
    "blockquote p": "> مرحبا.",
    "li:last-child": "- a\n- 1. **مرحبا** a",
}


@pytest.mark.parametrize("selector", RTL)
async def test_text_from_right_to_left_is_set_in_its_direction(page: Page, selector: str) -> None:
    await show(page, RTL[selector])
    style = f"getComputedStyle(document.querySelector('.markdown {selector}')).direction"
    assert await page.evaluate(style) == "rtl"
    assert str(await page.evaluate("getComputedStyle(document.querySelector('.markdown')).direction")) == "ltr"


LINKS = {
    "[https://bank.example](https://evil.example)": "https://bank.example (evil.example)",
    "[bank.example](https://evil.example/bank.example)": "bank.example (evil.example)",
    "[**bank**.example](https://evil.example)": "bank.example (evil.example)",
    "[https://bank.example](https://bank.example@evil.example)": "https://bank.example (evil.example)",
    "[a@bank.example](mailto:a@evil.example)": "a@bank.example (a@evil.example)",
    "[\u202emoc.knab](https://evil.example)": "\u202emoc.knab (evil.example)",
    "[my bank](https://bank.example)": "my bank",
    "[www.bank.example/a](https://bank.example/b)": "www.bank.example/a",
    "[a@bank.example](mailto:a@bank.example)": "a@bank.example",
    "https://bank.example/ü": "https://bank.example/ü",
}


@pytest.mark.parametrize("link", LINKS)
async def test_a_link_whose_text_is_another_address_shows_where_it_leads(blank: Page, link: str) -> None:
    html = await drawn(blank, [link])
    assert re.sub("<.*?>", "", html) == LINKS[link]
    assert await drawn(blank, [link[:end] for end in range(1, len(link) + 1)]) == html


ORDER = """(() => {
    const text = document.querySelector(".markdown p").lastChild;
    const left = (at) => {
        const range = document.createRange();
        range.setStart(text, at);
        range.setEnd(text, at + 1);
        return range.getBoundingClientRect().left;
    };
    return left(1) < left(text.length - 1);
})()"""


@pytest.mark.parametrize("text", ["[a\u202e](https://b.example) after", "*\u202ea* after", "`\u202ea` after"])
async def test_a_mark_of_direction_does_not_change_what_stands_beside_it(page: Page, text: str) -> None:
    await show(page, text)
    assert await page.evaluate(ORDER)


COUNT_SLICES = """(async () => {
    const { Markdown } = await import("/web/markdown.js");
    const { slice } = String.prototype;
    let count = 0;
    String.prototype.slice = function (...args) { count += 1; return slice.apply(this, args); };
    new Markdown(document.createElement("div")).update(%s);
    String.prototype.slice = slice;
    return count;
})()"""


@pytest.mark.parametrize("line", ["\\[\n", "$$a\n", "> \\[\n", "- \\[\n", "  \\[ x\n"])
async def test_many_beginnings_of_a_formula_are_searched_once(blank: Page, line: str) -> None:
    lines = 4000
    assert await blank.evaluate(COUNT_SLICES % json.dumps(line * lines)) <= 30 * lines


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
