// HTTP calls, repeated until their outcome is known.

const CALL_TIMEOUT_MS = 15_000;
const LONGEST_PAUSE_MS = 15_000;

export class HoldfastError extends Error {
  name = "HoldfastError";

  constructor(status, problem = {}, retryAfterSeconds = 0, cause = undefined) {
    const { title = status ? `HTTP status ${status}` : "The server cannot be reached", detail } = problem;
    super(detail && detail !== title ? `${title}: ${detail}` : title, { cause });
    this.status = status;
    this.code = problem.code ?? (status ? "http" : "network");
    this.errors = problem.errors ?? [];
    this.retryAfterSeconds = retryAfterSeconds;
    // The outcome is open, and the same call may be repeated.
    this.transient = [0, 502, 503, 504].includes(status);
  }
}

/** The pause before a repetition: doubled with each failure, at least `base_ms`, with jitter. */
export function backoff(failures, base_ms) {
  const pause_ms = Math.min(base_ms * 2 ** Math.min(failures, 10), Math.max(base_ms, LONGEST_PAUSE_MS));
  return pause_ms * (1 + Math.random() / 2);
}

/** Wait, but not longer than until the browser is online again or the signal, which has not aborted yet, does. */
export function pause(pause_ms, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", end);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, pause_ms);
    globalThis.addEventListener?.("online", end);
    signal?.addEventListener("abort", end);
  });
}

export class Http {
  #retry_ms;

  constructor(url, { headers = {}, onTicket, retryMs = 60_000 } = {}) {
    const { href } = new URL(url || ".", globalThis.document?.baseURI);
    this.base = href.endsWith("/") ? href : `${href}/`;
    this.headers = headers;
    this.onTicket = onTicket;
    this.#retry_ms = retryMs;
  }

  /** One request. After a 401 it is sent once more with refreshed headers. */
  async fetch(path, { headers, signal, ...init }) {
    const dynamic = typeof this.headers === "function";
    for (let refresh = false; ; refresh = true) {
      let response;
      try {
        const own = dynamic ? await this.headers({ refresh }) : this.headers;
        response = await fetch(this.base + path, { ...init, headers: { ...headers, ...own }, signal, cache: "no-store" });
      } catch (error) {
        throw new HoldfastError(0, {}, 0, error);
      }
      if (response.ok) return response;
      const problem = await response.json().catch(() => ({}));
      if (response.status === 401 && dynamic && !refresh) continue;
      throw new HoldfastError(response.status, problem, Number(response.headers.get("Retry-After")) || 0);
    }
  }

  /** The JSON answer of a call that may safely be repeated. */
  async call(path, { method = "GET", body, key, signal, onRetry, retryMs = this.#retry_ms } = {}) {
    const headers = { ...(body && { "Content-Type": "application/json" }), ...(key && { "Idempotency-Key": key }) };
    const init = { method, headers, body: body && JSON.stringify(body) };
    const until_ms = Date.now() + retryMs;
    for (let failures = 0; ; failures += 1) {
      signal?.throwIfAborted();
      try {
        const timeout = AbortSignal.timeout(CALL_TIMEOUT_MS);
        const response = await this.fetch(path, { ...init, signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
        return await response.json().catch((error) => {
          throw new HoldfastError(0, {}, 0, error);
        });
      } catch (error) {
        const pause_ms = Math.max(backoff(failures, 500), 1000 * error.retryAfterSeconds);
        if (signal?.aborted) throw signal.reason;
        if (!error.transient || Date.now() + pause_ms > until_ms) throw error;
        onRetry?.(error);
        await pause(pause_ms, signal);
      }
    }
  }
}
