// One session: its jobs, and its events as they arrive, with a switch that cuts the connection.

import { Client } from "./client/index.js";
import { action, call, duration } from "./console-calls.js";
import { element, setText } from "./dom.js";

const MOST_ROWS = 1000;
const ENDED = ["completed", "failed", "cancelled"];

const client = new Client("", { retryMs: Number.POSITIVE_INFINITY });

export class SessionView {
  #rows = element("tbody");
  #jobs = element("div", { class: "row" });
  #facts = element("p", { id: "facts", role: "status" });
  #switch = element("button", { type: "button", class: "action", id: "cut", "aria-pressed": "false" }, "Cut my connection");
  #ids = [];
  #attempts = new Map();
  #cursor = null;
  #arrived = null;
  #cuts = 0;
  #connection = null;
  #closed = false;

  constructor(view, onProblem, rights, id) {
    this.id = id;
    this.onProblem = onProblem;
    this.rights = rights;
    const back = element("a", { href: "#/sessions" }, "All sessions");
    const chat = element("a", { href: `./#${id}` }, "Open in the chat page");
    const check = action("Compare with the log", () => this.#compare(), onProblem);
    const columns = ["Id", "Event", "Attempt", "After", "Content", "Copy"];
    const head = element("tr", {}, ...columns.map((name) => element("th", { scope: "col" }, name)));
    this.#switch.addEventListener("click", () => (this.#connection ? this.#cut() : this.#connect()));
    view.append(
      element("h2", {}, `Session ${id}`),
      element("p", { class: "row" }, back, chat),
      this.#jobs,
      element("div", { class: "row" }, this.#switch, check),
      this.#facts,
      element(
        "div",
        { class: "table events", tabindex: "0", role: "region", "aria-label": "Events" },
        element("table", {}, element("thead", {}, head), this.#rows),
      ),
    );
    this.#connect();
    this.#readJobs();
  }

  close() {
    this.#closed = true;
    this.#connection?.abort();
  }

  // ------------------------------------------------------------------------------------------ the connection

  async #connect() {
    const connection = new AbortController();
    this.#connection = connection;
    this.#pressed(false);
    const options = { cursor: this.#cursor ?? undefined, raw: true, signal: connection.signal };
    try {
      for await (const event of client.events(this.id, options)) this.#take(event);
    } catch (error) {
      if (!this.#closed) this.onProblem(error);
    }
  }

  #cut() {
    this.#connection.abort();
    this.#connection = null;
    this.#cuts += 1;
    this.#pressed(true);
    this.#row("cut", null, "the connection is cut", null, "", "");
    this.#tell("Cut. What the agent writes now is stored.");
  }

  #pressed(cut) {
    this.#switch.setAttribute("aria-pressed", String(cut));
    setText(this.#switch, cut ? "Resume my connection" : "Cut my connection");
  }

  /** Read the log again up to the last event here, and compare the ids. */
  async #compare() {
    const last = this.#ids.at(-1);
    if (!last) return;
    const stored = [];
    const reading = new AbortController();
    for await (const { id } of client.events(this.id, { raw: true, signal: reading.signal })) {
      if (id) stored.push(id);
      if (id === last) break;
    }
    reading.abort();
    const seen = new Set(this.#ids);
    const lost = stored.filter((id) => !seen.has(id)).length;
    const twice = this.#ids.length - seen.size;
    this.#tell(`Compared with the log of ${stored.length} events: ${lost} lost, ${twice} twice.`);
  }

  #tell(words = "") {
    const cuts = this.#cuts ? ` over ${this.#cuts + 1} connections` : "";
    setText(this.#facts, `${this.#ids.length} events received${cuts}. ${words}`);
  }

  // ------------------------------------------------------------------------------------------ events

  #take(event) {
    const { id, type, job_id: job, attempt, ...rest } = event;
    if (id) this.#ids.push(id);
    if (type === "job.started") this.#attempts.set(job, attempt ?? 1);
    const before = this.#cursor;
    if (id) this.#cursor = id;
    const kind = type === "gap" ? "gap" : type === "job.started" ? "attempt" : null;
    const now = performance.now();
    const after = this.#arrived == null ? "" : duration((now - this.#arrived) / 1000);
    this.#arrived = now;
    this.#row(kind, id, type, this.#attempts.get(job), after, JSON.stringify(rest), before);
    this.#tell();
    if (type.startsWith("job.")) this.#readJobs();
  }

  #row(kind, id, type, attempt, after, content, before) {
    const copy = id && element("button", { type: "button", class: "quiet", "aria-label": `Copy ${id} as curl` }, "curl");
    copy?.addEventListener("click", () => this.#copy(before));
    const cells = [
      element("td", { class: "id" }, id ?? ""),
      element("td", {}, type),
      element("td", {}, attempt == null ? "" : String(attempt)),
      element("td", {}, after),
      element("td", { class: "body" }, content),
      element("td", {}, copy),
    ];
    this.#rows.append(element("tr", { "data-kind": kind }, ...cells));
    if (this.#rows.childElementCount > MOST_ROWS) this.#rows.firstElementChild.remove();
    const box = this.#rows.closest(".events");
    if (!box.contains(document.activeElement)) box.scrollTop = box.scrollHeight;
  }

  async #copy(before) {
    const query = before ? `?last_event_id=${before}&raw=true` : "?raw=true";
    const words = `curl -N '${new URL(`v1/sessions/${this.id}/events${query}`, document.baseURI)}'`;
    await navigator.clipboard?.writeText(words).catch(() => {});
    this.#tell(words);
  }

  // ------------------------------------------------------------------------------------------ jobs

  async #readJobs() {
    try {
      const { jobs } = await call(`v1/sessions/${this.id}/jobs?limit=5`);
      if (!this.#closed) this.#jobs.replaceChildren(...jobs.flatMap((job) => this.#job(job)));
    } catch (error) {
      if (!this.#closed) this.onProblem(error);
    }
  }

  #job({ job_id: job, agent, status, attempt }) {
    const words = element("span", {}, `${agent}: ${status}${attempt > 1 ? `, attempt ${attempt}` : ""}`);
    const path = `v1/sessions/${this.id}/jobs/${job}`;
    const post = (what) => () => call(`${path}/${what}`, "POST");
    const over = ENDED.includes(status);
    if (over && this.rights.includes("submit")) return [words, action("Retry", post("retry"), this.onProblem, `Retry ${job}`)];
    if (!over && this.rights.includes("stop")) return [words, action("Cancel", post("cancel"), this.onProblem, `Cancel ${job}`)];
    return [words];
  }
}
