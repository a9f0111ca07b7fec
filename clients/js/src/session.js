// The state of one session: its messages, folded from its record and then from its events.

import { newer } from "./events.js";
import { Job } from "./job.js";

const NOTIFY_AFTER_MS = 16;

export class Session {
  #client;
  #listeners = new Set();
  #jobs = new Map();
  #sent = []; // jobs that may be missing in a record that is being read
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
    const answer = await this.#client.send(input, { ...options, session: this.id });
    const { job_id, position } = answer;
    if (!this.#jobs.has(job_id)) {
      const job = new Job(job_id, { agent: options.agent, input, position });
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
      for (let from = "replay"; from; ) from = await this.#follow(await this.#load(from, signal), signal);
    } catch (error) {
      end = { connection: "failed", error };
    }
    if (signal.aborted) return;
    this.#stop = null;
    this.#note(end);
  }

  /**
   * Read the record. Returns the cursor from which events continue it. `from`: with "replay" the running job is read
   * from its events, which have more than its messages; "record" takes its messages, which are there when events are not.
   */
  async #load(from, signal) {
    const options = { signal, retryMs: Infinity, onRetry: () => this.#note({ connection: "lost" }) };
    this.#sent = [];
    let record = { messages: [], cursor: "" };
    let states = [];
    try {
      // The messages first: a job that ends in between has an event behind their cursor.
      record = await this.#client.messages(this.id, options);
      states = await this.#client.jobs(this.id, options);
    } catch (error) {
      if (error.status !== 404) throw error;
    }
    signal.throwIfAborted();
    const replayed = from === "replay" && record.replay_from;
    // Events behind the record's cursor will tell of a job that has ended since.
    const ahead = ({ status, cursor }) => status !== "queued" && cursor && newer(cursor, record.cursor);
    const known = states.map((state) => {
      const { input } = this.#jobs.get(state.job_id) ?? {}; // which a record does not have
      return new Job(state.job_id, { ...(ahead(state) ? { status: "running" } : state), input });
    });
    const sent = this.#sent.filter(({ job_id }) => !states.some((state) => state.job_id === job_id));
    this.#jobs = new Map([...known, ...sent].map((job) => [job.job_id, job]));
    // A session has more records of jobs than messages.
    for (const [id, messages] of Map.groupBy(record.messages, ({ job_id }) => job_id)) {
      if (!replayed || id !== record.job_id) this.#jobs.get(id)?.load(messages);
    }
    this.#views.clear();
    this.#note({ cursor: replayed || record.cursor });
    return this.#facts.cursor;
  }

  /** Apply events until they end. Returns from what to read the record again, if that is necessary. */
  async #follow(cursor, signal) {
    const onConnection = (connection) => this.#note({ connection });
    for await (const event of this.#client.events(this.id, { cursor, wait: true, signal, onConnection })) {
      if (signal.aborted) return null;
      const { type, id, from, reason, job_id } = event;
      this.#events.push(event);
      if (type === "gap" && reason !== "lost") this.#note({ gap: reason });
      if (type === "gap" && reason !== "expired") return reason === "lost" ? "replay" : "record";
      // A merged delta that begins within what is known cannot be split.
      if (from && this.#facts.cursor && !newer(from, this.#facts.cursor)) return "replay";
      if (id) this.#facts.cursor = id;
      if (job_id && !this.#apply(event)) return "record";
      this.#changed(job_id);
    }
    return null;
  }

  #apply(event) {
    const { job_id } = event;
    if (!this.#jobs.has(job_id)) this.#jobs.set(job_id, new Job(job_id));
    const job = this.#jobs.get(job_id);
    const { ended, position } = job;
    const applied = job.apply(event);
    // No event reports that a job ahead of a waiting one has ended.
    if (job.ended && !ended) {
      for (const other of this.#jobs.values()) {
        if (other.status !== "queued" || other.position <= (position ?? 0)) continue;
        other.position -= 1;
        this.#changed(other.job_id);
      }
    }
    return applied;
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
    const jobs = [...this.#jobs.values()];
    for (const job of jobs) if (!this.#views.has(job.job_id)) this.#views.set(job.job_id, job.messages());
    const open = jobs.filter(({ ended }) => !ended);
    const current = open.find(({ status }) => status !== "queued") ?? open[0];
    const job = this.#views.get(current?.job_id)?.at(-1) ?? null;
    const question = job?.parts.findLast(({ state }) => state === "waiting") ?? null;
    return { messages: jobs.flatMap(({ job_id }) => this.#views.get(job_id)), job, question, ...this.#facts };
  }
}
