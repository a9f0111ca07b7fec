"""The page's reading of events, in a real browser on an EventSource that does what the test says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.browser import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCENE = """
import("/web/feed.js").then(async ({ Feed }) => {
    const sources = [];
    window.EventSource = class {
        static CLOSED = 2;
        readyState = 1;
        constructor(url) { this.url = url; sources.push(this); }
        close() { this.readyState = 2; this.closed = true; }
        say(id, event) { this.onmessage({ lastEventId: id, data: JSON.stringify(event) }); }
        refuse() { this.readyState = 2; this.onerror(); }
    };
    const seen = [], states = [];
    let rewinds = 0, exists = true;
    const feed = new Feed({
        event: (event, id) => seen.push([event.type, id]),
        state: (state) => states.push(state),
        rewind: () => { rewinds += 1; },
        exists: async () => exists,
    });
    const timers = new Map();
    const clock = { start: window.setTimeout, stop: window.clearTimeout };
    const fakeTime = () => {
        window.setTimeout = (act, after_ms) => { const id = {}; timers.set(id, [act, after_ms]); return id; };
        window.clearTimeout = (id) => timers.delete(id);
    };
    const fire = (after_ms) => {
        const due = [...timers].find(([, [, each]]) => each === after_ms);
        if (!due) return false;
        timers.delete(due[0]);
        due[1][0]();
        return true;
    };
    const until = async (holds) => { while (!holds()) await new Promise((go) => setTimeout(go, 5)); };
    %s
    Object.assign(window, { setTimeout: clock.start, clearTimeout: clock.stop });
    return { urls: sources.map((source) => source.url), closed: sources.map((source) => Boolean(source.closed)),
             seen, states, rewinds, lastId: feed.lastId, accepted: feed.accepted };
})
"""


OPEN = 'feed.open("events", "1763683200123-2");'


async def play(blank: Page, script: str) -> Any:
    return await blank.evaluate(SCENE % (OPEN + script))


async def play_on_a_fake_clock(blank: Page, script: str) -> Any:
    return await blank.evaluate(SCENE % ("fakeTime();" + OPEN + script))


async def test_an_event_that_is_not_newer_is_passed_over_whatever_its_length(blank: Page) -> None:
    ids = ["1763683200123-2", "1763683200123-10", "1763683200123-9", "1763683200123-10", "999-11", "1763683200124-1"]
    told = await play(blank, "".join(f"sources[0].say({json.dumps(id_)}, {{type: 'status'}});" for id_ in ids))
    assert told["accepted"] == ["1763683200123-10", "1763683200124-1"]
    assert told["lastId"] == "1763683200124-1"


async def test_what_the_gateway_says_by_itself_has_no_id_and_moves_nothing(blank: Page) -> None:
    told = await play(
        blank,
        """sources[0].say("1763683200123-2", {type: "job.queued"});
        sources[0].say("", {type: "gap", reason: "trimmed"});""",
    )
    assert told["seen"] == [["job.queued", None], ["gap", None]]
    assert told["lastId"] == "1763683200123-2"


async def test_a_merged_run_that_begins_in_what_is_shown_is_not_shown(blank: Page) -> None:
    told = await play(
        blank, 'sources[0].say("1763683200123-5", {type: "text.delta", from: "1763683200123-2", text: "x"});'
    )
    assert (told["seen"], told["rewinds"]) == ([], 1)


async def test_a_lost_tail_makes_the_page_read_anew_and_an_expired_log_begins_again(blank: Page) -> None:
    told = await play(
        blank,
        """sources[0].say("1763683200123-1", {type: "gap", reason: "lost"});
        sources[0].say("0-0", {type: "gap", reason: "expired"});
        sources[0].say("1763683200123-1", {type: "status"});""",
    )
    assert told["rewinds"] == 1
    assert told["seen"] == [["gap", None], ["status", "1763683200123-1"]]


async def test_a_browser_that_has_given_up_is_made_to_come_back_after_the_last_event(blank: Page) -> None:
    told = await play(
        blank,
        """sources[0].say("1763683200123-3", {type: "status"});
        sources[0].refuse();
        await until(() => sources.length === 2 && states.includes("lost"));
        sources[1].onopen();
        await until(() => feed.state === "live");""",
    )
    assert told["urls"] == [
        "events?ping=event&last_event_id=1763683200123-2",
        "events?ping=event&last_event_id=1763683200123-3",
    ]
    assert told["states"] == ["connecting", "live", "lost", "live"]


async def test_a_session_that_is_no_more_is_not_asked_for_again(blank: Page) -> None:
    told = await play(blank, "exists = false; sources[0].refuse(); await until(() => feed.state === 'gone');")
    assert len(told["urls"]) == 1


async def test_a_stream_that_ends_as_soon_as_it_opens_is_no_connection(blank: Page) -> None:
    told = await play(
        blank,
        """for (let i = 0; i < 5; i += 1) { sources[0].onopen(); sources[0].onerror(); }
        await until(() => states.includes("lost"));""",
    )
    assert told["states"] == ["connecting", "lost"]


async def test_a_tab_that_rests_lets_its_connection_go_and_wakes_where_it_was(blank: Page) -> None:
    told = await play(
        blank,
        """sources[0].say("1763683200123-3", {type: "status"});
        feed.rest();
        feed.reopen();""",
    )
    assert told["closed"] == [True, False]
    assert told["urls"][1] == "events?ping=event&last_event_id=1763683200123-3"


async def test_a_stream_that_is_silent_for_25_seconds_is_replaced_after_the_last_event(blank: Page) -> None:
    told = await play_on_a_fake_clock(
        blank,
        """sources[0].onopen();
        sources[0].say("1763683200123-3", {type: "status"});
        fire(25000);""",
    )
    assert told["urls"][1:] == ["events?ping=event&last_event_id=1763683200123-3"]
    assert told["closed"] == [True, False]
    assert told["states"] == ["connecting", "live", "lost"]


async def test_a_connection_that_does_not_open_is_replaced(blank: Page) -> None:
    told = await play_on_a_fake_clock(blank, "fire(10000);")
    assert (len(told["urls"]), told["states"]) == (2, ["connecting", "lost"])


async def test_a_ping_shows_that_the_connection_lives_and_is_no_event(blank: Page) -> None:
    told = await play_on_a_fake_clock(
        blank,
        """sources[0].onopen();
        const [before] = [...timers].filter(([, [, after_ms]]) => after_ms === 25000);
        sources[0].say("1763683200123-2", {type: "ping", cursor: "1763683200123-2"});
        if (timers.has(before[0])) throw new Error("the time of silence goes on");
        if (![...timers.values()].some(([, after_ms]) => after_ms === 25000)) throw new Error("no deadline is set");""",
    )
    assert (told["seen"], told["accepted"], len(told["urls"])) == ([], [], 1)
