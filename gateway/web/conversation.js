// The turns of a session, from the client's messages. Does not use the DOM.

import { Turn } from "./turn.js";

/** A notice in the conversation that belongs to no job. */
export class Notice {
  constructor(text) {
    this.text = text;
  }
}

/** The jobs of a session in order, with notices between them. */
export class Conversation {
  turns = [];
  #byId = new Map();

  get jobs() {
    return [...this.#byId.values()];
  }

  /** The running job, or the next one. */
  get current() {
    const open = this.jobs.filter((turn) => !turn.ended);
    return open.find((turn) => turn.state.status !== "queued") ?? open[0];
  }

  job(id) {
    return this.#byId.get(id);
  }

  notice(text) {
    this.turns.push(new Notice(text));
  }

  /** Take the messages of the session's state. Returns the turns that are new and those that changed. */
  update(messages) {
    const states = messages.filter(({ status }) => status);
    const ids = new Set(states.map(({ job_id: id }) => id));
    this.turns = this.turns.filter((turn) => turn instanceof Notice || ids.has(turn.id));
    for (const id of this.#byId.keys()) if (!ids.has(id)) this.#byId.delete(id);
    const added = states.filter(({ job_id: id }) => !this.#byId.has(id)).map((state) => this.#add(state.job_id));
    const changed = states.map((state) => [this.#byId.get(state.job_id), state]).filter(([turn, state]) => turn.take(state));
    return { added, changed: changed.map(([turn]) => turn) };
  }

  #add(id) {
    const turn = new Turn(id);
    this.#byId.set(id, turn);
    this.turns.push(turn);
    return turn;
  }
}
