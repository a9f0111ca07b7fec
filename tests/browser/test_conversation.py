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
