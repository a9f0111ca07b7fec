// The jobs of a session, computed from the session's record and its events. Does not use the DOM.

import { TAKE, takeMessage } from "./events.js";
import { newer } from "./feed.js";
import { Job } from "./job.js";

// Fields of a job that its own log has more completely than the session's record.
const FROM_LOG = ["input", "items", "steps", "usage", "kept", "attempt", "status", "error", "result", "startedAt", "endedAt"];

/** A notice in the conversation that belongs to no job. */
export class Notice {
  constructor(text) {
    this.text = text;
  }
}

/** The jobs of a session in order, with notices between them. `changed(job)` is called for every change. */
export class Conversation {
  turns = [];
  #jobs = new Map();
  #changed;

  constructor(changed = () => {}) {
    this.#changed = changed;
  }

  get jobs() {
    return [...this.#jobs.values()];
  }

  /** The running job, or the next one. */
  get current() {
    return this.jobs.find((job) => !job.ended && job.status !== "queued") ?? this.jobs.find((job) => !job.ended);
  }

  job(id) {
    return this.#jobs.get(id);
  }

  ensure(id) {
    const known = this.#jobs.get(id);
    if (known) return known;
    const job = new Job(id);
    this.#jobs.set(id, job);
    this.turns.push(job);
    return job;
  }

  notice(text) {
    this.turns.push(new Notice(text));
  }

  /** Load the session's record: `messages` as of one cursor, then the states of its jobs. */
  load(messages, states) {
    for (const state of states) this.#takeState(this.ensure(state.job_id), state);
    for (const [id, said] of Map.groupBy(messages, (message) => message.job_id))
      this.#takeMessages(this.ensure(id), said);
  }

  #takeState(job, state) {
    job.agent = state.agent;
    job.status = state.status;
    job.attempt = state.attempt || 1;
    job.position = state.position ?? null;
    job.startedAt = state.started_at ?? null;
    job.endedAt = state.ended_at ?? null;
    job.error = state.error ?? null;
    job.result = state.result ?? null;
    job.usage = state.usage ? [state.usage].flat() : [];
    this.#changed(job);
  }

  #takeMessages(job, messages) {
    // The job's input ends with its last user message; the rest is the answer.
    const given = messages.findLastIndex((message) => message.role === "user") + 1;
    job.input = { messages: messages.slice(0, given) };
    job.items = [];
    for (const message of messages.slice(given)) takeMessage(job, message);
    this.#changed(job);
  }

  /** Replace what the record has of a job by the events of its own log. Returns whether the log had all of them. */
  detail(jobId, events) {
    const told = new Conversation();
    for (const event of events) told.apply(event, event.id ?? null);
    const from = told.job(jobId);
    if (!from?.ended || events.some((event) => event.type === "gap")) return false;
    const job = this.job(jobId);
    for (const name of FROM_LOG) job[name] = from[name];
    job.toldTo = events.at(-1).id;
    this.#changed(job);
    return true;
  }

  /** Apply one event. Types that are not displayed are ignored. */
  apply(event, id) {
    if (!event.job_id) return;
    const job = this.ensure(event.job_id);
    if (id && job.toldTo && !newer(id, job.toldTo)) return;
    const open = !job.ended;
    if (!event.type.endsWith(".delta")) job.growing = null;
    TAKE[event.type]?.(job, event, id);
    this.#changed(job);
    if (open && job.ended) this.#moveUp(job);
  }

  /** Renumber the waiting jobs: no event reports that a job ahead of them has ended. */
  #moveUp(gone) {
    for (const job of this.jobs) {
      if (job.status !== "queued" || !(job.position > (gone.position ?? 0))) continue;
      job.position -= 1;
      this.#changed(job);
    }
    gone.position = null;
  }
}
