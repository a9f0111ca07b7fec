// The events of one session, over an EventSource that reconnects on its own. Each event is delivered once.

export const ORIGIN = "0-0";
const LOST_AFTER_MS = 600;
// docs/protocol.md: a stream without data for this time has lost its connection. `ping=event` sends pings as events,
// since an EventSource does not report comments.
const SILENT_AFTER_MS = 25000;
const OPEN_WITHIN_MS = 10000;
const STEADY_AFTER_MS = 500;
const BACKOFF_MS = [500, 1000, 2000, 4000, 8000, 15000];
const REMEMBERED_IDS = 20000;

/** Whether event id `a` is newer than `b`. Ids are `<epoch>-<seq>`, two integers below 2^53. */
export function newer(a, b) {
  const [epochA, seqA] = a.split("-").map(Number);
  const [epochB, seqB] = b.split("-").map(Number);
  return epochA === epochB ? seqA > seqB : epochA > epochB;
}

/**
 * `on.event(event, id)` is called once per event; id is null for events of the gateway itself. `on.state(state)` gets
 * "connecting", "live", "lost" (after some time without a connection), "gone" (the session), "resting" or "closed".
 * `on.rewind()` is called when the displayed state may be wrong and must be read again. `on.exists()` resolves to
 * whether the session exists, or rejects if that is unknown.
 */
export class Feed {
  lastId = ORIGIN;
  accepted = [];
  state = "closed";
  #on;
  #source = null;
  #url = "";
  #timers = {};
  #failures = 0;

  constructor(on) {
    this.#on = on;
  }

  /** Connect and continue after `lastId`. */
  open(url, lastId) {
    this.close();
    this.#url = url;
    this.#failures = 0;
    this.lastId = lastId;
    this.accepted = [];
    this.#become("connecting");
    this.#connect();
  }

  close() {
    this.#disconnect();
    this.#become("closed");
  }

  /** Replace the connection, which may be dead without an error. */
  reopen() {
    if (this.state === "closed" || this.state === "gone") return;
    this.#disconnect();
    this.#connect();
  }

  /** Close the connection while the tab is hidden, until `reopen`. */
  rest() {
    if (this.state !== "live") return;
    this.#disconnect();
    this.#become("resting");
  }

  /** Handle a connection that is known to be lost. */
  lose() {
    if (!this.#source) return;
    this.#clear("steady");
    this.#become("lost");
  }

  #connect() {
    const query = `ping=event&last_event_id=${this.lastId}`;
    const source = new EventSource(`${this.#url}${this.#url.includes("?") ? "&" : "?"}${query}`);
    this.#source = source;
    this.#expectWithin(OPEN_WITHIN_MS);
    source.onopen = () => {
      this.#expectWithin(SILENT_AFTER_MS);
      this.#set("steady", STEADY_AFTER_MS, () => this.#live());
    };
    source.onmessage = (message) => this.#receive(message);
    source.onerror = () => this.#failed(source);
  }

  #disconnect() {
    this.#source?.close();
    this.#source = null;
    for (const name of Object.keys(this.#timers)) this.#clear(name);
  }

  /** Count a connection as live after a short time: a stopping gateway accepts a stream and ends it at once. */
  #live() {
    this.#failures = 0;
    this.#clear("steady");
    this.#clear("lost");
    this.#become("live");
  }

  #failed(source) {
    this.#clear("steady");
    if (!this.#timers.lost) this.#set("lost", LOST_AFTER_MS, () => this.#become("lost"));
    // The browser reconnects on its own, except after an error response.
    if (source.readyState === EventSource.CLOSED) this.#retry();
    else this.#expectWithin(SILENT_AFTER_MS);
  }

  /** Replace the connection unless data arrives in time: a dead network does not close it. */
  #expectWithin(time_ms) {
    this.#set("silent", time_ms, () => {
      this.#source?.close();
      this.#clear("steady");
      this.#become("lost");
      this.#connect();
    });
  }

  #retry() {
    this.#clear("silent");
    const pause_ms = BACKOFF_MS[Math.min(this.#failures, BACKOFF_MS.length - 1)] * (0.75 + Math.random() / 2);
    this.#failures += 1;
    this.#set("retry", pause_ms, async () => {
      const exists = await this.#on.exists().catch(() => null);
      if (this.#source?.readyState !== EventSource.CLOSED) return;
      if (exists) this.#connect();
      else if (exists === null) this.#retry();
      else {
        this.#disconnect();
        this.#become("gone");
      }
    });
  }

  #receive(message) {
    const event = JSON.parse(message.data);
    this.#expectWithin(SILENT_AFTER_MS);
    this.#live();
    if (event.type === "ping") return;
    if (event.type === "job.queued") this.#on.event(event, null);
    else if (event.type === "gap") this.#gap(event);
    else if (newer(message.lastEventId, this.lastId)) this.#accept(event, message.lastEventId);
  }

  #accept(event, id) {
    if (event.from && !newer(event.from, this.lastId)) {
      this.#on.rewind(); // a merged delta that starts before the displayed end cannot be split
      return;
    }
    this.lastId = id;
    this.accepted.push(id);
    if (this.accepted.length > REMEMBERED_IDS) this.accepted.splice(0, REMEMBERED_IDS / 2);
    this.#on.event(event, id);
  }

  #gap(event) {
    if (event.reason === "lost") {
      this.#on.rewind();
      return;
    }
    if (event.reason === "expired") this.lastId = ORIGIN;
    this.#on.event(event, null);
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.#on.state(state);
  }

  #set(name, after_ms, act) {
    this.#clear(name);
    this.#timers[name] = setTimeout(() => {
      delete this.#timers[name];
      act();
    }, after_ms);
  }

  #clear(name) {
    clearTimeout(this.#timers[name]);
    delete this.#timers[name];
  }
}
