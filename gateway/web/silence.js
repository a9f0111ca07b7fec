// Detects that a running job sends no events: its worker has stopped, or its model is slow.

const SILENT_MS = 3000;

/** Sets `silent` of the running turn, and calls `changed(turn)` when it differs. */
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
    this.#set(false);
    this.#turn = turn;
    if (turn) this.#timer = setTimeout(() => this.#set(true), SILENT_MS);
  }

  #set(silent) {
    if (!this.#turn || this.#turn.silent === silent) return;
    this.#turn.silent = silent;
    this.#changed(this.#turn);
  }
}
