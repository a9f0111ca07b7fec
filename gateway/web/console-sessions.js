// The list of sessions, with a search and pages.

import { ago, call, table } from "./console-calls.js";
import { element } from "./dom.js";

const LIMIT = 25;

export class SessionsView {
  #search = element("input", { type: "search", id: "search", "aria-label": "Part of an id or a title", placeholder: "Part of an id or a title" });
  #list = element("div");
  #more = element("button", { type: "button", class: "action" }, "More");
  #rows = [];
  #next = null;
  #asked = 0;

  constructor(view, onProblem) {
    this.onProblem = onProblem;
    const form = element("form", { class: "row", role: "search" }, this.#search, element("button", { class: "action" }, "Search"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#read("");
    });
    this.#more.addEventListener("click", () => this.#read(this.#next));
    view.append(element("h2", {}, "Sessions"), form, this.#list, this.#more);
    this.#read("");
  }

  close() {
    this.#asked += 1;
  }

  async #read(cursor) {
    this.#asked += 1;
    const asked = this.#asked;
    const query = new URLSearchParams({ limit: LIMIT, cursor, q: this.#search.value });
    try {
      const page = await call(`v1/sessions?${query}`);
      if (asked !== this.#asked) return;
      this.#rows = cursor ? [...this.#rows, ...page.sessions] : page.sessions;
      this.#next = page.next;
      this.#draw();
      this.onProblem(null);
    } catch (error) {
      if (asked === this.#asked) this.onProblem(error);
    }
  }

  #draw() {
    const rows = this.#rows.map((session) => [
      element("a", { href: `#/sessions/${session.session_id}` }, session.title || session.session_id),
      element("span", { class: "id" }, session.session_id),
      session.agent,
      session.status,
      ago(session.updated_at),
    ]);
    this.#list.replaceChildren(table("Sessions", ["Title", "Id", "Agent", "Status", "Last activity"], rows));
    this.#more.hidden = !this.#next;
  }
}
