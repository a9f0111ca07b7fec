// The overview: plots of the deployment, and its queue by agent and tenant.

import { call, duration, table } from "./console-calls.js";
import { Plot } from "./console-plot.js";
import { element } from "./dom.js";

const EVERY_MS = 1000;
const AVERAGED = 10; // overviews: workers report their counts every few seconds, with their heartbeats

const count = (value) => value.toLocaleString("en");
const rate = (value) => `${value.toFixed(value < 10 ? 1 : 0)}/s`;

export class Overview {
  #tokens = new Plot("Tokens", rate);
  #viewers = new Plot("Viewers of this gateway", count);
  #depth = new Plot("Jobs that wait", count);
  #firstToken = new Plot("First token", duration);
  #facts = element("p");
  #queue = element("div");
  #taken = [];
  #timer = 0;
  #closed = false;

  constructor(view, onProblem) {
    this.onProblem = onProblem;
    const plots = [this.#tokens, this.#viewers, this.#depth, this.#firstToken].map(({ node }) => node);
    const about = element("h2", {}, "Overview");
    view.append(about, element("div", { class: "plots" }, ...plots), this.#facts, this.#queue);
    this.#look();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #look() {
    try {
      const [overview, queue] = await Promise.all([call("v1/overview"), call("v1/queue")]);
      if (this.#closed) return;
      this.#take(overview);
      this.#draw(queue);
      this.onProblem(null);
    } catch (error) {
      if (this.#closed) return;
      this.onProblem(error);
      if (error.status === 401 || error.status === 403) return;
    }
    this.#timer = setTimeout(() => this.#look(), EVERY_MS);
  }

  #take(now) {
    if (now.deltas < this.#taken.at(-1)?.deltas) this.#taken = []; // a worker left, and took its count along
    const before = this.#taken[0];
    this.#taken = [...this.#taken, now].slice(-AVERAGED);
    this.#viewers.add(now.at, now.viewers);
    this.#depth.add(now.at, now.jobs.waiting);
    const { waiting, running, asking, deferred } = now.jobs;
    const oldest = now.oldest_wait_s == null ? "" : `, the oldest for ${duration(now.oldest_wait_s)}`;
    const counts = `${running} running, ${waiting} waiting${oldest}, ${asking} asking, ${deferred} deferred.`;
    this.#facts.textContent = `Workers: ${now.workers}. Jobs: ${counts}`;
    if (!before || now.at <= before.at) return;
    this.#tokens.add(now.at, Math.max(0, now.deltas - before.deltas) / ((now.at - before.at) / 1000));
    const begun = now.first_tokens - before.first_tokens;
    if (begun > 0) this.#firstToken.add(now.at, Math.max(0, now.first_token_s - before.first_token_s) / begun);
  }

  #draw({ agents, tenants }) {
    const states = ["waiting", "running", "asking", "deferred"];
    const rows = agents.map((row) => [row.agent, ...states.map((state) => count(row[state])), duration(row.oldest_wait_s)]);
    const columns = ["Agent", "#Waiting", "#Running", "#Asking", "#Deferred", "#Oldest wait"];
    const parts = [element("h2", {}, "Queue by agent"), table("Queue by agent", columns, rows)];
    if (tenants.length) {
      const counts = tenants.map(({ tenant, open, running }) => [tenant, count(open), count(running)]);
      parts.push(element("h2", {}, "Queue by tenant"), table("Queue by tenant", ["Tenant", "#Open", "#Running"], counts));
    }
    this.#queue.replaceChildren(...parts);
  }
}
