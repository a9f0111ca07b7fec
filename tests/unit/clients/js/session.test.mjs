import assert from "node:assert/strict";
import { test } from "node:test";

import { Client } from "../../../../clients/js/src/index.js";
import { frame, json, serve, stream, until } from "./server.mjs";

const E = 1763683200123;
const JOBS = "/v1/sessions/s/jobs";
const EVENTS = "/v1/sessions/s/events";
const NONE = json(200, { messages: [], cursor: "", job_id: null, replay_from: null });
const event = (seq, type, more = {}) => frame(seq && `${E}-${seq}`, { type, job_id: "j", ...more });
const text = (seq, words, more = {}) => event(seq, "text.delta", { text: words, part: 0, ...more });
const started = (seq, attempt = 1, more = {}) => event(seq, "job.started", { attempt, agent: "demo", input: "hi", ...more });
const user = { role: "user", content: "hi", job_id: "j" };
const said = (content) => ({ role: "assistant", content, job_id: "j" });
const state = (status) => ({ job_id: "j", agent: "demo", status, attempt: 1, usage: null });
const record = (messages, seq, more = {}) => ({ messages, cursor: `${E}-${seq}`, job_id: null, replay_from: null, ...more });

/** A session whose gateway answers with these records and streams, the last one for ever. */
async function opened(t, { records, states = [[]], streams, posted = json(202, { job_id: "j", session_id: "s", position: 0 }) }) {
  const took = (list) => (list.length > 1 ? list.shift() : list[0]);
  const answer = ({ method, path }) => {
    if (method !== "GET") return posted;
    if (path === JOBS) return json(200, { jobs: took(states), next: null });
    if (path === EVENTS) return took(streams);
    const next = took(records);
    return next.status ? next : json(200, next);
  };
  const { url, requests } = await serve(t, [answer]);
  const session = new Client(url).session("s");
  const seen = [];
  const calls = [];
  const stop = session.subscribe((each, events) => {
    calls.push(each);
    seen.push(...events);
  });
  t.after(stop);
  const reads = () => requests.filter(({ path }) => path === EVENTS).map(({ query }) => query.last_event_id);
  return { session, requests, reads, calls, seen, stop };
}

const contents = (session) => session.state.messages.map(({ role, content }) => [role, content]);

test("a session is its record and the events behind it", async (t) => {
  const { session, reads } = await opened(t, {
    records: [record([user, said("Hel")], 4)],
    states: [[state("completed")]],
    streams: [stream([text(5, "lo"), event(6, "job.completed", { result: "Hello" })], "open")],
  });
  await until(() => session.state.messages.at(-1)?.result === "Hello");
  assert.deepEqual(contents(session), [["user", "hi"], ["assistant", "Hello"]]);
  assert.deepEqual(reads(), [`${E}-4`]);
  assert.equal(session.state.cursor, `${E}-6`);
  assert.equal(session.state.job, null);
});

test("the running job is read from its events, which say more than its messages", async (t) => {
  const { session, reads } = await opened(t, {
    records: [record([user, said("Hel")], 9, { job_id: "j", replay_from: `${E}-1` })],
    states: [[{ ...state("running"), usage: { input_tokens: 3 } }]],
    streams: [stream([started(2), event(3, "reasoning.delta", { text: "Hm", part: 0 }), text(4, "Hel"), event(5, "usage", { input_tokens: 3 })], "open")],
  });
  await until(() => session.state.cursor === `${E}-5`);
  assert.deepEqual(reads(), [`${E}-1`]);
  const { job } = session.state;
  assert.deepEqual([job.status, job.content, job.parts.map(({ type }) => type)], ["running", "Hel", ["reasoning", "text"]]);
  assert.equal(job.usage.length, 1);
});

test("a job that has ended since the record was read does not end before its events say so", async (t) => {
  const { session, calls } = await opened(t, {
    records: [record([user, said("Hel")], 9, { job_id: "j", replay_from: `${E}-1` })],
    states: [[{ ...state("completed"), cursor: `${E}-10`, result: "Hello" }, { ...state("queued"), job_id: "k", cursor: `${E}-10`, position: 1 }]],
    streams: [stream([started(2), text(3, "Hello"), event(10, "job.completed", { result: "Hello" })], "open")],
  });
  await until(() => session.state.cursor === `${E}-10`);
  const ends = calls.flatMap(({ messages }) => messages.filter(({ status }) => status === "completed"));
  assert.ok(ends.every(({ content }) => content === "Hello"));
  assert.equal(session.state.job.job_id, "k");
});

test("a job whose first events are no longer stored is shown from those that are, and its input from the record", async (t) => {
  const usage = { input_tokens: 3 };
  const { session } = await opened(t, {
    records: [record([user, said("Hel")], 9, { job_id: "j", replay_from: `${E}-1` })],
    states: [[{ ...state("running"), cursor: `${E}-9`, usage }]],
    streams: [stream([event(0, "gap", { reason: "trimmed" }), text(4, "lo"), event(5, "usage", usage)], "open")],
  });
  await until(() => session.state.cursor === `${E}-5`);
  assert.deepEqual(contents(session), [["user", "hi"], ["assistant", "lo"]]);
  const { gap, job } = session.state;
  assert.deepEqual([gap, job.agent, job.usage.length], ["trimmed", "demo", 1]);
});

