// The state of one job, and how a takeover undoes a part of it. Does not use the DOM.

import { newer } from "./feed.js";

const ENDED = new Set(["completed", "failed", "cancelled"]);

// Kinds of items of a discarded attempt that stay visible, beside its text, until the new attempt has caught up.
const SHOWN_DISCARDED = new Set(["reasoning", "tool", "section", "data"]);

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
export function change(item, id, fields) {
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
