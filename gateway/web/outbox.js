// Messages that are being sent. Each keeps one Idempotency-Key, so it is queued once however often it is sent: after a
// lost response, a refresh or a double click.

import { inputText } from "./conversation.js";
import { element, setText } from "./dom.js";
import { keep, randomName, recall } from "./memory.js";

const STORED = "holdfast.outbox";

/**
 * Sends messages, drawn in `parent`. `on.submit(entry, how)` sends one; `on.sent(entry, answer)` or
 * `on.refused(entry, problem)` is called for each.
 */
export class Outbox {
  #parent;
  #on;
  #entries = [];

  constructor(parent, on) {
    this.#parent = parent;
    this.#on = on;
  }

  send(sessionId, job) {
    this.#start({ key: randomName(), sessionId, job });
  }

  /** Continue with messages that an earlier page did not send. */
  resume() {
    for (const entry of recall("sessionStorage", STORED, [])) this.#start(entry);
  }

  /** Show only messages to this session. */
  show(sessionId) {
    for (const entry of this.#entries) entry.node.hidden = entry.sessionId !== sessionId || Boolean(entry.seenAs);
  }

  /** Whether a message to this session is shown. */
  holds(sessionId) {
    return this.#entries.some((entry) => entry.sessionId === sessionId && !entry.seenAs);
  }

  /** Hide a message whose job has appeared in the events before its 202 arrived. */
  adopt(sessionId, turn) {
    const asked = turn.input === null ? null : inputText(turn.input);
    const entry = this.#entries.find(
      (each) => each.sessionId === sessionId && !each.seenAs && (asked === null || asked === inputText(each.job.input)),
    );
    if (!entry) return;
    entry.seenAs = turn.id;
    turn.input ??= entry.job.input;
    this.show(sessionId);
  }

  /** Discard the unsent messages to this session. Returns whether there were any. */
  abort(sessionId) {
    const waiting = this.#entries.filter((entry) => entry.sessionId === sessionId);
    for (const entry of waiting) entry.stop.abort();
    return waiting.length > 0;
  }

  async #start(entry) {
    this.#add(entry);
    const { key, stop, line } = entry;
    try {
      const onRetry = ({ message }) => setText(line, `Not sent yet. ${message}. Trying again…`);
      const answer = await this.#on.submit(entry, { idempotencyKey: key, signal: stop.signal, onRetry });
      this.#remove(entry);
      this.#on.sent(entry, answer);
    } catch (problem) {
      this.#remove(entry);
      this.#on.refused(entry, stop.signal.aborted ? null : problem);
    }
  }

  #add(entry) {
    entry.stop = new AbortController();
    entry.line = element("span", {}, "Sending…");
    const back = element("button", { type: "button", class: "quiet", click: () => entry.stop.abort() }, "Take back");
    const words = element("div", { class: "said", dir: "auto" }, inputText(entry.job.input));
    entry.node = element(
      "article",
      { class: "turn sending" },
      words,
      element("p", { class: "waiting" }, entry.line, back),
    );
    this.#parent.append(entry.node);
    this.#entries.push(entry);
    this.#store();
  }

  #remove(entry) {
    entry.node.remove();
    this.#entries.splice(this.#entries.indexOf(entry), 1);
    this.#store();
  }

  #store() {
    keep(
      "sessionStorage",
      STORED,
      this.#entries.map(({ key, sessionId, job }) => ({ key, sessionId, job })),
    );
  }
}
