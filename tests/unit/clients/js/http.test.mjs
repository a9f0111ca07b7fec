import assert from "node:assert/strict";
import { test } from "node:test";

import { backoff } from "../../../../clients/js/src/http.js";
import { Client, HoldfastError } from "../../../../clients/js/src/index.js";
import { frame, json, serve, stream } from "./server.mjs";

const ACCEPTED = json(202, { job_id: "j", session_id: "s" });
const UNAVAILABLE = json(503, { title: "Log unavailable", code: "log_unavailable", job_id: "j" });
const keys = (requests) => requests.map(({ headers }) => headers["idempotency-key"]);

/** Make pauses last no time: they are multiplied with 1 + random / 2. */
const withoutPauses = (t) => t.mock.method(Math, "random", () => -2);

test("a job is sent with the fields of the protocol", async (t) => {
  const { url, requests } = await serve(t, [ACCEPTED]);
  const options = { agent: "demo", onBusy: "reject", timeoutSeconds: 5, options: { a: 1 }, metadata: { b: 2 } };
  const answer = await new Client(`${url}/prefix`).send("hi", { session: "my session", ...options, idempotencyKey: "k" });
  assert.deepEqual(answer, { job_id: "j", session_id: "s" });
  const [{ method, path, headers, body }] = requests;
  assert.deepEqual([method, path], ["POST", "/prefix/v1/sessions/my%20session/jobs"]);
  assert.deepEqual([headers["content-type"], headers["idempotency-key"]], ["application/json", "k"]);
  const fields = { on_busy: "reject", timeout_s: 5, options: { a: 1 }, metadata: { b: 2 } };
  assert.deepEqual(body, { agent: "demo", input: "hi", ...fields });
});

test("a job without a session starts a new one", async (t) => {
  const { url, requests } = await serve(t, [ACCEPTED]);
  await new Client(url).send("hi", { agent: "demo" });
  assert.equal(requests[0].path, "/v1/jobs");
  assert.deepEqual(requests[0].body, { agent: "demo", input: "hi" });
});

test("a job is sent again with the same key until it is known to be queued", async (t) => {
  withoutPauses(t);
  const torn = { status: 202, headers: { "Content-Type": "application/json", "Content-Length": "99" }, pieces: ['{"job'], end: "cut" };
  const { url, requests } = await serve(t, [{ status: 0 }, UNAVAILABLE, torn, ACCEPTED]);
  const waited = [];
  await new Client(url).send("hi", { agent: "demo", onRetry: ({ code }) => waited.push(code) });
  assert.equal(new Set(keys(requests)).size, 1);
  assert.match(keys(requests)[0], /^[\d-]{10,}$/);
  assert.deepEqual(waited, ["network", "log_unavailable", "network"]);
});

test("two jobs have two keys", async (t) => {
  const { url, requests } = await serve(t, [ACCEPTED]);
  const client = new Client(url);
  await client.send("hi", { agent: "demo" });
  await client.send("hi", { agent: "demo" });
  assert.equal(new Set(keys(requests)).size, 2);
});

test("a refusal is an error with the server's words, and nothing is repeated", async (t) => {
  const errors = [{ field: "input", detail: "must not be empty" }];
  const body = { title: "Invalid request", detail: "input must not be empty", code: "invalid_request", errors };
  const { url, requests } = await serve(t, [json(422, body)]);
  await assert.rejects(new Client(url).send("", { agent: "demo" }), (error) => {
    assert.ok(error instanceof HoldfastError);
    assert.equal(error.message, "Invalid request: input must not be empty");
    assert.deepEqual([error.status, error.code, error.errors], [422, "invalid_request", errors]);
    return true;
  });
  assert.equal(requests.length, 1);
});

test("a call is given up after retryMs", async (t) => {
  const { url, requests } = await serve(t, [{ ...UNAVAILABLE, headers: { "Retry-After": "7" } }]);
  await assert.rejects(new Client(url, { retryMs: 1000 }).send("hi", { agent: "demo" }), ({ status, retryAfterSeconds }) => {
    assert.deepEqual([status, retryAfterSeconds], [503, 7]);
    return true;
  });
  assert.equal(requests.length, 1);
});

