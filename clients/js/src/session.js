// The state of one session: its messages, folded from its record and then from its events.

import { newer } from "./events.js";
import { Job } from "./job.js";

const NOTIFY_AFTER_MS = 16;

export class Session {
  #client;
  #listeners = new Set();
  #jobs = new Map();
  #sent = []; // jobs that may be missing in a record that is being read
  #complete = new Set(); // ids of jobs whose events or messages have been read
  #views = new Map(); // the messages of each job, until it changes
  #facts = { connection: "closed", gap: null, error: null, cursor: "" };
  #state = null;
  #events = []; // since the last notification
  #timer = null;
  #stop = null;

  constructor(client, id) {
    this.#client = client;
    this.id = id;
  }

  /** A snapshot that never changes. What is the same in the next one is the same object. */
  get state() {
    return (this.#state ??= this.#snapshot());
  }

  /** Call `listener(state, events)` after changes. The session is connected while it has listeners. */
  subscribe(listener) {
    this.#listeners.add(listener);
    if (!this.#stop) this.#start();
    return () => {
      if (!this.#listeners.delete(listener) || this.#listeners.size) return;
      this.#stop?.abort();
      this.#stop = null;
      this.#note({ connection: "closed" });
    };
  }

  async send(input, options = {}) {
    const { agent, after } = options;
    return this.#sent_as(await this.#client.send(input, { ...options, session: this.id }), { agent, input, after });
  }

  /** Replace the input of a job: the new job follows the one that it followed, and the conversation goes on from there. */
  async edit(job_id, input, options = {}) {
    return this.send(input, { agent: this.#jobs.get(job_id)?.agent, ...options, after: this.#parents().get(job_id) });
  }

  /** Ask for another answer to the input of a job, by default of the last one shown. */
  async retry(job_id = this.#path().at(-1)?.job_id, options) {
    const { agent, input } = this.#jobs.get(job_id) ?? {};
    const answer = await this.#client.retry({ session_id: this.id, job_id }, options);
    return this.#sent_as(answer, { agent, input, after: this.#parents().get(job_id) });
  }

  #sent_as(answer, state) {
    const { job_id, position } = answer;
    if (!this.#jobs.has(job_id)) {
      const job = new Job(job_id, { ...state, position });
      this.#sent.push(job);
      this.#jobs.set(job_id, job);
      this.#changed(job_id);
    }
    if (!this.#stop && this.#listeners.size) this.#start();
    return answer;
  }

  /** Cancel a job, by default the one that runs or is next. */
  async cancel(job_id = this.state.job?.job_id, options) {
    if (job_id) await this.#client.cancel({ session_id: this.id, job_id }, options);
  }

  /** Answer the open question. */
  async answer(value, options) {
    const { job, question } = this.state;
    if (!question) throw new Error("No question is open");
    const questionId = question.question_id;
    await this.#client.answer({ session_id: this.id, job_id: job.job_id }, value, { questionId, ...options });
  }

  async delete(options) {
    await this.#client.delete(this.id, options);
  }

  async #start() {
    const { signal } = (this.#stop = new AbortController());
    let end = { connection: "deleted" };
    this.#note({ connection: "connecting", gap: null, error: null });
    try {
      while (await this.#follow(await this.#load(signal), signal));
    } catch (error) {
      end = { connection: "failed", error };
    }
    if (signal.aborted) return;
    this.#stop = null;
    this.#note(end);
  }

  /** Read the record. Returns the cursor from which events continue it: those of a running job have more than it. */
  async #load(signal) {
    const options = { signal, retryMs: Infinity, onRetry: () => this.#note({ connection: "lost" }) };
    this.#sent = [];
    // The messages first: a job that ends in between has an event behind their cursor. A session that does not exist yet
    // has no cursor. What the second call cannot read, the events cannot either.
    const record = await this.#client.messages(this.id, options);
    const states = record.cursor ? await this.#client.jobs(this.id, options).catch(() => []) : [];
    signal.throwIfAborted();
    const { replay_from, job_id: running } = record;
    const known = states.map((state) => {
      const { job_id, status, cursor } = state;
      const { input } = this.#jobs.get(job_id) ?? {}; // which a record does not have
      // Events behind the cursor will tell the rest of these jobs, and all of their usage.
      const told = job_id === running || (status !== "queued" && cursor && newer(cursor, record.cursor));
      return new Job(job_id, { ...state, input, ...(told && { status: "running", usage: null }) });
    });
    const sent = this.#sent.filter(({ job_id }) => !states.some((state) => state.job_id === job_id));
    this.#jobs = new Map([...known, ...sent].map((job) => [job.job_id, job]));
    // A session has more records of jobs than messages.
    for (const [id, messages] of Map.groupBy(record.messages, ({ job_id }) => job_id)) {
      this.#jobs.get(id)?.load(id === running ? messages.filter(({ role }) => role === "user") : messages);
    }
    for (const { job_id } of this.#path()) this.#complete.add(job_id);
    this.#views.clear();
    this.#note({ cursor: replay_from ?? record.cursor });
    return this.#facts.cursor;
  }

  /** Apply events until they end. Returns whether the record must be read again. */
  async #follow(cursor, signal) {
    const onConnection = (connection) => this.#note({ connection });
    for await (const event of this.#client.events(this.id, { cursor, wait: true, signal, onConnection })) {
      if (signal.aborted) return false;
      const { type, id, from, reason, job_id } = event;
      this.#events.push(event);
      if (reason === "lost" && type === "gap") return true;
      // A merged delta that begins within what is known cannot be split.
      if (from && this.#facts.cursor && !newer(from, this.#facts.cursor)) return true;
      if (type === "gap") this.#note({ gap: reason });
      if (id) this.#facts.cursor = id;
      if (job_id) this.#apply(event);
      this.#changed(job_id);
      if (type === "job.started") this.#complete.add(job_id);
      // The record has the messages of the newest path only: this job has made another one the newest.
      if (type === "job.started" && this.#path().some((job) => job.ended && !this.#complete.has(job.job_id))) return true;
    }
    return false;
  }

  /** The job that each job follows. */
  #parents() {
    let before = null;
    const parents = new Map();
    for (const { job_id, after = before } of this.#jobs.values()) {
      parents.set(job_id, after);
      before = job_id;
    }
    return parents;
  }

  /** The jobs on the path to the newest one that no other follows, oldest first. */
  #path() {
    const parents = this.#parents();
    const followed = new Set(parents.values());
    const leaves = [...this.#jobs.values()].filter(({ job_id }) => !followed.has(job_id));
    // One that ended before it started has written nothing, and is shown only where it hides no other.
    const leaf = leaves.findLast(({ ended, started_at }) => started_at || !ended) ?? leaves.at(-1);
    const path = [];
    for (let id = leaf?.job_id, after; parents.has(id); id = after) {
      path.push(this.#jobs.get(id));
      after = parents.get(id);
      parents.delete(id); // so that a cycle ends
    }
    return path.reverse();
  }

  #apply(event) {
    const { job_id } = event;
    if (!this.#jobs.has(job_id)) this.#jobs.set(job_id, new Job(job_id));
    const job = this.#jobs.get(job_id);
    const { ended, position } = job;
    job.apply(event);
    if (ended || !job.ended) return;
    // No event reports that a job ahead of a waiting one has ended.
    for (const other of this.#jobs.values()) {
      if (other.status !== "queued" || other.position <= (position ?? 0)) continue;
      other.position -= 1;
      this.#changed(other.job_id);
    }
  }

  #note(facts) {
    if (Object.entries(facts).every(([name, value]) => this.#facts[name] === value)) return;
    Object.assign(this.#facts, facts);
    this.#changed();
  }

  #changed(job_id) {
    this.#views.delete(job_id);
    this.#state = null;
    this.#timer ??= setTimeout(() => {
      const events = this.#events;
      this.#timer = null;
      this.#events = [];
      for (const listener of this.#listeners) listener(this.state, events);
    }, NOTIFY_AFTER_MS);
  }

  #snapshot() {
    const jobs = this.#path();
    for (const job of jobs) if (!this.#views.has(job.job_id)) this.#views.set(job.job_id, job.messages());
    const open = jobs.filter(({ ended }) => !ended);
    const current = open.find(({ status }) => status !== "queued") ?? open[0];
    const job = this.#views.get(current?.job_id)?.at(-1) ?? null;
    const question = job?.parts.findLast(({ state }) => state === "waiting") ?? null;
    return { messages: jobs.flatMap(({ job_id }) => this.#views.get(job_id)), job, question, ...this.#facts };
  }
}
