// One connection for all tabs that show a session, in a SharedWorker. Without one, each tab has its own connection.

import { readEvents } from "./events.js";
import { HoldfastError } from "./http.js";

const READY_WITHIN_MS = 5000;
const SILENT_AFTER_MS = 25_000; // the worker says something every 10 s

const startWorker = (name) => new SharedWorker(new URL("./shared-worker.js", import.meta.url), { type: "module", name });

/** For the option `connect` of a client. `name`: tabs of the same name share; `worker` starts another SharedWorker. */
export function shared({ name = "", worker = startWorker } = {}) {
  let link = null;
  const linked = () => {
    if (!link || link.lost) link = new Link(() => worker(`holdfast-client ${name}`));
    return link;
  };
  return (http, path, options) => {
    // Without a name, tabs might belong to different users, whose tokens the worker could not tell apart.
    const alone = options.job || options.raw || (typeof http.headers === "function" && !name);
    if (alone || !globalThis.SharedWorker) return readEvents(http, path, options);
    return sharedEvents(linked, http, path, options);
  };
}

/** The events that the worker reads, or those of an own connection if the worker does not answer. */
async function* sharedEvents(linked, http, path, options) {
  const { wait, signal, onConnection } = options;
  let { cursor = "" } = options;
  const request = () => ({ base: http.base, headers: constant(http), path, cursor, wait });
  for (let link = linked(); !signal?.aborted; link = linked()) {
    const subscription = link.subscribe(request, http);
    const abort = () => subscription.push({ end: true });
    signal?.addEventListener("abort", abort);
    try {
      for (let message = {}; !message.lost; message = await subscription.next()) {
        if (message.connection) onConnection?.(message.connection);
        for (const event of message.events ?? []) {
          cursor = event.id ?? cursor;
          yield event;
        }
        if (message.error) throw new HoldfastError(message.error.status, message.error, message.error.retryAfterSeconds);
        if (message.end) return;
      }
    } finally {
      signal?.removeEventListener("abort", abort);
      subscription.close();
    }
    if (!link.ready) {
      yield* readEvents(http, path, { ...options, cursor });
      return;
    }
  }
}

const constant = (http) => (typeof http.headers === "function" ? null : http.headers);

/** The tab's side of the connection to the worker. `ready`: the worker has answered; `lost`: it does not any more. */
class Link {
  ready = false;
  lost = false;
  #subscriptions = new Map();
  #port;
  #timer;
  #count = 0;

  constructor(start) {
    this.#expectWithin(READY_WITHIN_MS);
    try {
      const worker = start();
      worker.addEventListener("error", () => this.#lose());
      this.#port = worker.port;
      this.#port.onmessage = ({ data }) => this.#receive(data);
    } catch {
      this.#lose();
    }
    addEventListener("visibilitychange", () => this.#say({ visible: !document.hidden }));
    addEventListener("pagehide", () => this.#say({ bye: true }));
    addEventListener("pageshow", ({ persisted }) => persisted && this.#openAll());
  }

  /** `request()` describes what to read, from the current cursor on. */
  subscribe(request, http) {
    const id = ++this.#count;
    const subscription = new Subscription(request, http, () => {
      if (this.#subscriptions.delete(id)) this.#say({ close: id });
    });
    this.#subscriptions.set(id, subscription);
    if (this.lost) subscription.push({ lost: true });
    else this.#open(id, subscription);
    return subscription;
  }

  #say(message) {
    if (!this.lost) this.#port.postMessage(message);
  }

  #open(id, subscription) {
    this.#say({ open: id, ...subscription.request(), visible: !document.hidden });
  }

  #openAll() {
    for (const [id, subscription] of this.#subscriptions) this.#open(id, subscription);
  }

  #receive({ id, headers, ...message }) {
    this.ready = true;
    this.#expectWithin(SILENT_AFTER_MS);
    const subscription = this.#subscriptions.get(id);
    if (!subscription) return;
    if (headers) this.#answer(id, headers, subscription.http);
    else subscription.push(message);
  }

  /** Give the worker current headers: it cannot call the page's callback. */
  async #answer(id, { request, refresh }, http) {
    const headers = await Promise.resolve(http.headers({ refresh })).catch(() => null);
    this.#say({ id, request, headers });
  }

  #expectWithin(time_ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#lose(), time_ms);
  }

  #lose() {
    clearTimeout(this.#timer);
    this.lost = true;
    for (const subscription of this.#subscriptions.values()) subscription.push({ lost: true });
  }
}

class Subscription {
  #waiting = [];
  #wake = () => {};

  constructor(request, http, close) {
    this.request = request;
    this.http = http;
    this.close = close;
  }

  push(message) {
    this.#waiting.push(message);
    this.#wake();
  }

  async next() {
    if (!this.#waiting.length) await new Promise((resolve) => (this.#wake = resolve));
    return this.#waiting.shift();
  }
}
