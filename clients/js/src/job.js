// One job: its input, its output in parts, and its state, folded from events.

import { ENDED, newer } from "./events.js";

// The field that grows while deltas of a block follow each other.
const GROWING = { "text.delta": "text", "reasoning.delta": "text", "tool.arguments.delta": "delta" };

// Parts are never changed in place: a changed part is a new object with the same `id`, that of its first event.
const FOLD = {
  status: (job, { message, id }) => job.steps.push({ message, id }),
  usage: (job, { type, job_id, ...usage }) => job.usage.push(usage),
  "text.delta"(job, event) {
    job.content += event.text;
    job.grow("text", event);
  },
  "reasoning.delta": (job, event) => job.grow("reasoning", event),
  "tool.started": (job, event) => job.tool("writing", event),
  "tool.arguments.delta": (job, event) => job.tool("writing", event),
  "tool.called": (job, event) => job.tool("called", event),
  "tool.result": (job, event) => job.tool("done", event),
  "tool.failed": (job, event) => job.tool("failed", event),
  "section.started": (job, event) => job.add("section", event, { open: true }),
  "section.ended": (job, { index }) => job.change((part) => part.type === "section" && part.index === index, { open: false }),
  data: (job, event) => job.add("data", event),
  "question.asked": (job, event) => job.add("question", { schema: {}, ...event }, { state: "waiting" }),
  "question.answered": (job, { question_id, value }) =>
    job.change((part) => part.question_id === question_id, { state: "answered", value }),
  fallback: (job, event) => job.add("fallback", event),
};

export class Job {
  agent = null;
  status = "queued";
  attempt = 1;
  position = null;
  input = null;
  content = "";
  parts = [];
  steps = [];
  usage = [];
  /** The parts before the last takeover. */
  discarded = [];
  result = null;
  error = null;
  started_at = null;
  ended_at = null;
  /** The job that it follows, `null` for none; undefined until it is known: then the one before it. */
  after = undefined;
  #events = []; // those that count, with adjacent deltas of one block as one: a takeover folds them again
  #run = null; // the last of them, while the next delta may continue it
  #open = new Map(); // the index of the part of each block of text that a delta may continue
  #tools = new Map(); // the index of the part of each tool call

  constructor(job_id, state = {}) {
    this.job_id = job_id;
    for (const name of Object.keys(this)) this[name] = state[name] ?? this[name];
    this.usage = [this.usage].flat();
    this.after = state.after;
  }

  get ended() {
    return Object.values(ENDED).includes(this.status);
  }

  /** Take the messages of a job from the session's record: its input ends with the last message of a user. */
  load(messages) {
    const given = messages.findLastIndex(({ role }) => role === "user") + 1;
    this.input = { messages: messages.slice(0, given) };
    for (const [index, { role, content, agent, truncated, call_id, tool_calls = [] }] of messages.entries()) {
      if (index < given) continue;
      const event = { ...(agent && { agent }), ...(truncated && { truncated }), id: `m${index}` };
      if (role === "tool") this.apply({ ...event, type: "tool.result", call_id, result: content });
      else if (content) this.apply({ ...event, type: "text.delta", text: content, part: index });
      for (const call of tool_calls) this.apply({ ...event, ...call, type: "tool.called", id: `m${index}-${call.call_id}` });
    }
  }

  apply(event) {
    const { type } = event;
    if (type === "job.queued" && this.status === "queued") this.position = event.position;
    if (type === "job.started") this.#start(event);
    if (ENDED[type]) this.#end(event);
    if (FOLD[type]) {
      this.#remember(event);
      FOLD[type](this, event);
    } else if (type !== "job.queued") {
      this.#run = null;
    }
    if (type.startsWith("question.") && !this.ended) this.status = this.#waits() ? "waiting" : "running";
  }

  #start(event) {
    const from = event.discard_from;
    const before = new Map(this.parts.map((part) => [part.id, part]));
    this.discarded = this.parts;
    const kept = from ? this.#events.filter(({ id }) => newer(from, id)) : [];
    Object.assign(this, { parts: [], steps: [], usage: [], content: "" });
    this.#events = [];
    this.#tools.clear();
    this.#open.clear();
    this.#run = null;
    for (const each of kept) this.apply(each);
    this.#run = null;
    // A part of which something was discarded becomes another one, so that no view keeps what it has drawn of it.
    this.parts = this.parts.map((part) => {
      const old = before.get(part.id);
      return JSON.stringify(old) === JSON.stringify(part) ? old : { ...part, id: `${part.id}~${event.id}` };
    });
    const { attempt, agent = this.agent, input = this.input, at = null, after = this.after } = event;
    Object.assign(this, { attempt, agent, input, after, started_at: at, position: 0, status: this.#waits() ? "waiting" : "running" });
  }

  #end({ type, at = this.ended_at, result = null, error = null }) {
    Object.assign(this, { status: ENDED[type], ended_at: at, result, error, position: null });
  }

  #waits() {
    return this.parts.some(({ state }) => state === "waiting");
  }

  #remember(event) {
    const same = ["type", "agent", "part", "call_id"].every((name) => this.#run?.[name] === event[name]);
    const field = GROWING[event.type];
    if (field && same && !event.checkpoint) this.#run[field] += event[field];
    else this.#events.push((this.#run = { ...event }));
  }

  /** Add a part with the fields of its event. */
  add(kind, { type, job_id, at, ...fields }, more) {
    this.#open.clear();
    return this.parts.push({ type: kind, ...fields, ...more }) - 1;
  }

  /** Append a delta to the text of its block, unless something stands between. */
  grow(kind, { type, job_id, part, id, from = id, checkpoint, ...fields }) {
    const block = JSON.stringify([kind, fields.agent, part]);
    const index = this.#open.get(block);
    if (index === undefined) this.#open.set(block, this.parts.push({ type: kind, id: from, ...fields }) - 1);
    else this.#set(index, { text: this.parts[index].text + fields.text });
  }

  tool(state, { type, job_id, at, id, from, checkpoint, delta = "", ...fields }) {
    const { call_id } = fields;
    if (!this.#tools.has(call_id)) this.#tools.set(call_id, this.add("tool", { id, call_id, name: "", written: "" }));
    const index = this.#tools.get(call_id);
    this.#set(index, { ...fields, state, written: this.parts[index].written + delta });
  }

  change(matches, fields) {
    const index = this.parts.findLastIndex(matches);
    if (index >= 0) this.#set(index, fields);
  }

  #set(index, fields) {
    this.parts[index] = { ...this.parts[index], ...fields };
  }

  /** The job as it is now: its input as messages, and one message of the assistant with the parts. */
  messages() {
    const { ended, ...fields } = this;
    const { input, job_id } = this;
    const given = typeof input === "string" ? [{ role: "user", content: input }] : (input?.messages ?? []);
    return [
      ...given.map((message) => ({ ...message, content: joined(message.content), job_id })),
      { role: "assistant", ...fields, parts: [...this.parts], steps: [...this.steps], usage: [...this.usage] },
    ];
  }
}

function joined(content) {
  const inText = Array.isArray(content) && content.every((part) => part?.type === "text");
  return inText ? content.map(({ text }) => text).join("") : content;
}
