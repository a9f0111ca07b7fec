// The events of a session as a table. Rows are drawn once a frame, and consecutive deltas share one.

import { duration } from "./console-calls.js";
import { element, setText } from "./dom.js";

const COLUMNS = ["Id", "Event", "Attempt", "Time", "Content", "Copy"];
const ROWS_PER_FRAME = 100;
const MOST_ROWS = 1000;
const MOST_FOLDED = 1000;
const MOST_EVENTS = 20_000;

/** Calls `copy(entry)` when the request of an event is to be copied, and `drawn()` after each frame with new rows. */
export class EventTable {
  #table = element("table");
  #rows = [];
  #undrawn = new Set();
  #events = 0;
  #frame = 0;
  #on;

  constructor(on) {
    this.#on = on;
    const head = COLUMNS.map((name) => element("th", { scope: "col", class: name.toLowerCase() }, name));
    this.#table.append(element("thead", {}, element("tr", {}, ...head)));
    const box = { class: "table events", tabindex: "0", role: "region", "aria-label": "Events" };
    this.root = element("div", box, this.#table);
  }

  /** Add `{event, kind, attempt, time, after_s, before}`: `after_s` are the seconds since the event before, or null. */
  add(entry) {
    const last = this.#rows.at(-1);
    if (last?.takes(entry)) {
      last.entries.push(entry);
      this.#change(last);
    } else {
      const row = new Row(entry, this.#on.copy, () => this.#change(row));
      this.#rows.push(row);
      this.#change(row);
    }
    this.#events += 1;
    while (this.#rows.length > MOST_ROWS || this.#events > MOST_EVENTS) this.#forget(this.#rows.shift());
  }

  #forget(row) {
    row.root.remove();
    this.#undrawn.delete(row);
    this.#events -= row.entries.length;
  }

  #change(row) {
    this.#undrawn.add(row);
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#frame = 0;
    for (let left = ROWS_PER_FRAME; left > 0 && this.#undrawn.size; ) {
      const [row] = this.#undrawn;
      if (!row.root.parentNode) this.#table.append(row.root);
      left -= row.draw(left);
      if (row.complete) this.#undrawn.delete(row);
    }
    if (this.#undrawn.size) this.#frame = requestAnimationFrame(() => this.#draw());
    if (!this.root.contains(document.activeElement)) this.root.scrollTop = this.root.scrollHeight;
    this.#on.drawn();
  }
}

/** One event, or consecutive deltas, which it shows one by one while it is open. */
class Row {
  root = element("tbody");
  #open = false;
  #shown = 0;
  #line = null;
  #count = null;
  #copy;
  #changed;

  constructor(entry, copy, changed) {
    this.entries = [entry];
    this.#copy = copy;
    this.#changed = changed;
  }

  takes({ event: { type, job_id: job } }) {
    const { event } = this.entries[0];
    return type.endsWith(".delta") && type === event.type && job === event.job_id && this.entries.length < MOST_FOLDED;
  }

  /** Whether `draw` has nothing left. */
  get complete() {
    return !this.#open || this.#shown === this.entries.length;
  }

  /** Draw at most so many lines. Returns how many. */
  draw(most) {
    if (!this.#line) this.root.append((this.#line = this.#lineOf(this.entries[0])));
    if (this.entries.length > 1) this.#sumUp();
    const begin = this.#shown;
    if (this.#open) this.#shown = Math.min(this.entries.length, begin + most);
    this.root.append(...this.entries.slice(begin, this.#shown).map((entry) => this.#lineOf(entry)));
    return 1 + this.#shown - begin;
  }

  #sumUp() {
    const [, type, , , content] = this.#line.children;
    if (!this.#count) {
      this.#count = element("button", { type: "button", class: "quiet", "aria-expanded": "false", click: () => this.#toggle() });
      type.replaceChildren(this.#count);
    }
    const [{ event }, ...rest] = this.entries;
    const characters = this.entries.reduce((sum, entry) => sum + lengthOf(entry.event), 0);
    const time_s = rest.reduce((sum, { after_s: after }) => (after === null ? Number.NaN : sum + after), 0);
    const time = Number.isNaN(time_s) ? "" : `${duration(time_s)}, `;
    setText(this.#count, `${written(this.entries.length)} × ${event.type}`);
    setText(content, `${time}${written(characters)} characters`);
  }

  #toggle() {
    this.#open = !this.#open;
    this.#count.setAttribute("aria-expanded", String(this.#open));
    this.#shown = 0;
    while (this.root.lastChild !== this.#line) this.root.lastChild.remove(); // the button keeps the focus
    this.#changed();
  }

  #lineOf(entry) {
    const { event, kind, attempt, time } = entry;
    const { id, type, job_id: _job, attempt: _attempt, ...content } = event;
    const label = { type: "button", class: "quiet", "aria-label": `Copy ${id} as curl`, click: () => this.#copy(entry) };
    const cells = [
      element("td", { class: "id" }, id ?? ""),
      element("td", {}, type),
      element("td", {}, attempt == null ? "" : String(attempt)),
      element("td", {}, time),
      element("td", { class: "body" }, kind === "cut" ? "" : JSON.stringify(content)),
      element("td", {}, id && element("button", label, "curl")),
    ];
    return element("tr", { "data-kind": kind }, ...cells);
  }
}

const lengthOf = ({ text, delta }) => String(text ?? delta ?? "").length;

const written = (number) => number.toLocaleString("en");
