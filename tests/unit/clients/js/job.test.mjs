import assert from "node:assert/strict";
import { test } from "node:test";

import { Job } from "../../../../clients/js/src/job.js";

const E = 1763683200123;

/** A job after these events, each `[type, fields, id]`; ids count from 1 where none is given. */
function folded(...events) {
  const job = new Job("j");
  let seq = 0;
  for (const [type, fields = {}, id = `${E}-${++seq}`] of events) job.apply({ type, job_id: "j", ...fields, id });
  return job;
}

const started = (attempt = 1, more = {}) => ["job.started", { attempt, agent: "demo", input: "hi", at: 5, ...more }];
const text = (words, more = {}) => ["text.delta", { text: words, part: 0, ...more }];
const shapes = (job) => job.parts.map(({ type, text: words, state, name }) => [type, words ?? state ?? name]);

test("a job has its input and one message with everything that the agent emitted", () => {
  const job = folded(
    started(),
    ["status", { message: "Reading" }],
    ["reasoning.delta", { text: "Hm", part: 0 }],
    text("Hel"),
    text("lo"),
    ["tool.started", { call_id: "c", name: "add" }],
    ["tool.arguments.delta", { call_id: "c", delta: '{"a"' }],
    ["tool.arguments.delta", { call_id: "c", delta: ":1}" }],
    ["tool.called", { call_id: "c", name: "add", arguments: { a: 1 } }],
    ["tool.result", { call_id: "c", result: 2 }],
    ["section.started", { title: "One", index: 0 }],
    ["section.ended", { index: 0 }],
    ["data", { name: "chart", value: [1] }],
    ["fallback", { reason: "overload", to: "other" }],
    ["usage", { input_tokens: 1, output_tokens: 2, model: "m" }],
    ["something.new", { value: 1 }],
    ["job.completed", { result: "Hello", at: 9 }],
  );
  const [user, assistant] = job.messages();
  assert.deepEqual(user, { role: "user", content: "hi", job_id: "j" });
  assert.deepEqual(assistant, {
    role: "assistant",
    job_id: "j",
    agent: "demo",
    status: "completed",
    attempt: 1,
    position: null,
    input: "hi",
    content: "Hello",
    parts: [
      { type: "reasoning", id: `${E}-3`, text: "Hm" },
      { type: "text", id: `${E}-4`, text: "Hello" },
      { type: "tool", id: `${E}-6`, call_id: "c", name: "add", state: "done", written: '{"a":1}', arguments: { a: 1 }, result: 2 },
      { type: "section", id: `${E}-11`, title: "One", index: 0, open: false },
      { type: "data", id: `${E}-13`, name: "chart", value: [1] },
      { type: "fallback", id: `${E}-14`, reason: "overload", to: "other" },
    ],
    steps: [{ message: "Reading", id: `${E}-2` }],
    usage: [{ input_tokens: 1, output_tokens: 2, model: "m", id: `${E}-15` }],
    after: undefined,
    discarded: [],
    result: "Hello",
    error: null,
    started_at: 5,
    ended_at: 9,
  });
});

test("agents that write at the same time have a text each, and nothing but another part divides a text", () => {
  const job = folded(started(), text("a", { agent: "x" }), text("1", { agent: "y" }), ["status", {}], text("b", { agent: "x" }), ["data", {}], text("c", { agent: "x" }));
  assert.deepEqual(job.parts.map(({ agent, text: words }) => [agent, words]), [["x", "ab"], ["y", "1"], [undefined, undefined], ["x", "c"]]);
});

test("a new attempt discards everything and begins again", () => {
  const job = folded(started(), text("old"), ["usage", {}], ["status", {}], started(2, { discard_from: `${E}-1` }), text("new"));
  assert.deepEqual(shapes(job), [["text", "new"]]);
  assert.deepEqual([job.content, job.attempt, job.usage, job.steps], ["new", 2, [], []]);
  assert.deepEqual(job.discarded.map((part) => part.text), ["old"]);
});

test("a new attempt keeps the events before discard_from and undoes the effects of later ones", () => {
  const job = folded(
    started(),
    text("kept "),
    ["tool.called", { call_id: "c", name: "t", arguments: {} }],
    ["question.asked", { question_id: "q", prompt: "?" }],
    text("a"),
    text("b", { checkpoint: true }),
    text("c"),
    ["tool.result", { call_id: "c", result: 1 }],
    ["question.answered", { question_id: "q", value: 1 }],
    started(2, { discard_from: `${E}-6` }),
    text("B"),
  );
  assert.deepEqual(shapes(job), [["text", "kept "], ["tool", "called"], ["question", "waiting"], ["text", "aB"]]);
  assert.equal(job.status, "waiting");
  assert.equal(job.content, "kept aB");
});

