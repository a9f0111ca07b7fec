// Draws the parts of a job's answer: texts, reasoning, tools, sections, data, notes, and JSON values.

import { element, growText, setText } from "./dom.js";
import { Markdown } from "./markdown.js";
import { QuestionView } from "./question.js";

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
    this.body = element("p", { dir: "auto" });
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

/** The view of what never changes, such as a heading. */
export const still = (draw) =>
  class {
    constructor(part) {
      this.part = part;
      this.root = draw(part);
    }

    render() {}
  };

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

/**
 * The view of each type of part: `new VIEWS[part.type](part, answer)` has `root`, `part`, the newest state of the part,
 * and `render(turn, last)`.
 */
export const VIEWS = {
  text: TextView,
  reasoning: ReasoningView,
  tool: ToolView,
  section: still(({ title }) => element("h3", { class: "section", dir: "auto" }, title)),
  data: DataView,
  fallback: still(({ reason, to }) =>
    element("p", { class: "notice" }, `Stream failed (${reason}). Continuing with ${to}.`),
  ),
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

/** Strings as a list, rows as a table, the rest as JSON. */
export function valueNode(value) {
  const entries = Array.isArray(value) ? value : (value?.sections ?? value?.items);
  if (Array.isArray(entries) && entries.length) {
    const words = entries.map((entry) => (typeof entry === "string" ? entry : entry?.title));
    if (words.every((word) => typeof word === "string")) return listNode(words);
    if (entries.every(isFlat)) return tableNode(entries);
  }
  return element("pre", { tabindex: "0" }, textOf(value));
}

function listNode(words) {
  return element("ol", {}, ...words.map((word) => element("li", { dir: "auto" }, word)));
}

function isFlat(row) {
  const flat = (cell) => cell === null || typeof cell !== "object";
  return !flat(row) && Object.values(row).every(flat);
}

function tableNode(rows) {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const line = (cells, tag) => element("tr", {}, ...cells.map((cell) => element(tag, { dir: "auto" }, cell)));
  const body = rows.map((row) =>
    line(
      columns.map((column) => String(row[column] ?? "")),
      "td",
    ),
  );
  const table = element("table", {}, element("thead", {}, line(columns, "th")), element("tbody", {}, ...body));
  return element("div", { class: "table", tabindex: "0" }, table);
}

/** A string as it is, other values as JSON. */
function textOf(value) {
  return typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "");
}