test("after a loss the record is read again, and what was lost is no longer shown", async (t) => {
  const { session, reads, seen } = await opened(t, {
    records: [record([], 1), record([user, said("ab")], 3)],
    states: [[], [state("completed")]],
    streams: [stream([started(2), text(6, "abcd", { from: `${E}-3` }), frame(`${E}-4`, { type: "gap", reason: "lost" }), text(5, "X")], "open"), stream([text(5, "c")], "open")],
  });
  await until(() => session.state.cursor === `${E}-5`);
  assert.deepEqual(reads(), [`${E}-1`, `${E}-3`]);
  assert.equal(session.state.messages.at(-1).content, "abc");
  await until(() => seen.some(({ type, reason }) => type === "gap" && reason === "lost"));
});

test("a merged delta that begins within what is shown makes the record be read again", async (t) => {
  const { session, reads } = await opened(t, {
    records: [record([user, said("ab")], 3), record([user, said("abcd")], 6)],
    states: [[state("completed")]],
    streams: [stream([text(6, "bcd", { from: `${E}-3` })], "open"), stream([text(7, "e")], "open")],
  });
  await until(() => session.state.cursor === `${E}-7`);
  assert.deepEqual(reads(), [`${E}-3`, `${E}-6`]);
  assert.equal(session.state.messages.at(-1).content, "abcde");
});

test("a takeover discards what it replaces", async (t) => {
  const { session } = await opened(t, {
    records: [record([], 1)],
    streams: [stream([started(2), text(3, "old"), started(4, 2, { discard_from: `${E}-2` }), text(5, "new")], "open")],
  });
  await until(() => session.state.cursor === `${E}-5`);
  assert.deepEqual([session.state.job.content, session.state.job.attempt], ["new", 2]);
  assert.equal(session.state.job.discarded[0].text, "old");
});

test("an expired log leaves what is shown, and says so", async (t) => {
  const { session } = await opened(t, {
    records: [record([user, said("a")], 3)],
    states: [[state("completed")]],
    streams: [stream([frame("0-0", { type: "gap", reason: "expired" }), started(1)], "open")],
  });
  await until(() => session.state.cursor === `${E}-1`);
  assert.equal(session.state.gap, "expired");
});

test("a session that does not exist yet is waited for from its first event on", async (t) => {
  const { session, requests } = await opened(t, { records: [NONE], streams: [stream([started(1), text(2, "a")], "open")] });
  await until(() => session.state.cursor === `${E}-2`);
  const read = requests.map(({ path, query }) => [path, query.wait]);
  assert.deepEqual(read, [["/v1/sessions/s/messages", "true"], [EVENTS, "true"]]); // and its jobs are not read
  assert.deepEqual(contents(session), [["user", "hi"], ["assistant", "a"]]);
});

test("a job that was sent is shown before its first event, in its place", async (t) => {
  const { session } = await opened(t, {
    records: [NONE],
    streams: [stream([], "open")],
    posted: json(202, { job_id: "mine", session_id: "s", status: "queued", position: 2, cursor: `${E}-1` }),
  });
  await until(() => session.state.connection === "live");
  await session.send("question", { agent: "demo" });
  assert.deepEqual(contents(session), [["user", "question"], ["assistant", ""]]);
  const { job } = session.state;
  assert.deepEqual([job.job_id, job.status, job.position, job.agent], ["mine", "queued", 2, "demo"]);
});

test("a job that was sent while the record is read stays", async (t) => {
  let answer;
  const { url } = await serve(t, [
    ({ method, path }) => {
      if (method === "POST") return json(202, { job_id: "j", position: 0 });
      if (path === EVENTS) return stream([], "open");
      return answer ?? { status: 0 };
    },
  ]);
  const session = new Client(url).session("s");
  t.after(session.subscribe(() => {}));
  await until(() => session.state.connection === "lost");
  await session.send("hi", { agent: "demo" });
  answer = NONE;
  await until(() => session.state.connection === "live");
  assert.deepEqual(contents(session), [["user", "hi"], ["assistant", ""]]);
});

test("a job that was sent keeps its input while it waits, also when the record is read again", async (t) => {
  const { session, stop } = await opened(t, {
    records: [record([], 1)],
    states: [[], [{ ...state("queued"), job_id: "mine", position: 1 }]],
    streams: [stream([], "open")],
    posted: json(202, { job_id: "mine", position: 1 }),
  });
  await until(() => session.state.connection === "live");
  await session.send("question", { agent: "demo" });
  stop();
  t.after(session.subscribe(() => {}));
  await until(() => session.state.connection === "live");
  assert.equal(session.state.job.position, 1);
  assert.deepEqual(contents(session), [["user", "question"], ["assistant", ""]]);
});

