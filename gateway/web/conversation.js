// The state of a conversation, computed from the session's record and its events. Does not use the DOM.

import { newer } from "./feed.js";

const ENDED = new Set(["completed", "failed", "cancelled"]);

// Kinds of items of a discarded attempt that stay visible, beside its text, until the new attempt has caught up.
const SHOWN_DISCARDED = new Set(["reasoning", "tool", "section", "data"]);

// Fields of a job that its own log has more completely than the session's record.
const FROM_LOG = ["input", "items", "steps", "usage", "kept", "attempt", "status", "error", "result", "startedAt", "endedAt"];

/** One job: its input, its output in order, and its state. */
export class Job {
  agent = "";
  status = "queued";
  attempt = 1;
  position = null;
  input = null;
  items = [];
  steps = [];
  usage = [];
  error = null;
  result = null;
  startedAt = null;
  endedAt = null;
  /** Text that a takeover discarded, shown dimmed until the new attempt has as much text. */
  discarded = "";
  /** The items other than text of earlier attempts, including those that were kept. */
  discardedItems = [];
  /** The item to which the last event appended. */
  growing = null;
  /** Whether the newest attempt kept completed steps of an earlier one. */
  kept = false;
  /** The id up to which the job's own log has been read; null: not read. */
  toldTo = null;

  constructor(id) {
    this.id = id;
  }

  get ended() {
    return ENDED.has(this.status);
  }

  /** The whole text of the answer. */
  get text() {
    return this.items
      .filter((item) => item.kind === "text")
      .map((item) => item.text)
      .join("");
  }

  /** The discarded text beyond the length of the new attempt's text. */
  get toBeWritten() {
    return this.ended ? "" : this.discarded.slice(this.text.length);
  }

  /** The discarded items beyond the number of the new attempt's items. */
  get itemsToBeMade() {
    return this.ended ? [] : this.discardedItems.slice(this.countedItems.length);
  }

  get countedItems() {
    return this.items.filter((item) => SHOWN_DISCARDED.has(item.kind));
  }

  tool(callId) {
    return this.items.find((item) => item.kind === "tool" && item.callId === callId);
  }

  /** Append a delta to its text. A tool call or section in between starts a new text. */
  grow(kind, event, id) {
    const { part = 0, agent = null, text } = event;
    for (let at = this.items.length - 1; at >= 0; at -= 1) {
      const item = this.items[at];
      if (item.kind !== "text" && item.kind !== "reasoning") break;
      // The record has no part ids: the delta continues its last block.
      const same = item.part === part || item.part === null;
      if (item.kind === kind && same && item.agent === agent) {
        item.part = part;
        this.extend(item, "text", text, event, id);
        return;
      }
    }
    this.growing = { kind, part, agent, text, id };
    this.items.push(this.growing);
  }

  /** Append text to a field of an item, so that a takeover can remove it again. */
  extend(item, field, text, event, id) {
    // A takeover may discard from a checkpoint on, or from where a run of deltas began.
    if (event.checkpoint || this.growing !== item) {
      const { length } = item[field];
      noteChange(item, id, (copy) => (copy[field] = copy[field].slice(0, length)));
    }
    item[field] += text;
    this.growing = item;
  }

  /** Remove the effect of all events from an id on; without an id, of all events. */
  discard(from) {
    const kept = (item) => from && item.id && newer(from, item.id);
    this.items = this.items.filter(kept).map((item) => restored(item, from));
    this.steps = this.steps.filter(kept);
    this.usage = this.usage.filter(kept);
  }

  startTool(callId, name, id) {
    const tool = {
      kind: "tool",
      callId,
      name,
      state: "writing",
      written: "",
      arguments: undefined,
      result: undefined,
      id,
    };
    this.items.push(tool);
    return tool;
  }

  endTool(callId, state, result, truncated, id) {
    change(this.tool(callId) ?? this.startTool(callId, "", id), id, { state, result, truncated });
  }
}

/** Set fields of an item, so that a takeover can undo the change. */
function change(item, id, fields) {
  const before = Object.fromEntries(Object.keys(fields).map((name) => [name, item[name]]));
  noteChange(item, id, (copy) => Object.assign(copy, before));
  Object.assign(item, fields);
}

function noteChange(item, id, undo) {
  (item.changes ??= []).push({ id, undo });
}

/** The item without the changes by events from an id on. A changed item is returned as a copy, to be drawn again. */
function restored(item, from) {
  const at = item.changes?.findIndex(({ id }) => !newer(from, id)) ?? -1;
  if (at < 0) return item;
  const copy = { ...item, changes: item.changes.slice(0, at) };
  for (const { undo } of item.changes.slice(at).reverse()) undo(copy);
  return copy;
}

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

