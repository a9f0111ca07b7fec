// The workers with their jobs and heartbeats. Operators drain them.

import { action, ago, call, table } from "./console-calls.js";
import { element } from "./dom.js";

const EVERY_MS = 2000;
const SHOWN_JOBS = 10;

export class WorkersView {
  #list = element("div");
  #timer = 0;
  #closed = false;

  constructor(view, onProblem, rights) {
    this.onProblem = onProblem;
    this.rights = rights;
    view.append(element("h2", {}, "Workers"), this.#list);
    this.#look();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #look() {
    try {
      const { workers } = await call("v1/workers?limit=100");
      if (this.#closed) return;
      if (!this.#list.contains(document.activeElement)) this.#draw(workers);
      this.onProblem(null);
    } catch (error) {
      if (this.#closed) return;
      this.onProblem(error);
      if (error.status === 401 || error.status === 403) return;
    }
    this.#timer = setTimeout(() => this.#look(), EVERY_MS);
  }

  #draw(workers) {
    const columns = ["Worker", "Agents", "#Jobs", "Running", "Heartbeat", "Started", "State"];
    this.#list.replaceChildren(table("Workers", columns, workers.map((worker) => this.#row(worker))));
  }

  #row(worker) {
    const links = worker.jobs
      .slice(0, SHOWN_JOBS)
      .map(({ session_id: session }) => element("a", { href: `#/sessions/${session}` }, session));
    const jobs = links.flatMap((link, at) => (at ? [", ", link] : [link]));
    if (worker.job_count > links.length) jobs.push(`, and ${worker.job_count - links.length} more`);
    return [
      element("span", { class: "id" }, worker.worker_id),
      worker.agents.join(", "),
      worker.slots == null ? `${worker.job_count}` : `${worker.job_count} of ${worker.slots}`,
      jobs.length ? element("span", {}, ...jobs) : null,
      ago(worker.beat_at),
      ago(worker.started_at),
      this.#state(worker),
    ];
  }

  #state({ worker_id: id, draining }) {
    if (draining) return "draining";
    if (!this.rights.includes("operate")) return "works";
    const drain = async () => {
      await call(`v1/workers/${encodeURIComponent(id)}/drain`, "POST");
      document.activeElement?.blur();
    };
    return action("Drain", drain, this.onProblem, `Drain ${id}`);
  }
}
