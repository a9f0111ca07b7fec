// Draws a conversation. Each view keeps its nodes and changes only what differs from the previous frame.

import { copyButton, quietButton } from "./buttons.js";
import { inputText, Notice } from "./conversation.js";
import { element, setText, showText } from "./dom.js";
import { still, valueNode, VIEWS } from "./items.js";

/**
 * The turns of a conversation inside `parent`. Calls `on.cancel(turn)` when a waiting job is cancelled, and
 * `on.answer(turn, question, value)` when a person answers; `on.retry(turn)` and `on.edit(turn)` when an ended job is to
 * run again, as it was or with a changed message.
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

  /** Draw the turns of `dirty`, a set of changed ones, and new turns, and remove those that are gone. */
  render(turns, dirty) {
    for (const [turn, view] of this.#views) {
      if (turns.includes(turn)) continue;
      view.root.remove();
      this.#views.delete(turn);
    }
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

const SILENT = {
  // The page cannot distinguish a dead worker from a slow model.
  worker: "The worker is silent. If it has stopped, another one takes over…",
  network: "The network is silent. What the agent writes now is stored.",
};

const NoticeView = still(({ text }) => element("p", { class: "notice" }, text));

class JobView {
  #turn;
  #on;
  #parts = [];
  #said = element("div", { class: "said", dir: "auto" });
  #waiting;
  #place = element("span");
  #taken = element("p", { class: "notice", hidden: true });
  #steps = element("details", { class: "steps", hidden: true }, element("summary"), element("ol"));
  #flow = element("div", { class: "flow" });
  #discarded = element("p", { class: "discarded", dir: "auto", "aria-hidden": "true", hidden: true });
  #discardedParts = element("div", { class: "flow discarded-items", inert: true });
  #drawnDiscarded;
  #live = element("p", { class: "live", hidden: true }, element("span", { class: "pulse" }), element("span"));
  #silent = element("p", { class: "notice", role: "status", hidden: true });
  #end = element("div", { class: "end", hidden: true });

  constructor(turn, on) {
    this.#turn = turn;
    this.#on = on;
    const back = quietButton("Take back", () => on.cancel(turn));
    this.#waiting = element("p", { class: "waiting", hidden: true }, this.#place, back);
    const parts = [this.#taken, this.#steps, this.#flow, this.#discardedParts, this.#discarded, this.#live];
    const answer = element("div", { class: "answer" }, ...parts, this.#silent, this.#end);
    this.root = element("article", { class: "turn", "data-job": turn.id }, this.#said, this.#waiting, answer);
  }

  render() {
    const turn = this.#turn;
    const { status, attempt } = turn.state;
    this.root.dataset.status = status;
    // A screen reader announces the complete answer, not each token.
    this.root.setAttribute("aria-busy", String(!turn.ended));
    showText(this.#said, inputText(turn.input));
    this.#renderPlace();
    this.#taken.hidden = attempt < 2;
    const how = turn.kept ? "continued after the last finished step" : "began again";
    setText(this.#taken, `Another worker took over and ${how} (attempt ${attempt}).`);
    this.#renderSteps();
    this.#renderParts();
    this.#renderDiscardedParts();
    showText(this.#discarded, turn.toBeWritten);
    const silent = SILENT[turn.silent] ?? "";
    this.#live.hidden = turn.ended || status === "queued" || silent !== "";
    setText(this.#live.lastChild, doingOf(turn));
    showText(this.#silent, silent);
    this.#renderEnd();
  }

  #renderPlace() {
    const { status, position } = this.#turn.state;
    this.#waiting.hidden = status !== "queued";
    const place = { 0: "Waiting for a worker", 1: "Next in line" }[position ?? 0] ?? `In line, ${position} ahead`;
    setText(this.#place, place);
  }

  #renderSteps() {
    const { steps } = this.#turn.state;
    const [summary, list] = this.#steps.children;
    this.#steps.hidden = !steps.length;
    if (list.childElementCount > steps.length) list.replaceChildren();
    setText(summary, steps.length === 1 ? "1 step" : `${steps.length} steps`);
    for (const step of steps.slice(list.childElementCount)) list.append(element("li", {}, step.message));
  }

  #renderParts() {
    const { parts } = this.#turn;
    const same = this.#parts.findIndex((view, index) => view.part.id !== parts[index]?.id);
    if (same >= 0) for (const view of this.#parts.splice(same)) view.root.remove();
    for (const [index, part] of parts.entries()) {
      if (!this.#parts[index]) {
        this.#parts[index] = new VIEWS[part.type](part, (value) => this.#on.answer(this.#turn, part, value));
        this.#flow.append(this.#parts[index].root);
      }
      this.#parts[index].part = part;
      this.#parts[index].render(this.#turn, index === parts.length - 1);
    }
  }

  /** Draw discarded parts once, and remove them from the front as the new attempt adds parts. */
  #renderDiscardedParts() {
    const turn = this.#turn;
    const left = turn.partsToBeMade;
    const box = this.#discardedParts;
    if (this.#drawnDiscarded !== turn.discardedParts) {
      this.#drawnDiscarded = turn.discardedParts;
      const views = left.map((part) => new VIEWS[part.type](part));
      for (const view of views) view.render(turn, false);
      box.replaceChildren(...views.map((view) => view.root));
    }
    while (box.childElementCount > left.length) box.firstChild.remove();
  }

  #renderEnd() {
    const turn = this.#turn;
    this.#end.hidden = !turn.ended;
    if (!turn.ended) return;
    const facts = element("p", { class: "facts" }, factsOf(turn.state).join(" · "));
    if (turn.text) facts.append(copyButton(() => markdownOf(turn.parts)));
    facts.append(quietButton("Retry", () => this.#on.retry(turn)));
    if (turn.input !== null) facts.append(quietButton("Edit", () => this.#on.edit(turn)));
    this.#end.replaceChildren(...[outcomeOf(turn.state), facts].filter(Boolean));
  }
}

/** The status line of a job: its own status text if it has one. */
function doingOf({ state, parts, silent }) {
  if (silent) return "No signal for 3 s";
  if (state.status === "waiting") return "Waiting for your answer";
  return (
    state.steps.at(-1)?.message ?? { text: "Writing…", reasoning: "Thinking…" }[parts.at(-1)?.type] ?? "Working…"
  );
}

function outcomeOf({ status, error, result, parts }) {
  if (status === "cancelled") return element("p", { class: "outcome" }, "Stopped.");
  if (status === "failed") {
    const { code = "", message = "It failed." } = error ?? {};
    const words = [element("strong", {}, "The job failed. "), message, element("code", {}, code)];
    return element("p", { class: "outcome error", role: "alert" }, ...words);
  }
  if (!parts.length && result != null) return valueNode(result);
  return parts.length ? null : element("p", { class: "outcome" }, "There is no answer to show.");
}

function factsOf({ agent, usage, started_at: startedAt, ended_at: endedAt }) {
  const sum = (field) => usage.reduce((total, each) => total + (each[field] ?? 0), 0);
  const models = [...new Set(usage.map(({ model }) => model).filter(Boolean))];
  const facts = [agent, ...models.filter((model) => model !== agent)];
  if (endedAt - startedAt >= 100) facts.push(durationOf(endedAt - startedAt));
  const [taken, given] = [sum("input_tokens"), sum("output_tokens")];
  if (usage.length) facts.push(`${taken.toLocaleString()} tokens in, ${given.toLocaleString()} out`);
  return facts.filter(Boolean);
}

/** The texts of an answer as they are shown: with the titles of sections and the names of agents. */
function markdownOf(parts) {
  const written = parts.flatMap(({ type, title, agent, text }) => {
    if (type === "section") return [`## ${title}`];
    if (type !== "text") return [];
    return agent ? [`**${agent}**`, text] : [text];
  });
  return written.length === 1 ? written[0] : written.map((each) => each.trim()).join("\n\n");
}

function durationOf(time_ms) {
  const time_s = time_ms / 1000;
  if (time_s < 60) return `${time_s.toFixed(1)} s`;
  return `${Math.floor(time_s / 60)} min ${Math.round(time_s % 60)} s`;
}
