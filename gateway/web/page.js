// The page: one session and its conversation, and the connection of events to views.

import * as api from "./api.js";
import { Composer } from "./composer.js";
import { showConnection, showProblem } from "./connection.js";
import { Conversation } from "./conversation.js";
import { element, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { inputText } from "./job.js";
import { forgetInput, randomName, rememberedInput, rememberInput } from "./memory.js";
import { Outbox } from "./outbox.js";
import { Turns } from "./turns.js";

const DETAILED_JOBS = 10;
const DETAIL_TIMEOUT_MS = 15000;
const AT_END_PX = 48;
const REST_AFTER_MS = 30000;
const IDEAS = ["What is a holdfast?", "Why does an answer need one?", "Tell me something long"];
const GAPS = {
  trimmed: "Part of this conversation is no longer stored.",
  expired: "Earlier messages are no longer stored.",
};

const find = (id) => document.getElementById(id);
const log = find("log");

let sessionId = "";
let untold = ""; // a session id generated here and not yet posted to
let conversation = new Conversation();
let generation = 0;
let stopping = null;
let atEnd = true;
let frame = 0;
const dirty = new Set();

const feed = new Feed({ event: take, state: showConnection, rewind: load, exists: () => api.exists(sessionId) });
const turns = new Turns(find("turns"), { cancel, answer });
const outbox = new Outbox(find("outbox"), { sent, refused });
const composer = new Composer({ send });
const otherTabs = new BroadcastChannel("holdfast");

// ---------------------------------------------------------------------------------------------- the session

/** Show the session in the URL, or a new one. */
function enter() {
  const named = /^#([A-Za-z0-9_-]{1,128})$/.exec(location.hash)?.[1];
  sessionId = named ?? (untold = randomName());
  if (!named) history.replaceState(null, "", `#${sessionId}`);
  begin([], []);
  outbox.show(sessionId);
  if (sessionId === untold) rest();
  else load();
  composer.focus();
}

/** Show an empty session, to which nothing has been posted. */
function rest() {
  generation += 1;
  feed.close();
  showConnection("closed");
  find("empty").hidden = false;
}

function begin(messages, states) {
  conversation = new Conversation(changed);
  dirty.clear();
  turns.clear();
  conversation.load(messages, states);
  for (const job of conversation.jobs) job.input ??= rememberedInput(job.id);
  draw();
}

/** Read the session's record, then its events from that cursor on. */
async function load() {
  const mine = ++generation;
  feed.close();
  try {
    const record = await api.persist(() => api.record(sessionId), { waiting: () => showConnection("lost") });
    if (mine !== generation) return;
    begin(record.messages, record.states);
    feed.open(api.eventsUrl(sessionId), record.start);
    await detail(mine);
  } catch (problem) {
    if (mine !== generation) return;
    rest();
    if (problem.status !== 404) showProblem(problem.message);
  }
}

/** Read the latest answers again from their logs while those exist: messages have no reasoning, steps or sections. */
async function detail(mine) {
  const ended = conversation.jobs
    .filter((job) => job.ended)
    .slice(-DETAILED_JOBS)
    .reverse();
  for (const { id } of ended) {
    const events = [];
    try {
      for await (const event of api.jobEvents(sessionId, id, DETAIL_TIMEOUT_MS)) events.push(event);
    } catch {
      continue;
    }
    if (mine !== generation) return;
    conversation.detail(id, events);
  }
}

// ---------------------------------------------------------------------------------------------- events

function take(event, id) {
  if (event.type === "gap") conversation.notice(GAPS[event.reason] ?? GAPS.trimmed);
  if (event.type === "session.deleted") {
    feed.close();
    showConnection("gone");
    conversation.notice("This conversation was deleted.");
  }
  const known = conversation.job(event.job_id);
  conversation.apply(event, id);
  const job = conversation.job(event.job_id);
  if (job && !known) introduce(job);
  if (event.type === "job.started") forgetInput(event.job_id);
  if (job?.ended && known && event.type.startsWith("job.")) announceEnd(job);
  if (event.type === "question.asked") setText(find("announcer"), `A question for you: ${event.prompt}`);
  changed(job);
}

function introduce(job) {
  outbox.adopt(sessionId, job);
  job.input ??= rememberedInput(job.id);
}

function announceEnd(job) {
  const words = {
    completed: "The answer is complete.",
    failed: "The answer failed.",
    cancelled: "The answer was stopped.",
  };
  setText(find("announcer"), words[job.status]);
}

// ---------------------------------------------------------------------------------------------- sending and stopping

function send(job) {
  atEnd = true;
  find("problem").hidden = true;
  find("empty").hidden = true;
  outbox.send(sessionId, job);
  outbox.show(sessionId);
  changed();
}

function sent(entry, answer) {
  rememberInput(answer.job_id, entry.job.input);
  otherTabs.postMessage(entry.sessionId);
  if (untold === entry.sessionId) untold = "";
  if (entry.sessionId !== sessionId) return;
  const job = conversation.ensure(answer.job_id);
  if (job.status === "queued") Object.assign(job, { agent: entry.job.agent, position: answer.position });
  job.input ??= entry.job.input;
  changed(job);
  if (feed.state === "closed" || feed.state === "gone") load();
}

function refused(entry, problem) {
  if (entry.sessionId === sessionId) composer.restore(inputText(entry.job.input));
  if (problem) showProblem(problem.message);
  changed();
}

async function cancel(job) {
  stopping = job.id;
  changed(job);
  try {
    await api.persist(() => api.cancel(sessionId, job.id), { waiting: (problem) => showProblem(problem.message) });
    find("problem").hidden = true;
  } catch (problem) {
    stopping = null;
    showProblem(problem.message);
    changed(job);
  }
}

/** Answer a question. Errors that the person cannot correct become the question's state, in every tab. */
async function answer(job, question, value) {
  const become = (state) => {
    if (question.state !== "answered") question.state = state;
    changed(job);
  };
  become("sending");
  try {
    const attempt = () => api.answer(sessionId, job.id, question.questionId, value);
    await api.persist(attempt, { waiting: (problem) => showProblem(problem.message) });
    find("problem").hidden = true;
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

function stop() {
  if (outbox.abort(sessionId)) return;
  const job = conversation.current;
  if (job && stopping !== job.id) cancel(job);
}

// ---------------------------------------------------------------------------------------------- drawing

/** Mark a job as changed. The page is drawn at most once per frame. */
function changed(job) {
  if (job) dirty.add(job);
  frame ||= requestAnimationFrame(draw);
}

function draw() {
  cancelAnimationFrame(frame);
  frame = 0;
  turns.render(conversation.turns, dirty);
  dirty.clear();
  if (conversation.turns.length) find("empty").hidden = true;
  drawStop();
  drawTitle();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function drawStop() {
  const job = conversation.current;
  const button = find("stop");
  button.hidden = !job;
  button.disabled = Boolean(job) && stopping === job.id;
  setText(button.firstChild, button.disabled ? "Stopping… " : "Stop ");
}

function drawTitle() {
  const [first] = conversation.jobs;
  const words = inputText(first?.input ?? null).slice(0, 60);
  const title = words ? `${words} · Holdfast` : "Holdfast";
  const { current } = conversation;
  document.title = current ? `${current.status === "waiting" ? "?" : "●"} ${title}` : title;
}

// ---------------------------------------------------------------------------------------------- wiring

for (const idea of IDEAS) {
  const button = element("button", { type: "button", click: () => composer.say(idea) }, idea);
  find("ideas").append(element("li", {}, button));
}

find("new").addEventListener("click", () => {
  untold = randomName();
  location.hash = untold;
});

find("stop").addEventListener("click", () => {
  stop();
  composer.focus();
});

find("jump").addEventListener("click", () => {
  log.scrollTop = log.scrollHeight;
  composer.focus();
});

log.addEventListener("scroll", () => {
  atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < AT_END_PX;
  find("jump").hidden = atEnd;
});

// Keep the end of the answer visible when the composer grows.
new ResizeObserver(() => {
  if (atEnd) log.scrollTop = log.scrollHeight;
}).observe(log);

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stop();
});

window.addEventListener("hashchange", enter);
window.addEventListener("offline", () => feed.lose());
window.addEventListener("online", () => feed.reopen());
window.addEventListener("pageshow", (event) => {
  if (event.persisted) feed.reopen();
});

// A browser limits the connections per host: hidden tabs close theirs while no job is open.
let restTimer = 0;
let hiddenSince = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(restTimer);
  if (document.hidden) {
    hiddenSince = Date.now();
    restTimer = setTimeout(() => conversation.current || feed.rest(), REST_AFTER_MS);
  } else if (Date.now() - hiddenSince > REST_AFTER_MS) {
    feed.reopen(); // it may have been lost while the computer slept
  }
});

otherTabs.addEventListener("message", ({ data }) => {
  if (data !== sessionId) return;
  if (feed.state === "closed") load();
  else if (feed.state === "resting") feed.reopen();
});

Object.defineProperty(window, "holdfast", {
  value: Object.freeze({
    get lastId() {
      return feed.lastId;
    },
    get accepted() {
      return [...feed.accepted];
    },
    text: (jobId) => conversation.job(jobId)?.text ?? null,
  }),
});

enter();
outbox.resume();
outbox.show(sessionId);
