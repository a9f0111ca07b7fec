// The turns of a session, from the client's messages: its state of each job, and what only the page knows. Does not use
// the DOM.

const ENDED = new Set(["completed", "failed", "cancelled"]);

// Types of parts of a discarded attempt that stay visible, beside its text, until the new attempt has caught up.
const SHOWN_DISCARDED = new Set(["reasoning", "tool", "section", "data"]);

const isCounted = (part) => SHOWN_DISCARDED.has(part.type);

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

  /** The questions that wait for an answer, as [turn, question] pairs. */
  get questions() {
    return this.jobs.flatMap((turn) => turn.questions.map((question) => [turn, question]));
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

/** One job: `state` is the client's message of it, `parts` what is shown of its output, in order. */
class Turn {
  state = {};
  parts = [];
  /** Its input; the client does not have that of a job that waits since before a reload. */
  input = null;
  /** States of its questions that only the page knows, by their ids: an answer on its way, or refused. */
  answers = new Map();
  /** Text that a takeover discarded, shown dimmed until the new attempt has as much text. */
  #discarded = "";
  /** The parts other than text of earlier attempts, including those that were kept. */
  discardedParts = [];
  /** Whether the newest attempt kept output of an earlier one. */
  kept = false;
  /** Why no event of it has arrived for a while, although it runs: see silence.js. */
  silent = "";
  #whole = false;

  constructor(id) {
    this.id = id;
  }

  get ended() {
    return ENDED.has(this.state.status);
  }

  /** The whole text of the answer. */
  get text() {
    return this.state.content;
  }

  /** The discarded text beyond the length of the new attempt's text. */
  get toBeWritten() {
    return this.ended ? "" : this.#discarded.slice(this.text.length);
  }

  /** The discarded parts beyond the number of the new attempt's parts. */
  get partsToBeMade() {
    return this.ended ? [] : this.discardedParts.slice(this.parts.filter(isCounted).length);
  }

  /** Its questions that wait for an answer. */
  get questions() {
    if (this.ended) return [];
    const state = (part) => this.answers.get(part.question_id) ?? part.state;
    return this.parts.filter((part) => part.type === "question" && state(part) === "waiting");
  }

  /** Take the client's newest state of the job. Returns whether it is another one. */
  take(state) {
    if (this.#whole || state === this.state) return false;
    if (state.discarded !== this.state.discarded) this.#discard(state);
    this.#show(state);
    return true;
  }

  /** Take what the job's own log has, which is more than the session's record of it. */
  takeWhole(state) {
    this.#show({ ...state, position: null });
    this.#whole = true;
  }

  #show(state) {
    this.state = state;
    this.parts = withOneOutline(state.parts);
    this.input = state.input ?? this.input;
  }

  #discard({ discarded, parts }) {
    const text = discarded.map((part) => (part.type === "text" ? part.text : "")).join("");
    const counted = discarded.filter(isCounted);
    this.#discarded = text + this.#discarded.slice(text.length);
    this.discardedParts = [...counted, ...this.discardedParts.slice(counted.length)];
    const ids = new Set(discarded.map(({ id }) => id));
    this.kept = parts.some(({ id }) => ids.has(id.split("~")[0]));
  }
}

/** Show a later outline in the place of the first. */
function withOneOutline(parts) {
  const [first, ...later] = parts.filter(({ type, name }) => type === "data" && name === "outline");
  if (!later.length) return parts;
  const newest = { ...later.at(-1), id: first.id };
  return parts.filter((part) => !later.includes(part)).map((part) => (part === first ? newest : part));
}

/** The text of a job's input. */
export function inputText(input) {
  if (input === null || typeof input === "string") return input ?? "";
  if (!Array.isArray(input.messages)) return JSON.stringify(input, null, 2);
  const { messages } = input;
  return messages
    .filter((message) => message.role === "user")
    .map((message) => contentText(message.content))
    .join("\n\n");
}

function contentText(content) {
  if (typeof content === "string") return content;
  const inText = Array.isArray(content) && content.every((part) => part?.type === "text");
  return inText ? content.map((part) => part.text).join("") : JSON.stringify(content, null, 2);
}
