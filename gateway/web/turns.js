// Draws a conversation. Each view keeps its nodes and changes only what differs from the previous frame.

import { Notice } from "./conversation.js";
import { element, setText } from "./dom.js";
import { VIEWS } from "./items.js";
import { inputText } from "./job.js";
import { valueNode } from "./values.js";

/**
 * The turns of a conversation inside `parent`. Calls `on.cancel(job)` when a waiting job is cancelled, and
 * `on.answer(job, question, value)` when a person answers.
 */
export class Turns {
  #parent;
  #on;
  #views = new Map();

  constructor(parent, on) {
    this.#parent = parent;
    this.#on = on;
  }

  clear() {
    this.#views.clear();
    this.#parent.replaceChildren();
  }

  /** Draw the turns of `dirty`, a set of changed jobs, and new turns. */
  render(turns, dirty) {
    for (const turn of turns) {
      let view = this.#views.get(turn);
      if (!view) {
        view = turn instanceof Notice ? new NoticeView(turn) : new JobView(turn, this.#on);
        this.#views.set(turn, view);
        this.#parent.append(view.root);
        view.render();
      } else if (dirty.has(turn)) {
        view.render();
      }
    }
  }
}

class NoticeView {
  constructor(notice) {
    this.root = element("p", { class: "notice" }, notice.text);
  }

  render() {}
}

class JobView {
  #job;
  #on;
  #items = [];
  #said = element("div", { class: "said" });
  #waiting;
  #place = element("span");
  #taken = element("p", { class: "notice", hidden: true });
  #steps = element("details", { class: "steps", hidden: true }, element("summary"), element("ol"));
  #flow = element("div", { class: "flow" });
  #discarded = element("p", { class: "discarded", "aria-hidden": "true", hidden: true });
  #discardedItems = element("div", { class: "flow discarded-items", inert: true });
  #drawnDiscarded;
  #live = element("p", { class: "live", hidden: true }, element("span", { class: "pulse" }), element("span"));
  #end = element("div", { class: "end", hidden: true });

