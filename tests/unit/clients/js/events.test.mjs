import assert from "node:assert/strict";
import { test } from "node:test";

import { Client, HoldfastError } from "../../../../clients/js/src/index.js";
import { all, frame, json, serve, stream } from "./server.mjs";

const JOB = { session_id: "s", job_id: "j" };
const E = 1763683200123;
const FAST = "retry: 1\n\n";
const DONE = frame(`${E}-9`, { type: "job.completed", job_id: "j" });
const text = (seq, words, more = {}) => frame(`${E}-${seq}`, { type: "text.delta", job_id: "j", text: words, ...more });
const ids = (events) => events.map(({ id }) => id);
const cursors = (requests) => requests.map(({ query }) => query.last_event_id);

test("the stream of a job ends behind its terminal event, whatever follows", async (t) => {
  const { url, requests } = await serve(t, [stream([FAST, text(1, "a"), DONE, text(10, "b")], "open")]);
  const events = await all(new Client(url).events(JOB));
  assert.deepEqual(events, [
    { type: "text.delta", job_id: "j", text: "a", id: `${E}-1` },
    { type: "job.completed", job_id: "j", id: `${E}-9` },
  ]);
  assert.equal(requests[0].path, "/v1/sessions/s/jobs/j/events");
  assert.match(requests[0].headers.accept, /text\/event-stream/);
});

test("the stream of a session goes on behind a terminal event and ends with the session", async (t) => {
  const deleted = frame(`${E}-12`, { type: "session.deleted" });
  const { url } = await serve(t, [stream([DONE, text(10, "b"), deleted], "open")]);
  assert.deepEqual(ids(await all(new Client(url).events("s"))), [`${E}-9`, `${E}-10`, `${E}-12`]);
});

for (const end of ["end", "cut"]) {
  test(`a stream that ${end === "cut" ? "is cut" : "ends"} is continued behind the last event`, async (t) => {
    const { url, requests } = await serve(t, [stream([FAST, text(1, "a"), text(2, "b")], end), stream([DONE])]);
    assert.deepEqual(ids(await all(new Client(url).events(JOB))), [`${E}-1`, `${E}-2`, `${E}-9`]);
    assert.deepEqual(cursors(requests), [undefined, `${E}-2`]);
  });
}

test("a frame that was cut is not an event and does not move the cursor", async (t) => {
  const torn = text(2, "b").slice(0, -1);
  const { url, requests } = await serve(t, [stream([FAST, text(1, "a"), torn], "cut"), stream([text(2, "b"), DONE])]);
  assert.deepEqual(ids(await all(new Client(url).events(JOB))), [`${E}-1`, `${E}-2`, `${E}-9`]);
  assert.deepEqual(cursors(requests), [undefined, `${E}-1`]);
});

test("an event that comes again, or late, is not delivered twice, whatever the length of its id", async (t) => {
  const again = stream([FAST, text(10, "a"), text(9, "late"), text(10, "again"), frame(`${E + 1}-1`, { type: "status" }), frame(`${E + 1}-2`, { type: "job.failed" })]);
  const { url } = await serve(t, [again]);
  assert.deepEqual(ids(await all(new Client(url).events(JOB))), [`${E}-10`, `${E + 1}-1`, `${E + 1}-2`]);
});

test("204 means that there is nothing more", async (t) => {
  const { url, requests } = await serve(t, [{ status: 204 }]);
  assert.deepEqual(await all(new Client(url).events(JOB, { cursor: `${E}-9` })), []);
  assert.deepEqual(cursors(requests), [`${E}-9`]);
});

test("a refusal that may pass is repeated", async (t) => {
  const { url, requests } = await serve(t, [stream([FAST]), { status: 0 }, stream([FAST, DONE])]);
  assert.equal((await all(new Client(url).events(JOB))).length, 1);
  assert.equal(requests.length, 3);
});

test("a lasting refusal is an error", async (t) => {
  const { url } = await serve(t, [json(404, { title: "Session unknown", code: "session_unknown" })]);
  await assert.rejects(all(new Client(url).events("s")), (error) => {
    assert.ok(error instanceof HoldfastError);
    assert.deepEqual([error.status, error.code, error.message], [404, "session_unknown", "Session unknown"]);
    return true;
  });
});

test("a response that is not an event stream is an error", async (t) => {
  const { url } = await serve(t, [{ headers: { "Content-Type": "text/html" }, pieces: ["<html>"] }]);
  await assert.rejects(all(new Client(url).events("s")), /not an event stream/);
});

test("the server's retry is the least pause before the next connection", async (t) => {
  const { url } = await serve(t, [stream(["retry: 400\n\n", text(1, "a")]), stream([DONE])]);
  const began = performance.now();
  await all(new Client(url).events(JOB));
  assert.ok(performance.now() - began >= 400);
});

