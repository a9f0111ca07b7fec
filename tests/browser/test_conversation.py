"""What the page makes of a job's record, its own log and the session's events, in whatever order these come."""

from __future__ import annotations

import pytest

from tests.support.browser import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_answer_that_its_own_log_has_told_is_not_told_again_by_the_sessions_events(blank: Page) -> None:
    """A job that ended between two reads of its record was told by both, in the one order or the other."""
    script = """import("/web/conversation.js").then(({ Conversation }) => {
        const epoch = 1763683200123;
        const events = [
            { type: "job.started", attempt: 1, agent: "demo" },
            { type: "text.delta", text: "Hello", part: 0 },
            { type: "job.completed" },
        ].map((event, at) => ({ ...event, job_id: "j", id: `${epoch}-${at + 1}` }));
        const told = (steps) => {
            const conversation = new Conversation();
            conversation.load([], [{ job_id: "j", agent: "demo", status: "completed", attempt: 1 }]);
            for (const step of steps) step(conversation);
            const { text, status } = conversation.job("j");
            return [text, status];
        };
        const detail = (conversation) => conversation.detail("j", events);
        const [first, ...rest] = events.map((event) => (conversation) => conversation.apply(event, event.id));
        return [told([detail, first, ...rest]), told([first, detail, ...rest]), told([first, ...rest, detail])];
    })"""
    assert await blank.evaluate(script) == [["Hello", "completed"]] * 3


async def test_discarded_text_is_left_dimmed_until_the_new_attempt_has_written_as_much(blank: Page) -> None:
    script = """Promise.all([import("/web/conversation.js"), import("/web/turns.js")]).then(
        ([{ Conversation }, { Turns }]) => {
        const box = document.createElement("div");
        const conversation = new Conversation();
        const turns = new Turns(box, {});
        const seen = [];
        const take = (event, id) => {
            conversation.apply({ job_id: "j", ...event }, id);
            turns.render(conversation.turns, new Set(conversation.jobs));
            const dimmed = box.querySelector(".discarded");
            seen.push([conversation.job("j").text, dimmed.hidden ? "" : dimmed.textContent]);
        };
        take({ type: "job.started", attempt: 1, agent: "a" }, "1763683200123-1");
        take({ type: "text.delta", text: "kept " }, "1763683200123-2");
        take({ type: "data", name: "step", value: 1 }, "1763683200123-3");
        take({ type: "text.delta", text: "one two" }, "1763683200123-4");
        take({ type: "job.started", attempt: 2, agent: "a", discard_from: "1763683200123-4" }, "1763683200124-1");
        take({ type: "text.delta", text: "one " }, "1763683200124-2");
        take({ type: "job.started", attempt: 3, agent: "a", discard_from: "1763683200123-4" }, "1763683200125-1");
        take({ type: "text.delta", text: "one two three" }, "1763683200125-2");
        return [seen, box.querySelector(".notice").textContent];
    })"""
    seen, notice = await blank.evaluate(script)
    assert seen[4:] == [["kept ", "one two"], ["kept one ", "two"], ["kept ", "one two"], ["kept one two three", ""]]
    assert notice == "Another worker took over and continued after the last finished step (attempt 3)."


async def test_a_block_of_text_is_cut_where_a_takeover_discards_its_end(blank: Page) -> None:
    script = """import("/web/conversation.js").then(({ Conversation }) => {
        const conversation = new Conversation();
        const texts = [];
        const take = (id, event) => {
            conversation.apply({ job_id: "j", ...event }, id);
            texts.push(conversation.job("j").text);
        };
        const text = (id, text, more = {}) => take(id, { type: "text.delta", part: 0, text, ...more });
        const start = (id, attempt, from) => take(id, { type: "job.started", attempt, agent: "a", discard_from: from });
        start("1763683200123-1", 1);
        text("1763683200123-3", "one ");
        text("1763683200123-4", "two ", { checkpoint: true });
        take("1763683200123-5", { type: "status", message: "…" });
        text("1763683200123-6", "three ");
        text("1763683200123-7", "four ", { checkpoint: true });
        start("1763683200124-1", 2, "1763683200123-7");
        text("1763683200124-2", "4 ");
        start("1763683200125-1", 3, "1763683200123-6");
        start("1763683200126-1", 4, "1763683200123-4");
        text("1763683200126-2", "2 ");
        return texts.slice(5);
    })"""
    assert await blank.evaluate(script) == [
        "one two three four ", "one two three ", "one two three 4 ", "one two ", "one ", "one 2 ",
    ]  # fmt: skip


# A conversation with one job that has started. Events are applied with `take`, and `start` and `text` for short.
JOB = """import("/web/conversation.js").then(({ Conversation }) => {
    const conversation = new Conversation();
    const take = (at, type, event = {}) => conversation.apply({ job_id: "j", type, ...event }, `1763683200${at}`);
    const start = (at, attempt, from) =>
        take(at, "job.started", { attempt, agent: "a", discard_from: from && `1763683200${from}` });
    const text = (at, text, more = {}) => take(at, "text.delta", { part: 0, text, ...more });
    start("123-1", 1);
    const job = conversation.job("j");
    %s
})"""