  constructor(job, on) {
    this.#job = job;
    this.#on = on;
    const back = element("button", { type: "button", class: "quiet", click: () => on.cancel(job) }, "Take back");
    this.#waiting = element("p", { class: "waiting", hidden: true }, this.#place, back);
    const parts = [this.#taken, this.#steps, this.#flow, this.#discardedItems, this.#discarded, this.#live, this.#end];
    const answer = element("div", { class: "answer" }, ...parts);
    this.root = element("article", { class: "turn", "data-job": job.id }, this.#said, this.#waiting, answer);
  }

  render() {
    const job = this.#job;
    this.root.dataset.status = job.status;
    // A screen reader announces the complete answer, not each token.
    this.root.setAttribute("aria-busy", String(!job.ended));
    setText(this.#said, inputText(job.input));
    this.#said.hidden = !this.#said.textContent;
    this.#renderPlace();
    this.#taken.hidden = job.attempt < 2;
    const how = job.kept ? "continued after the last finished step" : "began again";
    setText(this.#taken, `Another worker took over and ${how} (attempt ${job.attempt}).`);
    this.#renderSteps();
    this.#renderItems();
    this.#renderDiscardedItems();
    setText(this.#discarded, job.toBeWritten);
    this.#discarded.hidden = !job.toBeWritten;
    this.#renderLive();
    this.#renderEnd();
  }

  #renderPlace() {
    const { status, position } = this.#job;
    this.#waiting.hidden = status !== "queued";
    const place = { 0: "Waiting for a worker", 1: "Next in line" }[position ?? 0] ?? `In line, ${position} ahead`;
    setText(this.#place, place);
  }

  #renderSteps() {
    const { steps } = this.#job;
    const [summary, list] = this.#steps.children;
    this.#steps.hidden = !steps.length;
    if (list.childElementCount > steps.length) list.replaceChildren();
    setText(summary, steps.length === 1 ? "1 step" : `${steps.length} steps`);
    for (const step of steps.slice(list.childElementCount)) list.append(element("li", {}, step.message));
  }

  #renderItems() {
    const { items } = this.#job;
    const same = this.#items.findIndex((view, index) => view.item !== items[index]);
    if (same >= 0) for (const view of this.#items.splice(same)) view.root.remove();
    for (const [index, item] of items.entries()) {
      if (!this.#items[index]) {
        this.#items[index] = new VIEWS[item.kind](item, (value) => this.#on.answer(this.#job, item, value));
        this.#flow.append(this.#items[index].root);
      }
      this.#items[index].render(this.#job, index === items.length - 1);
    }
  }

  /** Draw discarded items once, and remove them from the front as the new attempt adds items. */
  #renderDiscardedItems() {
    const job = this.#job;
    const left = job.itemsToBeMade;
    const box = this.#discardedItems;
    if (this.#drawnDiscarded !== job.discardedItems) {
      this.#drawnDiscarded = job.discardedItems;
      const views = left.map((item) => new VIEWS[item.kind](item));
      for (const view of views) view.render(job, false);
      box.replaceChildren(...views.map((view) => view.root));
    }
    while (box.childElementCount > left.length) box.firstChild.remove();
  }

  #renderLive() {
    const job = this.#job;
    this.#live.hidden = job.ended || job.status === "queued";
    setText(this.#live.lastChild, doingOf(job));
  }

  #renderEnd() {
    const job = this.#job;
    this.#end.hidden = !job.ended;
    if (!job.ended) return;
    const facts = element("p", { class: "facts" }, factsOf(job).join(" · "));
    if (job.text) facts.append(copyButton(() => job.text));
    this.#end.replaceChildren(...[outcomeOf(job), facts].filter(Boolean));
  }
}

/** The status line of a job: its own status text if it has one. */
function doingOf(job) {
  if (job.status === "waiting") return "Waiting for your answer";
  return (
    job.steps.at(-1)?.message ?? { text: "Writing…", reasoning: "Thinking…" }[job.items.at(-1)?.kind] ?? "Working…"
  );
}

function outcomeOf(job) {
  if (job.status === "cancelled") return element("p", { class: "outcome" }, "Stopped.");
  if (job.status === "failed") {
    const { code = "", message = "It failed." } = job.error ?? {};
    const words = [element("strong", {}, "The job failed. "), message, element("code", {}, code)];
    return element("p", { class: "outcome error", role: "alert" }, ...words);
  }
  if (!job.items.length && job.result != null) return valueNode(job.result);
  return job.items.length ? null : element("p", { class: "outcome" }, "There is no answer to show.");
}

function factsOf(job) {
  const sum = (field) => job.usage.reduce((total, usage) => total + (usage[field] ?? 0), 0);
  const models = [...new Set(job.usage.map((usage) => usage.model).filter(Boolean))];
  const facts = [job.agent, ...models.filter((model) => model !== job.agent)];
  if (job.endedAt - job.startedAt >= 100) facts.push(durationOf(job.endedAt - job.startedAt));
  const [taken, given] = [sum("input_tokens"), sum("output_tokens")];
  if (job.usage.length) facts.push(`${taken.toLocaleString()} tokens in, ${given.toLocaleString()} out`);
  return facts.filter(Boolean);
}

function durationOf(time_ms) {
  const time_s = time_ms / 1000;
  if (time_s < 60) return `${time_s.toFixed(1)} s`;
  return `${Math.floor(time_s / 60)} min ${Math.round(time_s % 60)} s`;
}

function copyButton(textOf) {
  const button = element("button", { type: "button", class: "quiet", click: copy }, "Copy");
  async function copy() {
    const copied = await navigator.clipboard?.writeText(textOf()).then(
      () => true,
      () => false,
    );
    setText(button, copied ? "Copied" : "Not allowed here");
    setTimeout(() => setText(button, "Copy"), 1500);
  }
  return button;
}
