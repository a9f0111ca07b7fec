// A client of a Holdfast gateway, for browsers and Node. docs/clients-javascript.md describes it,
// docs/protocol.md the protocol.

import { readEvents } from "./events.js";
import { Http } from "./http.js";
import { Job } from "./job.js";
import { Session } from "./session.js";

export { HoldfastError } from "./http.js";

const sessionPath = (id) => `v1/sessions/${encodeURIComponent(id)}`;
const jobPath = ({ session_id, job_id }) => `${sessionPath(session_id)}/jobs/${encodeURIComponent(job_id)}`;

/** Random, also in pages without a secure context, which have no `crypto.randomUUID`. */
const randomKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

export class Client {
  #http;
  #connect;

  constructor(url = "", { connect = readEvents, ...options } = {}) {
    this.#http = new Http(url, options);
    this.#connect = connect;
  }

  /** Submit a job. It is queued once, however often the request has to be repeated. */
  send(input, { session, onBusy, timeoutSeconds, idempotencyKey, signal, onRetry, retryMs, ...fields } = {}) {
    const path = session ? `${sessionPath(session)}/jobs` : "v1/jobs";
    const body = { input, on_busy: onBusy, timeout_s: timeoutSeconds, ...fields };
    const how = { signal, onRetry, retryMs };
    return this.#http.call(path, { ...how, method: "POST", body, key: idempotencyKey ?? randomKey() });
  }

  /** The events of a session, by its id, or of a job, each with its `id`. Reconnects until they end. */
  events(target, options = {}) {
    const job = typeof target !== "string";
    return this.#connect(this.#http, `${job ? jobPath(target) : sessionPath(target)}/events`, { ...options, job });
  }

  /** A job as the message with which its agent answered, once it has ended. */
  async read(job, options) {
    const folded = new Job(job.job_id);
    let gap = null;
    for await (const event of this.events(job, options)) {
      if (event.type === "gap") gap = event.reason;
      else folded.apply(event);
    }
    return { ...folded.messages().at(-1), gap };
  }

  /** The state of a session, kept up to date while somebody subscribes to it. */
  session(id) {
    return new Session(this, id);
  }

  async agents(how) {
    return (await this.#http.call("v1/agents", how)).agents;
  }

  messages(session_id, how) {
    return this.#http.call(`${sessionPath(session_id)}/messages?wait=true`, how);
  }

  /** The records of all jobs of a session, oldest first. */
  async jobs(session_id, how) {
    const found = [];
    for (let cursor = ""; cursor !== null; ) {
      const path = `${sessionPath(session_id)}/jobs?limit=100&cursor=${encodeURIComponent(cursor)}`;
      const page = await this.#http.call(path, how);
      found.push(...page.jobs);
      cursor = page.next;
    }
    return found.reverse();
  }

  /** Submit the input of a job again, behind the job that it followed. It is queued once. */
  retry(job, { idempotencyKey, ...how } = {}) {
    return this.#http.call(`${jobPath(job)}/retry`, { ...how, method: "POST", key: idempotencyKey ?? randomKey() });
  }

  cancel(job, how) {
    return this.#http.call(`${jobPath(job)}/cancel`, { ...how, method: "POST" });
  }

  answer(job, value, { questionId, ...how } = {}) {
    return this.#http.call(`${jobPath(job)}/answer`, { ...how, method: "POST", body: { value, question_id: questionId } });
  }

  delete(session_id, how) {
    return this.#http.call(sessionPath(session_id), { ...how, method: "DELETE" });
  }
}
