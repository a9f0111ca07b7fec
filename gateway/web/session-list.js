// The dialog with the person's sessions, newest activity first.

import { hasTicket } from "./client.js";
import { ago, call } from "./console-calls.js";
import { element, find, showText } from "./dom.js";

const LIMIT = 25;
const STEPS = { ArrowDown: 1, ArrowUp: -1 };

/** Reads the list each time the dialog opens. `onError(error)` returns whether it has dealt with an error. */
export class SessionList {
  #dialog = find("sessions");
  #list = find("sessions-list");
  #more = find("sessions-more");
  #next = "";
  #opened = 0;
  #onError;

  constructor(onError) {
    this.#onError = onError;
    const opener = find("sessions-open");
    opener.hidden = hasTicket; // which is for one session
    opener.addEventListener("click", () => this.#open());
    find("sessions-close").addEventListener("click", () => this.#dialog.close());
    this.#more.addEventListener("click", () => this.#continue());
    this.#list.addEventListener("click", (event) => event.target.closest("a") && this.#dialog.close());
    this.#list.addEventListener("keydown", (event) => this.#pressed(event));
  }

  async #open() {
    this.#opened += 1;
    this.#next = "";
    this.#list.replaceChildren();
    this.#dialog.showModal();
    await this.#read();
    this.#list.querySelector("a")?.focus();
  }

  async #continue() {
    const last = this.#list.lastElementChild;
    await this.#read();
    last.nextElementSibling?.querySelector("a").focus();
  }

  /** Read the next page and append it. */
  async #read() {
    const opened = this.#opened;
    this.#more.disabled = true;
    this.#say("Loading…");
    try {
      const page = await call(`v1/sessions?${new URLSearchParams({ limit: LIMIT, cursor: this.#next })}`);
      if (opened === this.#opened) this.#show(page);
    } catch (error) {
      if (opened !== this.#opened) return;
      if (this.#onError(error)) this.#dialog.close();
      else this.#say(error.message);
    }
    this.#more.disabled = false;
  }

  #show({ sessions, next }) {
    this.#list.append(...sessions.map(entryOf));
    this.#next = next ?? "";
    this.#more.hidden = !next;
    this.#say(next || this.#list.childElementCount ? "" : "There are no conversations yet.");
  }

  #say(words) {
    showText(find("sessions-status"), words);
  }

  #pressed(event) {
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    const links = [...this.#list.querySelectorAll("a")];
    links[links.indexOf(event.target) + step]?.focus();
  }
}

function entryOf({ session_id: id, title, agent, status, updated_at: updatedAt }) {
  const current = `#${id}` === location.hash && "page";
  const facts = [agent, status, ago(updatedAt)].filter(Boolean).join(" · ");
  const link = element("a", { href: `#${id}`, "aria-current": current }, title || id);
  return element("li", {}, link, element("p", { class: "aside" }, facts));
}
