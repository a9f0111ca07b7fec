// One stream for several tabs. A tab that joins gets what it has missed from memory.

import { newer, readEvents } from "./events.js";
import { Http } from "./http.js";

const KEPT_EVENTS = 20_000;
const HEADERS_WITHIN_MS = 5000;

let requests = 0;

/** `stream` is `{base, headers, path, wait}`. `changed()` is called when it has ended. */
export class Channel {
  ended = false;
  #stream;
  #changed;
  #members = []; // {tab, id}
  #kept = []; // the events behind #base
  #base;
  #last;
  #stop = null;
  #connection;

  constructor(key, stream, cursor, changed) {
    this.key = key;
    this.#stream = stream;
    this.#base = cursor;
    this.#last = cursor;
    this.#changed = changed;
  }

  get size() {
    return this.#members.length;
  }

  get visible() {
    return this.#members.some(({ tab }) => tab.visible);
  }

  /** Whether a tab with this cursor can join: the events behind it are kept, and none of them begins before it. */
  covers(cursor) {
    if (this.ended || this.#base === null) return false;
    if (cursor === this.#base) return true;
    if (!cursor || newer(this.#base || "0-0", cursor) || !this.#last || newer(cursor, this.#last)) return false;
    const next = this.#kept.find(({ id }) => id && newer(id, cursor));
    return !next?.from || newer(next.from, cursor);
  }

  add(tab, id, cursor) {
    this.#members.push({ tab, id });
    const known = cursor === this.#base ? -1 : this.#kept.findLastIndex((event) => event.id && !newer(event.id, cursor));
    tab.port.postMessage({ id, events: this.#kept.slice(known + 1), connection: this.#connection });
  }

  remove(tab, id) {
    this.#members = this.#members.filter((member) => member.tab !== tab || member.id !== id);
  }

  /** Open the stream, or close it until it is opened again. */
  run(wanted) {
    if (!wanted) {
      this.#stop?.abort();
      this.#stop = null;
    } else if (!this.#stop && !this.ended) {
      this.#read((this.#stop = new AbortController()).signal);
    }
  }

  async #read(signal) {
    const { base, headers, path, wait } = this.#stream;
    const http = new Http(base, { headers: headers ?? (({ refresh }) => this.#headers(refresh)) });
    const onConnection = (connection) => {
      if (connection === this.#connection) return;
      this.#connection = connection;
      this.#tell({ connection });
    };
    let end = { end: true };
    try {
      for await (const event of readEvents(http, path, { cursor: this.#last, wait, signal, onConnection })) this.#take(event);
    } catch ({ status = 200, message, code, errors, retryAfterSeconds }) {
      end = { error: { status, title: message, code, errors, retryAfterSeconds } };
    }
    if (signal.aborted) return;
    this.ended = true;
    this.#tell(end);
    this.#changed();
  }

  #take(event) {
    this.#keep(event);
    this.#tell({ events: [event] });
  }

  /** Keep what a tab needs that joins later. What a gap left out is not covered. */
  #keep(event) {
    const { type, reason, id } = event;
    this.#last = id ?? this.#last;
    if (type === "gap") {
      this.#kept = [];
      this.#base = reason === "trimmed" ? null : id;
    } else if (this.#base === null) {
      this.#base = id ?? null;
    } else {
      this.#kept.push(event);
      if (this.#kept.length > KEPT_EVENTS) this.#forget();
    }
  }

  #forget() {
    const gone = this.#kept.splice(0, KEPT_EVENTS / 2);
    this.#base = gone.findLast(({ id }) => id)?.id ?? this.#base;
  }

  #tell(message) {
    for (const { tab, id } of this.#members) tab.port.postMessage({ id, ...message });
  }

  /** Ask the tabs for headers, one after the other, those that are visible first. */
  async #headers(refresh) {
    for (const member of this.#members.toSorted((a, b) => b.tab.visible - a.tab.visible)) {
      const headers = await ask(member, refresh);
      if (headers) return headers;
    }
    throw new Error("No tab has headers");
  }
}

function ask({ tab, id }, refresh) {
  const request = ++requests;
  return new Promise((resolve) => {
    setTimeout(resolve, HEADERS_WITHIN_MS);
    tab.answers.set(request, resolve);
    tab.port.postMessage({ id, headers: { request, refresh } });
  }).finally(() => tab.answers.delete(request));
}
