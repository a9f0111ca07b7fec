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
