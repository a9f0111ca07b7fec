// One session: its jobs, and its events as they arrive, with a switch that cuts the connection.

import { Client } from "./client/index.js";
import { newer } from "./client/events.js";
import { action, call, clock, duration } from "./console-calls.js";
import { EventTable } from "./console-events.js";
import { element, setText } from "./dom.js";

const ENDED = ["completed", "failed", "cancelled"];

const client = new Client("", { retryMs: Number.POSITIVE_INFINITY });

export class SessionView {
  #table = new EventTable({ copy: (entry) => this.#copy(entry), drawn: () => this.#tell() });
  #jobs = element("div", { class: "row" });
  #facts = element("p", { id: "facts", role: "status" });
  #switch = element("button", { type: "button", class: "action", id: "cut", "aria-pressed": "false" }, "Cut my connection");
  #ids = [];
  #attempts = new Map();
  #cursor = null;
  /** The newest event when the stream was opened: those behind it arrive as they are written. null: not known. */
  #end = null;
  #asked = null;
  #arrived_ms = null;
  #reading = false;
  #stale = false;
  #words = "";
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
    this.#switch.addEventListener("click", () => (this.#connection ? this.#cut() : this.#connect()));
    view.append(
      element("h2", {}, `Session ${id}`),
      element("p", { class: "row" }, back, chat),
      this.#jobs,
      element("div", { class: "row" }, this.#switch, check),
      this.#facts,
      this.#table.root,
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
    let state = "";
    const onConnection = (newest) => {
      if (newest !== state) this.#findEnd(newest, connection);
      state = newest;
    };
    const options = { cursor: this.#cursor ?? undefined, raw: true, signal: connection.signal, onConnection };
    try {
      for await (const event of client.events(this.id, options)) this.#take(event);
    } catch (error) {
      if (!this.#closed) this.onProblem(error);
    }
  }

  /** Find out which events arrive as they are written, once the stream is open. */
  async #findEnd(state, connection) {
    this.#end = null;
    this.#arrived_ms = null;
    const asked = (this.#asked = Symbol(state));
    if (state !== "live") return;
    const found = await call(`v1/sessions/${this.id}`).catch(() => null);
    if (asked === this.#asked && !connection.signal.aborted) this.#end = found?.cursor || null;
  }

  #cut() {
    this.#connection.abort();
    this.#connection = null;
    this.#cuts += 1;
    this.#pressed(true);
    this.#table.add({ event: { type: "the connection is cut" }, kind: "cut", time: "", after_s: null });
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

  #tell(words = this.#words) {
    this.#words = words;
    const cuts = this.#cuts ? ` over ${this.#cuts + 1} connections` : "";
    setText(this.#facts, `${this.#ids.length} events received${cuts}. ${words}`);
  }

  // ------------------------------------------------------------------------------------------ events

  #take(event) {
    const { id, type, job_id: job, attempt, at } = event;
    const before = this.#cursor;
    if (id) {
      this.#ids.push(id);
      this.#cursor = id;
    }
    this.#words = "";
    if (type === "job.started") this.#attempts.set(job, attempt ?? 1);
    const kind = { gap: "gap", "job.started": "attempt" }[type] ?? null;
    const after_s = this.#afterSeconds(id);
    const time = after_s === null ? clock(at) : `+${duration(after_s)}`;
    this.#table.add({ event, kind, attempt: this.#attempts.get(job), time, after_s, before });
    if (type.startsWith("job.")) this.#readJobs();
  }

  /** The seconds since the event before, if both have arrived as they were written. */
  #afterSeconds(id) {
    const live = id && this.#end !== null && newer(id, this.#end);
    const before = this.#arrived_ms;
    this.#arrived_ms = live ? performance.now() : null;
    return live && before !== null ? (this.#arrived_ms - before) / 1000 : null;
  }

  async #copy({ before }) {
    const query = before ? `?last_event_id=${before}&raw=true` : "?raw=true";
    const words = `curl -N '${new URL(`v1/sessions/${this.id}/events${query}`, document.baseURI)}'`;
    await navigator.clipboard?.writeText(words).catch(() => {});
    this.#tell(words);
  }

  // ------------------------------------------------------------------------------------------ jobs

  /** Read the jobs, once more if an event arrives meanwhile. */
  async #readJobs() {
    this.#stale = true;
    if (this.#reading) return;
    this.#reading = true;
    while (this.#stale && !this.#closed) {
      this.#stale = false;
      try {
        const { jobs } = await call(`v1/sessions/${this.id}/jobs?limit=5`);
        if (!this.#closed) this.#jobs.replaceChildren(...jobs.flatMap((job) => this.#job(job)));
      } catch (error) {
        if (!this.#closed) this.onProblem(error);
      }
    }
    this.#reading = false;
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
