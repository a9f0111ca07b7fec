// The events of a session or a job: reads a stream, and reconnects until it has ended.

import { backoff, HoldfastError, pause } from "./http.js";

const OPEN_WITHIN_MS = 10_000;
const SILENT_AFTER_MS = 25_000; // docs/protocol.md: the connection is lost
const STEADY_AFTER_MS = 500; // a stopping gateway accepts a stream and ends it at once

/** The status of a job after each terminal event. */
export const ENDED = { "job.completed": "completed", "job.failed": "failed", "job.cancelled": "cancelled" };

/** Whether event id `a` is newer than `b`. Ids are `<epoch>-<seq>`, two integers below 2^53. */
export function newer(a, b) {
  const [epochA, seqA] = a.split("-").map(Number);
  const [epochB, seqB] = b.split("-").map(Number);
  return epochA === epochB ? seqA > seqB : epochA > epochB;
}

/** Parse Server-Sent Events (WHATWG HTML, 9.2.6) into `{id, data, retry}`. `onBytes` is called for each chunk. */
async function* frames(body, onBytes) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let frame = {};
  let rest = "";
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    onBytes();
    const lines = (rest + decoder.decode(chunk.value, { stream: true })).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      const [, name, value] = /^([^:]*):? ?(.*)/s.exec(line);
      if (name === "data" && "data" in frame) frame.data += `\n${value}`;
      else if (name) frame[name] = value;
      else if (!line) {
        yield frame;
        frame = {};
      }
    }
  }
}

/** Limits one connection: its signal aborts when nothing arrives in time, or when the browser is online again. */
function watchdog(signal) {
  const stop = new AbortController();
  const end = () => {
    clearTimeout(timer);
    globalThis.removeEventListener?.("online", end);
    stop.abort();
  };
  const expectWithin = (time_ms) => {
    clearTimeout(timer);
    timer = setTimeout(end, time_ms);
  };
  let timer;
  globalThis.addEventListener?.("online", end);
  return { signal: signal ? AbortSignal.any([signal, stop.signal]) : stop.signal, expectWithin, end };
}

/**
 * The events of a stream, each with its `id`, in order and once. Ends behind the last event, or when the signal aborts.
 * `job`: the stream is that of one job.
 */
export async function* readEvents(http, path, { cursor = "", raw, wait, signal, onConnection, job } = {}) {
  let last = cursor;
  let retry_ms = 1000;
  for (let failures = 0; !signal?.aborted; failures += 1) {
    // In the query, since the header would need a preflight request from a page of another origin.
    const query = new URLSearchParams(Object.entries({ last_event_id: last, raw, wait }).filter(([, value]) => value));
    const watch = watchdog(signal);
    const live = () => {
      failures = -1;
      onConnection?.("live");
    };
    let steady;
    try {
      watch.expectWithin(OPEN_WITHIN_MS);
      const headers = { Accept: "text/event-stream" };
      const response = await http.fetch(`${path}?${query}`, { headers, signal: watch.signal });
      if (response.status === 204) return;
      if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
        throw new HoldfastError(response.status, { title: "This is not an event stream" });
      }
      steady = setTimeout(live, STEADY_AFTER_MS);
      for await (const { id, data, retry } of frames(response.body, () => watch.expectWithin(SILENT_AFTER_MS))) {
        if (/^\d+$/.test(retry)) retry_ms = Math.min(Number(retry), 60_000);
        const event = data && JSON.parse(data);
        if (event?.type === "gap") last = id || last;
        else if (id && last && !newer(id, last)) continue;
        last = id || last;
        if (!event || event.type === "ping") continue;
        live();
        if (event.type === "ticket") http.onTicket?.(event);
        else yield id ? { ...event, id } : event;
        if (event.type === "session.deleted" || (job && ENDED[event.type])) return;
      }
    } catch (error) {
      // A cut connection and a passing refusal are followed by another attempt.
      const { status, transient } = error;
      if (error instanceof SyntaxError || (status && !transient && status !== 429 && status !== 500)) throw error;
    } finally {
      clearTimeout(steady);
      watch.end();
    }
    if (signal?.aborted) return;
    onConnection?.("lost");
    await pause(backoff(Math.max(failures, 0), retry_ms), signal);
  }
}
