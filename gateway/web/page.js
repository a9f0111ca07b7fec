// The page: one session and its conversation, and the connection of events to views.

import { Access } from "./access.js";
import { client, hasTicket, isTicketLink } from "./client.js";
import { Composer } from "./composer.js";
import { showConnection, showProblem } from "./connection.js";
import { Conversation, inputText } from "./conversation.js";
import { element, find, setText } from "./dom.js";
import { drawWithFocus } from "./focus.js";
import { Follower } from "./follower.js";
import { isFreeText } from "./form.js";
import { forgetInput, randomName, rememberedInput, rememberInput } from "./memory.js";
import { Outbox } from "./outbox.js";
import { SessionList } from "./session-list.js";
import { SilenceWatch } from "./silence.js";
import { Turns } from "./turns.js";

const DETAILED_JOBS = 10;
const DETAIL_TIMEOUT_MS = 15000;
const REMEMBERED_IDS = 20000;
const IDEAS = ["What is a holdfast?", "Why does an answer need one?", "Tell me something long"];
const GAPS = {
  trimmed: "Part of this conversation is no longer stored.",
  expired: "Earlier messages are no longer stored.",
};
const ENDS = {
  completed: "The answer is complete.",
  failed: "The answer failed.",
  cancelled: "The answer was stopped.",
};

let session = null;
let leave = () => {};
let conversation = new Conversation();
let detailed = false;
let accepted = [];
let stopping = null;
let edited; // what the message that is being edited follows: a job, or null for none
let frame = 0;
const dirty = new Set();

const turns = new Turns(find("turns"), { cancel, answer, retry, edit });
const outbox = new Outbox(find("outbox"), { submit, sent, refused });
const composer = new Composer({ send, answer: answerText });
const access = new Access(enter);
new SessionList((error) => access.take(error));
const silence = new SilenceWatch(showSilence);
const jump = find("jump");
const follower = new Follower(find("log"), (following) => (jump.hidden = following));

// ---------------------------------------------------------------------------------------------- the session

/** Show the session in the URL, or a new one. */
function enter() {
  if (isTicketLink()) location.reload();
  const named = /^#([A-Za-z0-9_-]{1,128})$/.exec(location.hash)?.[1];
  const id = named ?? randomName();
  if (!named) history.replaceState(null, "", `#${id}`);
  leave();
  silence.watch(null);
  session = client.session(id);
  conversation = new Conversation();
  detailed = false;
  accepted = [];
  edited = undefined;
  dirty.clear();
  turns.clear();
  follower.follow();
  leave = session.subscribe(take);
  outbox.show(id);
  showConnection("connecting");
  changed();
  composer.focus();
}

/** Read the latest answers again from their logs while those exist: messages have no reasoning, steps or sections. */
async function detail(shown) {
  const ended = shown.jobs
    .filter((turn) => turn.ended)
    .slice(-DETAILED_JOBS)
    .reverse();
  for (const turn of ended) {
    const target = { session_id: session.id, job_id: turn.id };
    const signal = AbortSignal.timeout(DETAIL_TIMEOUT_MS);
    const whole = await client.read(target, { signal }).catch(() => null);
    if (shown !== conversation) return;
    if (!whole || whole.gap || whole.status !== turn.state.status) continue;
    turn.takeWhole(whole);
    changed(turn);
  }
}

// ---------------------------------------------------------------------------------------------- events

function take({ messages, connection, error }, events) {
  for (const { type, reason } of events) if (type === "gap" && GAPS[reason]) conversation.notice(GAPS[reason]);
  const { added, changed: others } = conversation.update(messages);
  for (const turn of added) introduce(turn);
  for (const turn of others) changed(turn);
  for (const event of events) announce(event, added);
  accepted.push(...events.map(({ id }) => id).filter(Boolean));
  if (accepted.length > REMEMBERED_IDS) accepted = accepted.slice(-REMEMBERED_IDS / 2);
  const { current } = conversation;
  const running = connection === "live" && current?.state.status === "running" ? current : null;
  silence.watch(running, others.includes(running));
  if (running?.silent !== "network") showConnection({ deleted: "gone", failed: "closed" }[connection] ?? connection);
  if (error && !access.take(error)) showProblem(error.message);
  if (!detailed && connection === "live") {
    detailed = true;
    detail(conversation);
  }
  changed();
}

function introduce(turn) {
  outbox.adopt(session.id, turn);
  turn.input ??= rememberedInput(turn.id);
}

/** Tell a screen reader what happened, except in jobs that have just appeared. */
function announce({ type, job_id: id, prompt }, added) {
  if (type === "session.deleted") conversation.notice("This conversation was deleted.");
  if (type === "job.started") forgetInput(id);
  if (type === "question.asked") setText(find("announcer"), `A question for you: ${prompt}`);
  const turn = conversation.job(id);
  if (turn?.ended && !added.includes(turn) && type.startsWith("job.")) setText(find("announcer"), ENDS[turn.state.status]);
}

function showSilence(turn) {
  showConnection(turn.silent === "network" ? "doubtful" : "live");
  changed(turn);
}

// ---------------------------------------------------------------------------------------------- sending and stopping