test("a gap is delivered, and after a loss the cursor is back at it", async (t) => {
  const lost = frame(`${E}-1`, { type: "gap", reason: "lost" });
  const { url, requests } = await serve(t, [stream([FAST, text(3, "a"), lost, text(2, "b")]), stream([DONE])]);
  const events = await all(new Client(url).events(JOB));
  assert.deepEqual(events.map(({ type, id }) => [type, id]), [
    ["text.delta", `${E}-3`],
    ["gap", `${E}-1`],
    ["text.delta", `${E}-2`],
    ["job.completed", `${E}-9`],
  ]);
  assert.deepEqual(cursors(requests), [undefined, `${E}-2`]);
});

test("an event of the gateway has no id and does not move the cursor; a ping is not delivered", async (t) => {
  const pieces = [FAST, text(1, "a"), frame("", { type: "job.queued", position: 2 }), frame("", { type: "ping", cursor: `${E}-7` })];
  const { url, requests } = await serve(t, [stream(pieces), stream([DONE])]);
  const events = await all(new Client(url).events(JOB));
  assert.deepEqual(events.map(({ type, id }) => [type, id])[1], ["job.queued", undefined]);
  assert.equal(events.length, 3);
  assert.deepEqual(cursors(requests), [undefined, `${E}-1`]);
});

test("an id without data moves the cursor", async (t) => {
  const { url, requests } = await serve(t, [stream([FAST, `id: ${E}-4\n\n`]), stream([DONE])]);
  assert.equal((await all(new Client(url).events(JOB))).length, 1);
  assert.deepEqual(cursors(requests), [undefined, `${E}-4`]);
});

test("line ends, comments, split characters and data of several lines are those of the standard", async (t) => {
  const bytes = Buffer.from(
    `\uFEFFretry: 1\r\n\r\n: a comment\nid:${E}-1\r\ndata: {"type":\r\ndata:"ä\u2028ö"}\r\n\r\nevent: x\rid: ${E}-2\rdata: {"type":"job.failed"}\r\r\n`,
  );
  const { url } = await serve(t, [stream(Array.from(bytes, (byte) => Buffer.of(byte)))]);
  assert.deepEqual(await all(new Client(url).events(JOB)), [
    { type: "ä\u2028ö", id: `${E}-1` },
    { type: "job.failed", id: `${E}-2` },
  ]);
});

test("a stream that is silent for 25 seconds is replaced, and any byte is a sign of life", async (t) => {
  const { url, requests } = await serve(t, [stream([FAST, text(1, "a")], "open"), stream([DONE])]);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const iterator = new Client(url).events(JOB);
  assert.equal((await iterator.next()).value.id, `${E}-1`);
  const next = iterator.next();
  t.mock.timers.tick(24_999);
  assert.equal(requests.length, 1);
  t.mock.timers.tick(1);
  t.mock.timers.reset();
  assert.equal((await next).value.id, `${E}-9`);
  await iterator.return();
  assert.deepEqual(cursors(requests), [undefined, `${E}-1`]);
});

test("breaking the loop closes the connection", async (t) => {
  let closed = false;
  const { url } = await serve(t, [stream([text(1, "a")], "open")]);
  const states = [];
  for await (const event of new Client(url).events(JOB, { onConnection: (state) => states.push(state) })) {
    closed = event.id === `${E}-1`;
    break;
  }
  assert.ok(closed);
  assert.deepEqual(states, ["live"]);
});

test("the iterator ends when its signal aborts, while it reads and while it waits", async (t) => {
  const { url } = await serve(t, [stream([text(1, "a")], "open"), { status: 0 }]);
  const reading = new AbortController();
  const iterator = new Client(url).events(JOB, { signal: reading.signal });
  await iterator.next();
  reading.abort();
  assert.deepEqual(await iterator.next(), { value: undefined, done: true });
  const waiting = new AbortController();
  const onConnection = (state) => state === "lost" && waiting.abort();
  assert.deepEqual(await all(new Client(url).events(JOB, { signal: waiting.signal, onConnection })), []);
});

test("a connection is live with its first event, and a stream that ends at once never was", async (t) => {
  const { url } = await serve(t, [stream([FAST]), stream([FAST]), stream([FAST, text(1, "a")]), stream([DONE])]);
  const states = [];
  await all(new Client(url).events(JOB, { onConnection: (state) => states.push(state) }));
  assert.deepEqual(states, ["lost", "lost", "live", "lost", "live"]);
});

test("headers come from the callback, which is called again after a 401", async (t) => {
  const { url, requests } = await serve(t, [json(401, {}), stream([FAST, text(1, "a")]), json(401, {}), stream([DONE])]);
  const asked = [];
  const headers = async ({ refresh }) => {
    asked.push(refresh);
    return { Authorization: `Bearer ${asked.length}` };
  };
  assert.equal((await all(new Client(url, { headers }).events(JOB))).length, 2);
  assert.deepEqual(asked, [false, true, false, true]);
  assert.deepEqual(requests.map((each) => each.headers.authorization), ["Bearer 1", "Bearer 2", "Bearer 3", "Bearer 4"]);
});

test("options become the query", async (t) => {
  const { url, requests } = await serve(t, [{ status: 204 }]);
  await all(new Client(url).events("s", { raw: true, wait: true }));
  assert.deepEqual(requests[0].query, { raw: "true", wait: "true" });
});
