"""Formulas in answers: typeset as MathML once they are complete, and never anything but formulas."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.browser.conftest import Stack
from tests.support.browser import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

TYPESET = "document.querySelectorAll('.math > math').length"
SOURCES = "[...document.querySelectorAll('.math')].map((each) => each.dataset.source)"
TEXTS = [
    ("a \\(x_1\\) and \\(y*z*\\) b", ["\\(x_1\\)", "\\(y*z*\\)"]),
    ("a $$x^2$$ b", ["$$x^2$$"]),
    ("so\n$$\na\n= b\n- c\n$$\nthen\n\n\\[ \\frac12 \\]", ["$$\na\n= b\n- c\n$$", "\\[ \\frac12 \\]"]),
    ("- one\n\n  $$\n  a\n  $$\n- two", ["$$\na\n$$"]),
    ("> $$\n> a\n> $$", ["$$\na\n$$"]),
    ("it costs $5 or $6, `\\(x\\)`, \\\\(x)", []),
    ("```\n$$\nx\n$$\n```", []),
    ("$$\n\nx\n$$", []),
    ("\\( and $$", []),
]
HOSTILE = [
    r"\href{javascript:attack()}{x}",
    r"\url{javascript:attack()}",
    r"\htmlId{composer}{x}",
    r"\id{composer}{x}",
    r"\class{composer}{x}",
    r"\style{position:fixed}{x}",
    r"\data{job=1}{x}",
    r"\includegraphics{http://127.0.0.1/x}",
    r"\label{composer} x",
    r"\begin{equation}\label{composer} x \end{equation}",
    r"\text{<img src=x onerror=attack()>}",
    r"\sideset{_1^2}{_3^4}\prod \pmb{\in}",
    r"\def\a{\a\a}\a",
    r"\hspace{-30em} \rule{900em}{900em}",
    r"\raisebox{90em}{x}",
    "{" * 900 + "}" * 900,
]


async def show(page: Page, *texts: str) -> None:
    """Show the texts one after the other, in place of the document's body."""
    await page.evaluate(f"""import("/web/markdown.js").then(({{ Markdown }}) => {{
        document.body.replaceChildren();
        const markdown = new Markdown(document.body);
        for (const text of {json.dumps(texts)}) markdown.update(text);
    }})""")


@pytest.mark.parametrize(("text", "formulas"), TEXTS)
async def test_formulas_are_found_and_typeset(blank: Page, text: str, formulas: list[str]) -> None:
    await show(blank, text)
    assert await blank.evaluate(SOURCES) == formulas
    await blank.until(f"{TYPESET} === {len(formulas)}")


@pytest.mark.parametrize("text", [text for text, _ in TEXTS])
async def test_a_growing_text_ends_like_one_drawn_at_once(blank: Page, text: str) -> None:
    html: list[Any] = []
    for texts in ([text], [text[:end] for end in range(1, len(text) + 1)]):
        await show(blank, *texts)
        await blank.until(f"{TYPESET} === document.querySelectorAll('.math').length")
        html.append(await blank.evaluate("(document.body.normalize(), document.body.innerHTML)"))
    assert html[0] == html[1]


async def test_an_unfinished_formula_is_text_and_a_finished_one_is_typeset_once(blank: Page) -> None:
    await show(blank, "so\n\n$$\n- a\n- b")
    assert await blank.evaluate("[...document.body.children].map((each) => each.localName)") == ["p", "p"]
    assert await blank.evaluate("document.body.lastChild.textContent") == "$$\n- a\n- b"
    kept = """import("/web/markdown.js").then(async ({ Markdown }) => {
        const box = document.createElement("div");
        const markdown = new Markdown(box);
        markdown.update("\\\\(x\\\\)");
        const formula = box.querySelector(".math");
        while (!formula.querySelector("math")) await new Promise(requestAnimationFrame);
        const drawn = formula.firstChild;
        markdown.update("\\\\(x\\\\) and more");
        return box.querySelector(".math > math") === drawn;
    })"""
    assert await blank.evaluate(kept)


async def test_what_is_no_formula_stays_text(blank: Page) -> None:
    await show(blank, "\\(\\frac{\\) and \\(\\cancel{x}\\)")
    await blank.until("document.querySelectorAll('.math[data-state=refused]').length === 2")
    assert await blank.evaluate("document.body.textContent") == "\\(\\frac{\\) and \\(\\cancel{x}\\)"


async def test_links_ids_and_sizes_beyond_a_formula_are_refused(blank: Page) -> None:
    drawn = [formula for formula in HOSTILE if "label" in formula or "text" in formula or "sideset" in formula]
    refused = [formula for formula in HOSTILE if formula not in drawn and "{{" not in formula]
    await show(blank, "\n\n".join(f"\\({formula}\\)" for formula in refused))
    await blank.until(f"document.querySelectorAll('.math[data-state=refused]').length === {len(refused)}")
    assert await blank.evaluate(TYPESET) == 0


async def test_hostile_formulas_do_nothing_under_the_policy_of_the_page(stack: Stack, page: Page) -> None:
    """The fixture fails on whatever the policy forbids."""
    await page.evaluate("void (window.attack = () => { window.attacked = true; })")
    text = "\n\n".join(f"\\({formula}\\)\n\n$${formula}$$" for formula in HOSTILE)
    await page.evaluate(f"""import("/web/markdown.js").then(({{ Markdown }}) => {{
        const box = document.createElement("div");
        box.id = "formulas";
        document.getElementById("turns").append(box);
        new Markdown(box).update({json.dumps(text)});
    }})""")
    await page.until(
        "[...document.querySelectorAll('.math')].every((each) => each.matches('[data-state], :has(math)'))"
    )
    assert await page.evaluate("document.querySelectorAll('.math').length") == 2 * len(HOSTILE)
    inner = "document.querySelectorAll('#formulas math, #formulas math *')"
    assert await page.evaluate(f"[...{inner}].every((each) => each.namespaceURI.endsWith('MathML'))")
    attributes = "['id', 'href', 'src', 'data-job', 'xlink:href', 'onerror']"
    assert await page.evaluate(f"[...{inner}].every((each) => !{attributes}.some((name) => each.hasAttribute(name)))")
    assert await page.evaluate("document.querySelectorAll('.composer, #composer').length") == 1
    assert await page.evaluate("window.attacked === undefined")


async def test_temml_is_loaded_with_the_first_formula(page: Page) -> None:
    loaded = "performance.getEntriesByType('resource').some(({ name }) => name.endsWith('temml.js'))"
    await page.ask("hi", tokens=2)
    await page.until_jobs("completed")
    assert not await page.evaluate(loaded)
    await page.evaluate("""import("/web/markdown.js").then(({ Markdown }) =>
        void new Markdown(document.getElementById("turns")).update("\\\\(x\\\\)"))""")
    await page.until(loaded)


async def test_many_open_signs_take_linear_time(blank: Page) -> None:
    for text in ("\\(" * 50_000, "$$ a\n" * 20_000, "\\[ a\n" * 20_000, "$$a$$" * 5000):
        seconds = await blank.evaluate(f"""import("/web/markdown.js").then(({{ Markdown }}) => {{
            const began = performance.now();
            new Markdown(document.createElement("div")).update({json.dumps(text)});
            return (performance.now() - began) / 1000;
        }})""")
        assert seconds < 10, text[:10]