function send(job) {
  follower.follow();
  showProblem("");
  outbox.send(session.id, { ...job, after: edited });
  edited = undefined;
  outbox.show(session.id);
  changed();
}

function submit({ sessionId, job: { input, agent, options, after } }, how) {
  const target = sessionId === session.id ? session : client.session(sessionId);
  return target.send(input, { agent, options, after, ...how });
}

function sent(entry, { job_id: id }) {
  rememberInput(id, entry.job.input);
  changed();
}

function refused(entry, problem) {
  const shown = entry.sessionId === session.id;
  if (shown) edited = entry.job.after;
  const words = shown ? composer.again(entry.job, problem) : (problem?.message ?? "");
  if (problem && !access.take(problem)) showProblem(words);
  changed();
}

const onRetry = ({ message }) => showProblem(message);

async function cancel(turn) {
  stopping = turn.id;
  changed(turn);
  try {
    await session.cancel(turn.id, { onRetry });
    showProblem("");
  } catch (problem) {
    stopping = null;
    showProblem(problem.message);
    changed(turn);
  }
}

async function retry(turn) {
  follower.follow();
  try {
    const { job_id: id } = await session.retry(turn.id, { onRetry });
    showProblem("");
    rememberInput(id, turn.input);
  } catch (problem) {
    if (!access.take(problem)) showProblem(problem.message);
  }
}

/** Write a message once more; sending it replaces the turn and those behind it. */
function edit(turn) {
  edited = turn.state.after;
  composer.again({ agent: turn.state.agent, input: turn.input });
}

/** Answer a question. Errors that the person cannot correct become the question's state. */
async function answer(turn, { question_id: questionId }, value) {
  const become = (state) => {
    turn.answers.set(questionId, state);
    changed(turn);
  };
  become("sending");
  try {
    await client.answer({ session_id: session.id, job_id: turn.id }, value, { questionId, onRetry });
    showProblem("");
    become("sent");
  } catch (problem) {
    if (problem.status === 409) become("elsewhere");
    else if (problem.status === 404) become("unasked");
    else {
      become("waiting");
      throw problem;
    }
  }
}

/** The question that the composer answers, with its turn: the oldest that takes any text. */
const openQuestion = () => conversation.questions.find(([, question]) => isFreeText(question.schema)) ?? [];

async function answerText(text) {
  const asked = openQuestion();
  try {
    await answer(...asked, text);
  } catch (problem) {
    composer.restore(text);
    showProblem(problem.errors?.map(({ detail }) => detail).join("; ") || problem.message);
  }
}

function stop() {
  if (outbox.abort(session.id)) return;
  const turn = conversation.current;
  if (turn && stopping !== turn.id) cancel(turn);
}

// ---------------------------------------------------------------------------------------------- drawing

/** Mark a turn as changed. The page is drawn at most once per frame. */
function changed(turn) {
  if (turn) dirty.add(turn);
  frame ||= requestAnimationFrame(() => drawWithFocus(draw, () => composer.focus()));
}

function draw() {
  cancelAnimationFrame(frame);
  frame = 0;
  turns.render(conversation.turns, dirty);
  dirty.clear();
  find("empty").hidden = conversation.turns.length > 0 || outbox.holds(session.id);
  composer.answers(openQuestion()[1]?.question_id ?? null);
  drawStop();
  drawTitle();
  follower.keep();
}

function drawStop() {
  const turn = conversation.current;
  const button = find("stop");
  button.hidden = !turn;
  button.disabled = Boolean(turn) && stopping === turn.id;
  setText(button.firstChild, button.disabled ? "Stopping… " : "Stop ");
}

function drawTitle() {
  const [first] = conversation.jobs;
  const words = inputText(first?.input ?? null).slice(0, 60);
  const title = words ? `${words} · Holdfast` : "Holdfast";
  const { current } = conversation;
  document.title = current ? `${current.state.status === "waiting" ? "?" : "●"} ${title}` : title;
}

// ---------------------------------------------------------------------------------------------- wiring

for (const idea of IDEAS) {
  const button = element("button", { type: "button", click: () => composer.say(idea) }, idea);
  find("ideas").append(element("li", {}, button));
}

find("new").hidden = hasTicket;
find("new").addEventListener("click", () => {
  location.hash = randomName();
});

find("stop").addEventListener("click", () => {
  stop();
  composer.focus();
});

jump.addEventListener("click", () => {
  follower.follow();
  composer.focus();
});

document.addEventListener("keydown", (event) => {
  // Elsewhere Escape closes a dialog or leaves a field.
  if (event.key === "Escape" && !event.isComposing && event.target.closest("#composer, #log")) stop();
});

find("input").addEventListener("input", ({ target }) => {
  if (!target.value) edited = undefined; // what is written next is another message
});

window.addEventListener("hashchange", enter);
window.addEventListener("offline", () => showConnection("lost"));

Object.defineProperty(window, "holdfast", {
  value: Object.freeze({
    get accepted() {
      return [...accepted];
    },
    text: (jobId) => conversation.job(jobId)?.text ?? null,
  }),
});

enter();
outbox.resume();
outbox.show(session.id);
