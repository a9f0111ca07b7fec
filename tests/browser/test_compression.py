"""Compressed streams in a real browser."""

from __future__ import annotations

import pytest

from tests.support.browser import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

READ = """
new Promise((resolve) => {
    const types = [], source = new EventSource("%s");
    source.onmessage = ({ data }) => {
        types.push(JSON.parse(data).type);
        if (types.at(-1) === "job.completed") { source.close(); resolve(types); }
    };
})
"""
FETCH = """
fetch("%s", { headers: { Accept: "application/x-ndjson" } }).then(async (answer) => {
    const events = (await answer.text()).split("\\n").filter(Boolean).map((line) => JSON.parse(line).type);
    return [answer.headers.get("content-encoding"), answer.headers.get("vary"), events];
})
"""


async def test_an_event_source_and_a_fetch_read_the_compressed_stream_of_a_finished_job(page: Page) -> None:
    await page.ask("tea", tokens=500)
    await page.until_jobs("completed")
    (job_id,) = await page.job_ids()
    path = f"/v1/sessions/session/jobs/{job_id}/events?raw=true"
    types = await page.evaluate(READ % path)
    assert types.count("text.delta") == 500
    assert await page.evaluate(FETCH % path) == ["zstd", "accept-encoding", types]
