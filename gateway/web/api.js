// The HTTP calls of the page, and error messages for people.

const CALL_TIMEOUT_MS = 15000;
const RETRY_MS = [500, 1000, 2000, 4000, 8000];

/** The error of a call. `transient`: the outcome is open, and the same call may be repeated. */
export class Problem extends Error {
  constructor(status, body = {}, retryAfter_s = null) {
    super(wordsOf(status, body));
    this.status = status;
    this.code = body.code ?? (status ? "http" : "network");
    this.retryAfter_s = retryAfter_s;
    this.errors = body.errors ?? [];
    this.transient = status === 0 || status === 502 || status === 503 || status === 504;
  }
}

function wordsOf(status, body) {
  if (status === 0) return "The server cannot be reached.";
  const title = body.title ?? `The server answered ${status}.`;
  return body.detail && body.detail !== title ? `${title}: ${body.detail}` : title;
}

async function call(path, { method = "GET", headers = {}, body, signal } = {}) {
  const timeout = AbortSignal.timeout(CALL_TIMEOUT_MS);
  const until = signal ? AbortSignal.any([signal, timeout]) : timeout;
  let response;
  let answer;
  try {
    response = await fetch(path, { method, headers, body, cache: "no-store", signal: until });
    answer = await response.json().catch(() => ({}));
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0);
  }
  if (!response.ok) throw new Problem(response.status, answer, Number(response.headers.get("Retry-After")) || null);
  return answer;
}

/** Repeat a call until its outcome is known. `waiting(problem)` is called for each transient failure. */
export async function persist(attempt, { signal, waiting = () => {} } = {}) {
  for (let failures = 0; ; failures += 1) {
    try {
      return await attempt();
    } catch (problem) {
      if (!(problem instanceof Problem && problem.transient)) throw problem;
      waiting(problem);
      const pause_ms = Math.max(RETRY_MS[Math.min(failures, RETRY_MS.length - 1)], 1000 * (problem.retryAfter_s ?? 0));
      await pause(pause_ms * (0.75 + Math.random() / 2), signal);
    }
  }
}

function pause(pause_ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, pause_ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

const sessionPath = (sessionId) => `v1/sessions/${encodeURIComponent(sessionId)}`;
const jobPath = (sessionId, jobId) => `${sessionPath(sessionId)}/jobs/${encodeURIComponent(jobId)}`;

export const eventsUrl = (sessionId) => `${sessionPath(sessionId)}/events`;

export const agents = async () => (await call("v1/agents")).agents;

/** Read the records of all jobs of a session, oldest first. */
async function jobs(sessionId) {
  const found = [];
  for (let cursor = ""; cursor !== null; ) {
    const page = await call(`${sessionPath(sessionId)}/jobs?limit=100&cursor=${encodeURIComponent(cursor)}`);
    found.push(...page.jobs);
    cursor = page.next;
  }
  return found.reverse();
}

/**
 * Read a session's messages, the states of its jobs, and the cursor `start` from which its events continue them. The
 * messages are read before the states: a job that ends in between has an event after the messages' cursor. A running
 * job is read from `replay_from`, to get what messages do not contain.
 */
export async function record(sessionId) {
  const { messages, cursor, job_id: running, replay_from: replayFrom } = await call(`${sessionPath(sessionId)}/messages`);
  const states = await jobs(sessionId);
  if (!replayFrom) return { messages, states, start: cursor };
  const others = messages.filter((message) => message.job_id !== running || message.role === "user");
  // If the job has ended meanwhile, its state already has the usage that its events will add again.
  const current = states.map((state) => (state.job_id === running ? { ...state, usage: null } : state));
  return { messages: others, states: current, start: replayFrom };
}

export const cancel = (sessionId, jobId) => call(`${jobPath(sessionId, jobId)}/cancel`, { method: "POST" });

/** Answer the pending question of a job. */
export function answer(sessionId, jobId, questionId, value) {
  return call(`${jobPath(sessionId, jobId)}/answer`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ question_id: questionId, value }),
  });
}

/** Queue a job. With the same key it is queued once, however often this is called. */
export function submit(sessionId, key, job, signal) {
  return call(`${sessionPath(sessionId)}/jobs`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": key },
    body: JSON.stringify(job),
    signal,
  });
}

/** Whether the session exists. Rejects if that is unknown at the moment. */
export async function exists(sessionId) {
  try {
    await call(sessionPath(sessionId));
    return true;
  } catch (problem) {
    if (problem.status === 404) return false;
    throw problem;
  }
}

/** Yield the events of a job from its first, each with its `id`, until it ends, the caller stops or time is up. */
export async function* jobEvents(sessionId, jobId, timeout_ms) {
  const stop = new AbortController();
  try {
    const response = await fetch(`${jobPath(sessionId, jobId)}/events`, {
      headers: { Accept: "application/x-ndjson" },
      cache: "no-store",
      signal: AbortSignal.any([stop.signal, AbortSignal.timeout(timeout_ms)]),
    });
    if (!response.ok) throw new Problem(response.status);
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    let rest = "";
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      const lines = (rest + decoder.decode(chunk.value, { stream: true })).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line) yield JSON.parse(line);
    }
  } finally {
    stop.abort();
  }
}