test("a part that a takeover left as it was is the same object, and one that it cut is another part", () => {
  const job = folded(started(), text("kept"), ["data", { value: 1 }], text("a"), text("b", { checkpoint: true }));
  const [kept, , cut] = job.parts;
  job.apply({ type: "job.started", attempt: 2, discard_from: `${E}-5`, id: `${E}-6` });
  assert.equal(job.parts[0], kept);
  assert.notEqual(job.parts[2].id, cut.id);
  assert.equal(job.parts[2].text, "a");
});

test("a text can be cut at any event between its deltas", () => {
  const between = [
    ["tool.arguments.delta", { call_id: "c", delta: "{", checkpoint: true }],
    ["tool.arguments.delta", { call_id: "c", delta: "{" }],
    ["usage", { input_tokens: 1 }],
    ["an.event.of.a.later.version"],
    text("of B", { agent: "B" }),
  ];
  for (const event of between) {
    const job = folded(started(), ["tool.started", { call_id: "c", name: "t" }], text("aaa"), event, text("bbb"), started(2, { discard_from: `${E}-4` }));
    assert.equal(job.content, "aaa");
    job.apply({ type: "text.delta", job_id: "j", text: "bbb", part: 0, id: `${E + 1}-2` });
    assert.equal(job.content, "aaabbb");
  }
});

test("a job may be discarded several times, each time from another id", () => {
  const job = folded(started(), text("a"), text("b", { checkpoint: true }), started(2, { discard_from: `${E}-3` }), text("c"), started(2, { discard_from: `${E}-2` }), text("d"));
  assert.deepEqual(shapes(job), [["text", "d"]]);
});

test("a text that was merged has the id of its first delta", () => {
  const job = folded(started(), text("ab", { from: `${E}-2` }, `${E}-3`));
  assert.equal(job.parts[0].id, `${E}-2`);
});

test("a merged delta is kept or discarded by its id", () => {
  const job = folded(started(), text("ab", { from: `${E}-2` }), text("cd", { from: `${E}-4`, checkpoint: true }), started(2, { discard_from: `${E}-3` }));
  assert.equal(job.content, "ab");
});

test("a question makes its job wait until it is answered", () => {
  const asked = ["question.asked", { question_id: "q", prompt: "Sure?", schema: { type: "boolean" } }];
  const job = folded(started(), asked);
  assert.equal(job.status, "waiting");
  job.apply({ type: "question.answered", question_id: "q", value: true, id: `${E}-9` });
  assert.equal(job.status, "running");
  assert.deepEqual(job.parts, [{ type: "question", id: `${E}-2`, question_id: "q", prompt: "Sure?", schema: { type: "boolean" }, state: "answered", value: true }]);
});

test("a failed job has its error, a cancelled one its status", () => {
  const error = { code: "agent_error", message: "No", retryable: false };
  assert.deepEqual([folded(started(), ["job.failed", { error }])].map((job) => [job.status, job.error]), [["failed", error]]);
  assert.equal(folded(started(), ["job.cancelled", { by: "user" }]).status, "cancelled");
});

test("only a job that waits has a position", () => {
  const job = new Job("j");
  job.apply({ type: "job.queued", position: 3 });
  assert.equal(job.position, 3);
  job.apply({ type: "job.started", attempt: 1, id: `${E}-1` });
  job.apply({ type: "job.queued", position: 2 });
  assert.equal(job.position, 0);
});

test("the record's messages of a job are its input and its parts", () => {
  const job = new Job("j", { status: "completed", agent: "demo" });
  job.load([
    { role: "system", content: "Be kind" },
    { role: "user", content: "hi" },
    { role: "assistant", content: "Wait", tool_calls: [{ call_id: "c", name: "add", arguments: { a: 1 } }] },
    { role: "tool", call_id: "c", name: "add", content: "2" },
    { role: "assistant", content: "Two", truncated: true },
  ]);
  const [system, user, assistant] = job.messages();
  assert.deepEqual([system.content, user.content, assistant.content], ["Be kind", "hi", "WaitTwo"]);
  assert.deepEqual(shapes(job), [["text", "Wait"], ["tool", "done"], ["text", "Two"]]);
  assert.equal(new Set(job.parts.map(({ id }) => id)).size, 3);
  assert.equal(job.parts[2].truncated, true);
});

test("text parts of an input are joined, and other content is left as it is", () => {
  const parts = [{ type: "text", text: "a" }, { type: "text", text: "b" }];
  const image = [{ type: "image", url: "u" }];
  const job = folded(started(1, { input: { messages: [{ role: "user", content: parts }, { role: "user", content: image }] } }));
  assert.deepEqual(job.messages().slice(0, 2).map(({ content }) => content), ["ab", image]);
  assert.equal(folded(started(1, { input: { topic: "x" } })).messages().length, 1);
});