test("waiting jobs move up when one ahead of them ends", async (t) => {
  const waiting = (job_id, position) => ({ ...state("queued"), job_id, position });
  const { session } = await opened(t, {
    records: [record([], 1)],
    states: [[waiting("k2", 2), waiting("k1", 1)]],
    streams: [stream([started(2), event(3, "job.completed")], "open")],
  });
  await until(() => session.state.cursor === `${E}-3`);
  const positions = session.state.messages.filter(({ role }) => role === "assistant").map(({ job_id, position }) => [job_id, position]);
  assert.deepEqual(positions, [["k1", 0], ["k2", 1], ["j", null]]);
  assert.equal(session.state.job.job_id, "k1");
});

/** Jobs as in the record of a session, newest first: each with the job that it follows. */
async function branched(t, jobs) {
  const states = jobs.map(([job_id, status, after, started_at = null]) => ({ ...state(status), job_id, after, started_at, cursor: "" }));
  const { session } = await opened(t, { records: [record([], 9)], states: [states], streams: [stream([], "open")] });
  await until(() => session.state.connection === "live");
  return session.state.messages.map(({ job_id }) => job_id);
}

test("a job that was cancelled before it started does not hide the one that runs beside it", async (t) => {
  const cancelled = ["c", "cancelled", "a"];
  assert.deepEqual(await branched(t, [cancelled, ["b", "running", "a", E], ["a", "completed", null, E]]), ["a", "b"]);
});

test("a job that failed before it started is shown while no other follows the same one", async (t) => {
  assert.deepEqual(await branched(t, [["b", "failed", "a"], ["a", "completed", null, E]]), ["a", "b"]);
});

test("a job that overtook a waiting one is shown ahead of it", async (t) => {
  assert.deepEqual(await branched(t, [["c", "running", "a", E], ["b", "queued", "c"], ["a", "cancelled", null, E]]), ["a", "c", "b"]);
});

test("the open question is in the state and is answered from there", async (t) => {
  const { session, requests } = await opened(t, {
    records: [record([], 1)],
    streams: [stream([started(2), event(3, "question.asked", { question_id: "q", prompt: "Sure?" })], "open")],
  });
  await until(() => session.state.question);
  assert.equal(session.state.question.prompt, "Sure?");
  await session.answer("yes");
  await session.cancel();
  const posts = requests.filter(({ method }) => method === "POST").map(({ path, body }) => [path, body]);
  assert.deepEqual(posts, [[`${JOBS}/j/answer`, { value: "yes", question_id: "q" }], [`${JOBS}/j/cancel`, ""]]);
});

test("a deleted session ends, and a job sent to its id begins again", async (t) => {
  const { session, reads } = await opened(t, {
    records: [record([], 1), NONE],
    streams: [stream([frame(`${E}-2`, { type: "session.deleted" })], "open"), stream([started(9)], "open")],
  });
  await until(() => session.state.connection === "deleted");
  await session.send("hi", { agent: "demo" });
  await until(() => session.state.cursor === `${E}-9`);
  assert.deepEqual(reads(), [`${E}-1`, undefined]);
});

test("a refusal that lasts is in the state", async (t) => {
  const { session } = await opened(t, { records: [json(403, { code: "origin_not_allowed" })], streams: [] });
  await until(() => session.state.connection === "failed");
  assert.equal(session.state.error.code, "origin_not_allowed");
});

test("the connection is closed with the last listener", async (t) => {
  const { session, requests, stop } = await opened(t, { records: [record([], 1)], streams: [stream([started(2)], "open")] });
  await until(() => session.state.cursor === `${E}-2`);
  const other = session.subscribe(() => {});
  stop();
  assert.equal(session.state.connection, "live");
  other();
  assert.equal(session.state.connection, "closed");
  const before = requests.length;
  session.subscribe(() => {})();
  await until(() => session.state.connection === "closed");
  assert.ok(requests.length <= before + 1);
});

test("a snapshot never changes, and the next one shares what did not change", async (t) => {
  const { session } = await opened(t, {
    records: [record([{ ...user, job_id: "old" }, { ...said("a"), job_id: "old" }], 1)],
    states: [[{ ...state("completed"), job_id: "old" }]],
    streams: [stream([started(2), text(3, "a"), event(4, "data"), text(5, "b")], "open")],
  });
  await until(() => session.state.cursor === `${E}-5`);
  const first = session.state;
  assert.equal(session.state, first);
  const copy = structuredClone(first.messages);
  await session.send("more", { agent: "demo" }).then(() => session.cancel());
  session.subscribe(() => {})();
  assert.deepEqual(structuredClone(first.messages), copy);
  assert.equal(session.state.messages[1], first.messages[1]);
});

test("many events are one notification, and each event is in one", async (t) => {
  const deltas = Array.from({ length: 500 }, (_, n) => text(n + 3, "x")).join("");
  const { session, calls, seen } = await opened(t, { records: [record([], 1)], streams: [stream([started(2) + deltas], "open")] });
  await until(() => session.state.cursor === `${E}-502`);
  await until(() => seen.length === 501);
  assert.ok(calls.length < 50, String(calls.length));
  assert.equal(new Set(seen.map(({ id }) => id)).size, 501);
});
