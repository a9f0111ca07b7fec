// Draws the items of a job's answer: texts, reasoning, tools, sections, data, notes.

import { element, growText, setText } from "./dom.js";
import { Markdown } from "./markdown.js";
import { QuestionView } from "./question.js";
import { textOf, valueNode } from "./values.js";

class TextView {
  constructor(item) {
    this.item = item;
    const body = element("div", { class: "markdown" });
    this.root = element("div", {}, item.agent && element("p", { class: "speaker" }, item.agent), body);
    this.markdown = new Markdown(body);
  }

  render() {
    if (this.drawn === this.item.text.length) return;
    this.drawn = this.item.text.length;
    this.markdown.update(this.item.text);
  }
}

class ReasoningView {
  constructor(item) {
    this.item = item;
    this.summary = element("summary");
    this.body = element("p");
    this.root = element("details", { class: "reasoning" }, this.summary, this.body);
  }

  render(job, last) {
    const going = last && !job.ended;
    setText(this.summary, going ? "Thinking…" : "Thoughts");
    this.root.classList.toggle("going", going);
    growText(this.body, this.item.text);
  }
}

const TOOL_STATES = { writing: "preparing", called: "running", done: "done", failed: "failed" };

class ToolView {
  constructor(item) {
    this.item = item;
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

  render(job) {
    const { name, state, written, arguments: given, result, truncated } = this.item;
    const shown = job.ended && (state === "writing" || state === "called") ? "not finished" : TOOL_STATES[state];
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
  constructor(item) {
    this.item = item;
    this.root = element("h3", { class: "section" }, item.title);
  }

  render(job) {
    this.root.classList.toggle("going", this.item.open && !job.ended);
  }
}

class DataView {
  constructor(item) {
    this.item = item;
    this.title = element("summary", {}, titleOf(item.name));
    this.body = element("div", { class: "body" });
    this.root = element("details", { class: "data", open: item.name === "outline" }, this.title, this.body);
  }

  render(job) {
    if (this.shown !== this.item.value) this.body.replaceChildren(valueNode(this.item.value));
    this.shown = this.item.value;
    if (this.item.name === "outline") markOutline(this.body, job);
  }
}

class NoteView {
  constructor(item) {
    this.item = item;
    this.root = element("p", { class: "notice" }, item.text);
  }

  render() {}
}

/** The view of each kind of item: `new VIEWS[item.kind](item, answer)` has `root` and `render(job, last)`. */
export const VIEWS = {
  text: TextView,
  reasoning: ReasoningView,
  tool: ToolView,
  section: SectionView,
  data: DataView,
  note: NoteView,
  question: QuestionView,
};

/** Mark the finished entries of an outline and the current one. */
function markOutline(body, job) {
  const entries = body.querySelectorAll(":scope > ol > li");
  const sections = job.items.filter((item) => item.kind === "section");
  entries.forEach((entry, index) => {
    const section = sections.find((each) => each.title === entry.textContent) ?? sections[index];
    entry.dataset.state = !section ? "ahead" : section.open && !job.ended ? "going" : "done";
  });
}

function titleOf(name) {
  const words = String(name).replaceAll(/[_-]+/g, " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