/** The text of a job's input. */
export function inputText(input) {
  if (input === null || typeof input === "string") return input ?? "";
  if (!Array.isArray(input.messages)) return JSON.stringify(input, null, 2);
  const { messages } = input;
  return messages
    .filter((message) => message.role === "user")
    .map((message) => contentText(message.content))
    .join("\n\n");
}

function contentText(content) {
  if (typeof content === "string") return content;
  const inText = Array.isArray(content) && content.every((part) => part?.type === "text");
  return inText ? content.map((part) => part.text).join("") : JSON.stringify(content, null, 2);
}

function takeMessage(job, { role, content, agent = null, call_id: callId, tool_calls: calls = [] }) {
  if (role === "tool") job.endTool(callId, "done", content, false, null);
  else if (content) job.items.push({ kind: "text", part: null, agent, text: content, id: null });
  for (const call of calls) {
    Object.assign(job.startTool(call.call_id, call.name, null), { state: "called", arguments: call.arguments });
  }
}

const TAKE = {
  "job.queued"(job, event) {
    if (job.status === "queued") job.position = event.position;
  },
  "job.started"(job, event) {
    job.position = 0;
    job.attempt = event.attempt;
    job.agent = event.agent;
    job.startedAt = event.at ?? null;
    if (event.input !== undefined) job.input = event.input;
    job.discarded = job.text + job.toBeWritten;
    job.discardedItems = [...job.countedItems, ...job.itemsToBeMade];
    job.discard(event.discard_from);
    job.status = job.items.some((item) => item.kind === "question" && item.state === "waiting") ? "waiting" : "running";
    job.kept = job.items.length + job.steps.length > 0;
  },
  status: (job, event, id) => job.steps.push({ message: event.message, id }),
  "text.delta": (job, event, id) => job.grow("text", event, id),
  "reasoning.delta": (job, event, id) => job.grow("reasoning", event, id),
  "tool.started": (job, event, id) => job.startTool(event.call_id, event.name, id),
  "tool.arguments.delta"(job, event, id) {
    const tool = job.tool(event.call_id) ?? job.startTool(event.call_id, "", id);
    job.extend(tool, "written", event.delta, event, id);
  },
  "tool.called"(job, event, id) {
    const tool = job.tool(event.call_id) ?? job.startTool(event.call_id, event.name, id);
    change(tool, id, { name: event.name, arguments: event.arguments, state: "called" });
  },
  "tool.result": (job, event, id) => job.endTool(event.call_id, "done", event.result, event.truncated, id),
  "tool.failed": (job, event, id) => job.endTool(event.call_id, "failed", event.error, event.truncated, id),
  "section.started"(job, event, id) {
    job.items.push({ kind: "section", title: event.title, index: event.index, open: true, id });
  },
  "section.ended"(job, event, id) {
    const section = job.items.findLast((item) => item.kind === "section" && item.index === event.index);
    if (section) change(section, id, { open: false });
  },
  data(job, event, id) {
    const outline =
      event.name === "outline" && job.items.find((item) => item.kind === "data" && item.name === "outline");
    if (outline) change(outline, id, { value: event.value });
    else job.items.push({ kind: "data", name: event.name, value: event.value, id });
  },
  "question.asked"(job, event, id) {
    const { question_id: questionId, prompt, schema = {}, agent = null } = event;
    job.items.push({ kind: "question", questionId, prompt, schema, agent, state: "waiting", id });
    if (!job.ended) job.status = "waiting";
  },
  "question.answered"(job, event, id) {
    const asked = job.items.findLast((item) => item.kind === "question" && item.questionId === event.question_id);
    if (asked) change(asked, id, { state: "answered", value: event.value });
    if (!job.ended) job.status = "running";
  },
  fallback(job, event, id) {
    job.items.push({ kind: "note", text: `Stream failed (${event.reason}). Continuing with ${event.to}.`, id });
  },
  usage: (job, event, id) => job.usage.push({ ...event, id }),
  "job.completed"(job, event) {
    end(job, "completed", event);
    job.result = event.result ?? null;
  },
  "job.failed"(job, event) {
    end(job, "failed", event);
    job.error = event.error;
  },
  "job.cancelled": (job, event) => end(job, "cancelled", event),
};

function end(job, status, event) {
  job.status = status;
  job.endedAt = event.at ?? job.endedAt;
}
