"""What the page makes of the client's state of a job, and how it draws what a takeover discarded."""

from __future__ import annotations

import pytest

from tests.support.browser import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")


# A conversation with one job that has started. Events are applied with `take`, and `start` and `text` for short.
JOB = """(async () => {
    const { Job } = await import("/web/client/job.js");
    const { Conversation } = await import("/web/conversation.js");
    const conversation = new Conversation();
    const job = new Job("j");
    const take = (at, type, event = {}) => {
        job.apply({ job_id: "j", type, id: `1763683200${at}`, ...event });
        conversation.update(job.messages());
    };
    const start = (at, attempt, from) =>
        take(at, "job.started", { attempt, agent: "a", discard_from: from && `1763683200${from}` });
    const text = (at, text, more = {}) => take(at, "text.delta", { part: 0, text, ...more });
    start("123-1", 1);
    const turn = conversation.job("j");
    %s
})()"""


async def test_an_answer_that_its_own_log_has_told_is_not_replaced_by_what_the_session_has_of_it(blank: Page) -> None:
    script = """
    text("123-2", "Hello");
    take("123-3", "job.completed");
    turn.takeWhole({ ...job.messages().at(-1), steps: [{ message: "Reading" }] });
    conversation.update(new Job("j", { status: "completed" }).messages());
    return [turn.text, turn.state.steps.length];"""
    assert await blank.evaluate(JOB % script) == ["Hello", 1]


async def test_a_job_that_the_session_has_lost_is_no_longer_shown(blank: Page) -> None:
    script = """return import("/web/turns.js").then(({ Turns }) => {
        const box = document.createElement("div");
        const turns = new Turns(box, {});
        conversation.notice("Kept");
        turns.render(conversation.turns, new Set());
        conversation.update(new Job("k").messages());
        turns.render(conversation.turns, new Set());
        return [...box.children].map((node) => node.dataset.job ?? node.textContent);
    });"""
    assert await blank.evaluate(JOB % script) == ["Kept", "k"]


async def test_discarded_text_is_left_dimmed_until_the_new_attempt_has_written_as_much(blank: Page) -> None:
    script = """return import("/web/turns.js").then(({ Turns }) => {
        const box = document.createElement("div");
        const turns = new Turns(box, {});
        const seen = [];
        const look = () => {
            turns.render(conversation.turns, new Set([turn]));
            const dimmed = box.querySelector(".discarded");
            seen.push([turn.text, dimmed.hidden ? "" : dimmed.textContent]);
        };
        text("123-2", "kept ");
        take("123-3", "data", { name: "step", value: 1 });
        text("123-4", "one two");
        for (const step of [
            () => start("124-1", 2, "123-4"),
            () => text("124-2", "one "),
            () => start("125-1", 3, "123-4"),
            () => text("125-2", "one two three"),
        ]) {
            step();
            look();
        }
        return [seen, box.querySelector(".notice").textContent];
    });"""
    seen, notice = await blank.evaluate(JOB % script)
    assert seen == [["kept ", "one two"], ["kept one ", "two"], ["kept ", "one two"], ["kept one two three", ""]]
    assert notice == "Another worker took over and continued after the last finished step (attempt 3)."


async def test_an_outline_is_replaced_in_its_place(blank: Page) -> None:
    script = """
    take("123-2", "data", { name: "outline", value: ["One"] });
    take("123-3", "section.started", { title: "One", index: 0 });
    take("123-4", "data", { name: "outline", value: ["One", "Two"] });
    return turn.parts.map(({ type, value }) => [type, value ?? null]);"""
    assert await blank.evaluate(JOB % script) == [["data", ["One", "Two"]], ["section", None]]


async def test_a_text_that_a_takeover_cuts_is_drawn_as_if_its_end_had_never_been_there(blank: Page) -> None:
    """Blocks that were complete go too, and so does an end that is replaced by another one as long as it."""
    script = """return Promise.all([import("/web/turns.js"), import("/web/markdown.js")]).then(
        ([{ Turns }, { Markdown }]) => {
        const [box, plain] = [document.createElement("div"), document.createElement("div")];
        const turns = new Turns(box, {});
        const render = () => turns.render(conversation.turns, new Set([turn]));
        text("123-2", "kept\\n\\n");
        text("123-3", "one\\n\\ntwo\\n\\nthree\\n\\nfour", { checkpoint: true });
        render();
        start("124-1", 2, "123-3");
        text("124-2", "1..\\n\\n2..\\n\\n3....\\n\\n4...");
        render();
        new Markdown(plain).update(turn.text);
        return [box.querySelector(".markdown").innerHTML, plain.innerHTML];
    });"""
    shown, expected = await blank.evaluate(JOB % script)
    assert shown == expected


async def test_discarded_tools_sections_thoughts_and_data_are_dimmed_until_the_new_attempt_has_as_many(
    blank: Page,
) -> None:
    script = """return import("/web/turns.js").then(({ Turns }) => {
        const box = document.createElement("div");
        const turns = new Turns(box, {});
        const seen = [];
        const shown = (where) =>
            [...box.querySelectorAll(`.answer > ${where} > *`)].map((node) => node.className.split(" ")[0]);
        const look = () => {
            turns.render(conversation.turns, new Set([turn]));
            seen.push([shown(".flow:not(.discarded-items)"), shown(".discarded-items")]);
        };
        const work = (epoch) => [
            () => take(`${epoch}-5`, "reasoning.delta", { text: "Hm.", part: 0 }),
            () => take(`${epoch}-6`, "section.started", { title: "One", index: 0 }),
            () => take(`${epoch}-7`, "data", { name: "outline", value: ["One"] }),
        ];
        take("123-2", "tool.started", { call_id: "kept", name: "look" });
        take("123-3", "tool.started", { call_id: "c", name: "look" });
        for (const step of work("123")) step();
        look();
        start("124-1", 2, "123-3");
        look();
        take("124-2", "tool.started", { call_id: "c", name: "look" });
        for (const step of work("124").slice(0, 1)) step();
        look();
        start("125-1", 3, "123-3");
        look();
        take("125-2", "job.completed");
        look();
        return [seen, box.querySelector(".discarded-items").inert];
    });"""
    seen, inert = await blank.evaluate(JOB % script)
    gone = ["tool", "reasoning", "section", "data"]
    assert seen == [
        [["tool", *gone], []],
        [["tool"], gone],
        [["tool", "tool", "reasoning"], ["section", "data"]],
        [["tool"], gone],
        [["tool"], []],
    ]
    assert inert


async def test_content_that_is_no_list_of_text_parts_is_shown_as_json(blank: Page) -> None:
    script = """return import("/web/conversation.js").then(({ inputText }) => [
        [null], [{ type: "text", text: "a" }, { type: "text", text: "b" }], [{ type: "image" }], [1],
    ].map((content) => inputText({ messages: [{ role: "user", content }] }).replaceAll(/[ \\n]/g, "")));"""
    assert await blank.evaluate(JOB % script) == ["[null]", "ab", '[{"type":"image"}]', "[1]"]