test("a call ends with its signal, also during a pause", async (t) => {
  const { url } = await serve(t, [{ status: 0 }]);
  const stop = new AbortController();
  const onRetry = () => stop.abort(new Error("enough"));
  await assert.rejects(new Client(url).send("hi", { agent: "demo", signal: stop.signal, onRetry }), /enough/);
});

test("a 401 is answered with refreshed headers once", async (t) => {
  const { url, requests } = await serve(t, [json(401, { code: "unauthorized" })]);
  const asked = [];
  const headers = ({ refresh }) => ({ Authorization: `Bearer ${asked.push(refresh)}` });
  await assert.rejects(new Client(url, { headers }).agents(), ({ status }) => status === 401);
  assert.deepEqual(asked, [false, true]);
  assert.deepEqual(requests.map((each) => each.headers.authorization), ["Bearer 1", "Bearer 2"]);
});

test("a 401 with constant headers is final", async (t) => {
  const { url, requests } = await serve(t, [json(401, {})]);
  await assert.rejects(new Client(url, { headers: { "X-Key": "k" } }).agents(), ({ status }) => status === 401);
  assert.deepEqual(requests.map((each) => each.headers["x-key"]), ["k"]);
});

test("a callback that fails counts as a network error", async (t) => {
  withoutPauses(t);
  const { url } = await serve(t, [json(200, { agents: [] })]);
  let calls = 0;
  const headers = async () => {
    calls += 1;
    if (calls < 3) throw new Error("no token at the moment");
    return {};
  };
  assert.deepEqual(await new Client(url, { headers }).agents(), []);
});

test("jobs are cancelled, questions answered, sessions deleted at their addresses", async (t) => {
  const { url, requests } = await serve(t, [json(202, {})]);
  const client = new Client(url);
  const job = { session_id: "s/1", job_id: "j" };
  await client.cancel(job);
  await client.answer(job, { yes: true }, { questionId: "q" });
  await client.answer(job, "any");
  await client.delete("s/1");
  assert.deepEqual(
    requests.map(({ method, path, body }) => [method, path, body]),
    [
      ["POST", "/v1/sessions/s%2F1/jobs/j/cancel", ""],
      ["POST", "/v1/sessions/s%2F1/jobs/j/answer", { value: { yes: true }, question_id: "q" }],
      ["POST", "/v1/sessions/s%2F1/jobs/j/answer", { value: "any" }],
      ["DELETE", "/v1/sessions/s%2F1", ""],
    ],
  );
});

test("the records of jobs are read page by page, oldest first", async (t) => {
  const pages = { "": { jobs: [3, 2], next: "p&2" }, "p&2": { jobs: [1], next: null } };
  const { url } = await serve(t, [({ query }) => json(200, pages[query.cursor])]);
  assert.deepEqual(await new Client(url).jobs("s"), [1, 2, 3]);
});

test("a job is read to its end as one message", async (t) => {
  const events = [
    { type: "gap", reason: "trimmed" },
    { type: "text.delta", job_id: "j", text: "lo", part: 0 },
    { type: "job.completed", job_id: "j", result: "Hello" },
  ];
  const { url } = await serve(t, [stream(events.map((event, n) => frame(n && `1763683200123-${n}`, event)))]);
  const { content, status, result, gap } = await new Client(url).read({ session_id: "s", job_id: "j" });
  assert.deepEqual([content, status, result, gap], ["lo", "completed", "Hello", "trimmed"]);
});

test("pauses double, to 15 seconds or the least pause, with up to half as much jitter", (t) => {
  const { mock } = t.mock.method(Math, "random", () => 0);
  assert.deepEqual([0, 1, 2, 20].map((failures) => backoff(failures, 1000)), [1000, 2000, 4000, 15_000]);
  assert.equal(backoff(3, 20_000), 20_000);
  mock.mockImplementation(() => 1);
  assert.equal(backoff(0, 1000), 1500);
});
