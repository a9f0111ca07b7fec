import assert from "node:assert/strict";
import { test } from "node:test";

import { Channel } from "../../../../clients/js/src/channel.js";
import { frame, json, serve, stream, until } from "./server.mjs";

const E = 1763683200123;
const FAST = "retry: 1\n\n";
const text = (seq, more = {}) => frame(`${E}-${seq}`, { type: "text.delta", ...more });
const gap = (seq, reason) => frame(seq && `${E}-${seq}`, { type: "gap", reason });

/** A tab that collects what its port gets, per subscription. */
function tab(headers) {
  const got = {};
  const made = { visible: true, answers: new Map(), subscriptions: new Map(), asked: [] };
  made.port = {
    postMessage({ id, headers: request, ...message }) {
      if (request) {
        made.asked.push(request.refresh);
        if (headers) setImmediate(() => made.answers.get(request.request)?.(headers));
      } else (got[id] ??= []).push(message);
    },
  };
  made.events = (id) => (got[id] ?? []).flatMap(({ events = [] }) => events.map((event) => event.id ?? event.type));
  made.got = got;
  return made;
}

/** A channel with one tab `first`, whose stream says these pieces and stays open. */
async function opened(t, pieces, { cursor = `${E}-1`, more = [], headers = {} } = {}) {
  const { url, requests } = await serve(t, [stream([FAST, ...pieces], "open"), ...more]);
  let changes = 0;
  const channel = new Channel("key", { base: `${url}/`, headers, path: "events" }, cursor, () => (changes += 1));
  const first = tab();
  channel.add(first, 1, cursor);
  channel.run(true);
  t.after(() => channel.run(false));
  return { channel, first, requests, changes: () => changes };
}

const seqs = (...numbers) => numbers.map((seq) => `${E}-${seq}`);

test("a tab that joins gets what is kept behind its cursor, and then the same as the others", async (t) => {
  const { channel, first } = await opened(t, [text(2), text(3), frame("", { type: "job.queued" }), text(4)]);
  await until(() => first.events(1).length === 4);
  const [all, some, none] = [tab(), tab(), tab()];
  channel.add(all, 1, `${E}-1`);
  channel.add(some, 2, `${E}-3`);
  channel.add(none, 3, `${E}-4`);
  assert.deepEqual(all.events(1), first.events(1));
  assert.deepEqual(some.events(2), ["job.queued", `${E}-4`]);
  assert.deepEqual(none.events(3), []);
});

test("a tab can join where everything behind its cursor is kept, and nowhere else", async (t) => {
  const { channel, first } = await opened(t, [text(2), text(6, { from: `${E}-4` }), text(7)]);
  await until(() => first.events(1).length === 3);
  const covered = ["", "0-0", ...seqs(0, 1, 2, 3, 4, 5, 6, 7, 8)].map((cursor) => channel.covers(cursor));
  assert.deepEqual(covered, [false, false, false, true, true, true, false, false, true, true, false]);
});

test("a channel from the beginning is covered from the beginning", async (t) => {
  const { channel, first } = await opened(t, [text(2)], { cursor: "" });
  assert.equal(channel.covers(""), true);
  await until(() => first.events(1).length === 1);
  assert.deepEqual(["", "0-0", ...seqs(2, 3)].map((cursor) => channel.covers(cursor)), [true, true, true, false]);
});

test("what was lost is not kept for tabs that join later", async (t) => {
  const { channel, first } = await opened(t, [text(2), text(3), gap(2, "lost"), text(4)]);
  await until(() => first.events(1).length === 4);
  assert.deepEqual(seqs(1, 2, 3).map((cursor) => channel.covers(cursor)), [false, true, true]);
  const late = tab();
  channel.add(late, 1, `${E}-2`);
  assert.deepEqual(late.events(1), seqs(4));
});

test("nobody joins across what was trimmed", async (t) => {
  const { channel, first } = await opened(t, [text(2), gap(0, "trimmed"), text(8), text(9)]);
  await until(() => first.events(1).length === 4);
  assert.deepEqual(seqs(1, 2, 7, 8, 9).map((cursor) => channel.covers(cursor)), [false, false, false, true, true]);
});

test("a bounded number of events is kept", async (t) => {
  const count = 20_001;
  const events = Array.from({ length: count }, (_, n) => text(n + 2)).join("");
  const { channel, first } = await opened(t, [events]);
  await until(() => first.events(1).length === count);
  assert.deepEqual(seqs(1, 10_000, 10_001, count).map((cursor) => channel.covers(cursor)), [false, false, true, true]);
});

test("a channel that was closed continues behind its last event", async (t) => {
  const { channel, first, requests } = await opened(t, [text(2)], { more: [stream([text(3)], "open")] });
  await until(() => first.events(1).length === 1);
  channel.run(false);
  channel.run(true);
  await until(() => first.events(1).length === 2);
  assert.deepEqual(requests.map(({ query }) => query.last_event_id), seqs(1, 2));
});

test("the end of the stream and a refusal reach every tab", async (t) => {
  const deleted = frame(`${E}-2`, { type: "session.deleted" });
  const ended = await opened(t, [deleted]);
  await until(ended.changes);
  assert.deepEqual([ended.first.got[1].at(-1), ended.channel.ended, ended.channel.covers(`${E}-1`)], [{ end: true }, true, false]);
  const { url } = await serve(t, [json(404, { title: "Session unknown", code: "session_unknown" })]);
  const refused = new Channel("key", { base: `${url}/`, headers: {}, path: "events" }, "", () => {});
  const first = tab();
  refused.add(first, 1, "");
  refused.run(true);
  await until(() => refused.ended);
  const { status, title, code } = first.got[1].at(-1).error;
  assert.deepEqual([status, title, code], [404, "Session unknown", "session_unknown"]);
});

test("headers are asked of a visible tab, and of another one if it has none", async (t) => {
  const { url, requests } = await serve(t, [json(401, {}), stream([FAST, text(2)], "open")]);
  const channel = new Channel("key", { base: `${url}/`, headers: null, path: "events" }, `${E}-1`, () => {});
  const [hidden, visible] = [tab({ "X-Tab": "hidden" }), tab({ "X-Tab": "visible" })];
  hidden.visible = false;
  channel.add(hidden, 1, `${E}-1`);
  channel.add(visible, 1, `${E}-1`);
  t.after(() => channel.run(false));
  channel.run(true);
  await until(() => visible.events(1).length === 1);
  assert.deepEqual([hidden.asked, visible.asked], [[], [false, true]]);
  assert.deepEqual(requests.map(({ headers }) => headers["x-tab"]), ["visible", "visible"]);
});

test("a tab that left gets nothing any more", async (t) => {
  const { channel, first } = await opened(t, [text(2)]);
  const other = tab();
  channel.add(other, 7, `${E}-1`);
  channel.remove(first, 1);
  await until(() => other.events(7).length === 1);
  assert.equal(channel.size, 1);
  assert.deepEqual(first.events(1), []);
});
