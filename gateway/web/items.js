// Draws the parts of a job's answer: texts, reasoning, tools, sections, data, notes.

import { element, growText, setText } from "./dom.js";
import { Markdown } from "./markdown.js";
import { QuestionView } from "./question.js";
import { textOf, valueNode } from "./values.js";

class TextView {
  constructor(part) {
    this.part = part;
    const body = element("div", { class: "markdown" });
    this.root = element("div", {}, part.agent && element("p", { class: "speaker" }, part.agent), body);
    this.markdown = new Markdown(body);
  }

  render() {
    if (this.drawn === this.part.text.length) return;
    this.drawn = this.part.text.length;
    this.markdown.update(this.part.text);
  }
}

class ReasoningView {
  constructor(part) {
    this.part = part;
    this.summary = element("summary");
    this.body = element("p");
    this.root = element("details", { class: "reasoning" }, this.summary, this.body);
  }

  render(turn, last) {
    const going = last && !turn.ended;
    setText(this.summary, going ? "Thinking…" : "Thoughts");
    this.root.classList.toggle("going", going);
    growText(this.body, this.part.text);
  }
}

const TOOL_STATES = { writing: "preparing", called: "running", done: "done", failed: "failed" };

class ToolView {
  constructor(part) {
    this.part = part;
    this.name = element("strong");
    this.preview = element("code", { class: "preview" });
    this.state = element("span", { class: "state" });
    this.given = element("pre", { tabindex: "0" });
    this.result = element("pre", { tabindex: "0" });
    this.resultPart = element("div", { hidden: true }, element("h3", {}, "Result"), this.result);
    const body = element("div", { class: "body" }, element("h3", {}, "Arguments"), this.given, this.resultPart);
    this.root = element(
      "details",
      { class: "tool" },
      element("summary", {}, this.name, this.preview, this.state),
      body,
    );
  }

  render(turn) {
    const { name, state, written, arguments: given, error, result = error, truncated } = this.part;
    const shown = turn.ended && (state === "writing" || state === "called") ? "not finished" : TOOL_STATES[state];
    this.root.dataset.state = shown;
    setText(this.name, name);
    setText(this.state, shown);
    growText(this.preview, given === undefined ? written : JSON.stringify(given));
    growText(this.given, given === undefined ? written : JSON.stringify(given, null, 2));
    if (result === undefined || this.resultPart.hidden === false) return;
    this.resultPart.hidden = false;
    setText(this.result, textOf(result) + (truncated ? "\n… cut off here; the agent was given all of it" : ""));
  }
}

class SectionView {
  constructor(part) {
    this.part = part;
    this.root = element("h3", { class: "section" }, part.title);
  }

  render() {}
}

class DataView {
  constructor(part) {
    this.part = part;
    this.title = element("summary", {}, titleOf(part.name));
    this.body = element("div", { class: "body" });
    this.root = element("details", { class: "data", open: part.name === "outline" }, this.title, this.body);
  }

  render(turn) {
    if (this.shown !== this.part.value) this.body.replaceChildren(valueNode(this.part.value));
    this.shown = this.part.value;
    if (this.part.name === "outline") markOutline(this.body, turn);
  }
}

class FallbackView {
  constructor(part) {
    this.part = part;
    this.root = element("p", { class: "notice" }, `Stream failed (${part.reason}). Continuing with ${part.to}.`);
  }

  render() {}
}

/**
 * The view of each type of part: `new VIEWS[part.type](part, answer)` has `root`, `part`, the newest state of the part,
 * and `render(turn, last)`.
 */
export const VIEWS = {
  text: TextView,
  reasoning: ReasoningView,
  tool: ToolView,
  section: SectionView,
  data: DataView,
  fallback: FallbackView,
  question: QuestionView,
};

/** Mark the finished entries of an outline and the current one. */
function markOutline(body, turn) {
  const entries = body.querySelectorAll(":scope > ol > li");
  const sections = turn.parts.filter((part) => part.type === "section");
  entries.forEach((entry, index) => {
    const section = sections.find((each) => each.title === entry.textContent) ?? sections[index];
    entry.dataset.state = !section ? "ahead" : section.open && !turn.ended ? "going" : "done";
  });
}

function titleOf(name) {
  const words = String(name).replaceAll(/[_-]+/g, " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
