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
