// Detects that a running job sends no events, and probes whether that is because of the network.

const SILENT_MS = 3000;
const PROBE_MS = 2000;
const PROBE_AGAIN_MS = 5000;

/** Whether the gateway answers. */
async function isReachable() {
  const answer = await fetch("livez", { cache: "no-store", signal: AbortSignal.timeout(PROBE_MS) }).catch(() => null);
  return answer?.ok ?? false;
}

/**
 * Sets `silent` of the running turn, and calls `changed(turn)` when it differs: "" while events arrive, then "unknown";
 * "worker" once the gateway answers, and "network" while it does not.
 */
export class SilenceWatch {
  #changed;
  #turn = null;
  #timer = 0;

  constructor(changed) {
    this.#changed = changed;
  }

  /** Watch this turn, or none. `active`: whether an event of it has arrived since the previous call. */
  watch(turn, active) {
    if (turn === this.#turn && !active) return;
    clearTimeout(this.#timer);
    this.#set("");
    this.#turn = turn;
    this.#timer = turn ? setTimeout(() => this.#probe(), SILENT_MS) : 0;
  }

  async #probe() {
    const timer = this.#timer; // another one once something has arrived
    if (!this.#turn.silent) this.#set("unknown");
    const reachable = await isReachable();
    if (timer !== this.#timer) return;
    this.#set(reachable ? "worker" : "network");
    this.#timer = setTimeout(() => this.#probe(), PROBE_AGAIN_MS);
  }

  #set(silent) {
    if (!this.#turn || this.#turn.silent === silent) return;
    this.#turn.silent = silent;
    this.#changed(this.#turn);
  }
}