async def test_a_block_of_text_is_cut_at_any_event_between_its_deltas_that_a_takeover_discards_from(
    blank: Page,
) -> None:
    script = """return [
        () => take("123-3", "tool.arguments.delta", { call_id: "c", delta: "{", checkpoint: true }),
        () => take("123-3", "tool.arguments.delta", { call_id: "c", delta: "{" }),
        () => take("123-3", "usage", { input_tokens: 1 }),
        () => take("123-3", "an.event.of.a.later.version"),
        () => text("123-3", "of B", { agent: "B" }),
    ].map((between) => {
        start("123-1", 1);
        take("123-1", "tool.started", { call_id: "c", name: "B's" });
        text("123-2", "aaa");
        between();
        text("123-4", "bbb");
        start("124-1", 2, "123-3");
        const cut = job.text;
        text("124-2", "bbb");
        return [cut, job.text];
    });"""
    assert await blank.evaluate(JOB % script) == [["aaa", "aaabbb"]] * 5


async def test_what_discarded_events_changed_in_an_item_that_is_kept_is_taken_back(blank: Page) -> None:
    """The new attempt does not repeat the events that created these items, only those that changed them."""
    script = """
    const seen = () =>
        job.items.map(({ written, state, result, open, value }) => ({ written, state, result, open, value }));
    take("123-2", "tool.started", { call_id: "c", name: "look" });
    take("123-3", "tool.arguments.delta", { call_id: "c", delta: "{" });
    take("123-4", "section.started", { title: "One", index: 0 });
    take("123-5", "question.asked", { question_id: "q", prompt: "Which?" });
    take("123-6", "data", { name: "outline", value: ["kept"] });
    const kept = seen();
    const goOn = (epoch) => {
        take(`${epoch}-10`, "tool.arguments.delta", { call_id: "c", delta: "}" });
        take(`${epoch}-11`, "tool.called", { call_id: "c", name: "look", arguments: {} });
        take(`${epoch}-12`, "tool.result", { call_id: "c", result: epoch });
        take(`${epoch}-13`, "section.ended", { index: 0 });
        take(`${epoch}-14`, "question.answered", { question_id: "q", value: epoch });
        take(`${epoch}-15`, "data", { name: "outline", value: [epoch] });
        return seen();
    };
    const first = goOn("123");
    start("124-1", 2, "123-10");
    const restored = seen();
    const second = goOn("124");
    start("125-1", 3, "124-12");
    const between = seen();
    return [kept, first, restored, second, between];"""
    kept, first, restored, second, between = await blank.evaluate(JOB % script)

    def changed(epoch: str) -> list[dict[str, object]]:
        return [
            {"written": "{}", "state": "done", "result": epoch},
            {"open": False},
            {"state": "answered", "value": epoch},
            {"value": [epoch]},
        ]

    assert kept == [{"written": "{", "state": "writing"}, {"open": True}, {"state": "waiting"}, {"value": ["kept"]}]
    assert (first, restored, second) == (changed("123"), kept, changed("124"))
    assert between == [{"written": "{}", "state": "called"}, *kept[1:]]


async def test_a_text_that_a_takeover_cuts_is_drawn_as_if_its_end_had_never_been_there(blank: Page) -> None:
    """Blocks that were complete go too, and so does an end that is replaced by another one as long as it."""
    script = """return Promise.all([import("/web/turns.js"), import("/web/markdown.js")]).then(
        ([{ Turns }, { Markdown }]) => {
        const [box, plain] = [document.createElement("div"), document.createElement("div")];
        const turns = new Turns(box, {});
        const render = () => turns.render(conversation.turns, new Set([job]));
        text("123-2", "kept\\n\\n");
        text("123-3", "one\\n\\ntwo\\n\\nthree\\n\\nfour", { checkpoint: true });
        render();
        start("124-1", 2, "123-3");
        text("124-2", "1..\\n\\n2..\\n\\n3....\\n\\n4...");
        render();
        new Markdown(plain).update(job.text);
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
            turns.render(conversation.turns, new Set([job]));
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
    script = """return import("/web/job.js").then(({ inputText }) => [
        [null], [{ type: "text", text: "a" }, { type: "text", text: "b" }], [{ type: "image" }], [1],
    ].map((content) => inputText({ messages: [{ role: "user", content }] }).replaceAll(/[ \\n]/g, "")));"""
    assert await blank.evaluate(JOB % script) == ["[null]", "ab", '[{"type":"image"}]', "[1]"]


async def test_a_job_whose_question_outlives_a_takeover_still_waits_for_the_answer(blank: Page) -> None:
    script = """
    take("123-2", "question.asked", { question_id: "q", prompt: "Which?" });
    start("124-1", 2, "123-3");
    const waiting = job.status;
    take("124-2", "question.answered", { question_id: "q", value: "this" });
    return [waiting, job.status];"""
    assert await blank.evaluate(JOB % script) == ["waiting", "running"]
