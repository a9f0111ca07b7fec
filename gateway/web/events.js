// What each event and each stored message changes in a job. Does not use the DOM.

import { change } from "./job.js";

/** Apply a message of the session's record to its job. */
export function takeMessage(job, { role, content, agent = null, call_id: callId, tool_calls: calls = [] }) {
  if (role === "tool") job.endTool(callId, "done", content, false, null);
  else if (content) job.items.push({ kind: "text", part: null, agent, text: content, id: null });
  for (const call of calls) {
    Object.assign(job.startTool(call.call_id, call.name, null), { state: "called", arguments: call.arguments });
  }
}

/** For each type of event that is displayed, its effect: `(job, event, id)`. */
export const TAKE = {
  "job.queued"(job, event) {
    if (job.status === "queued") job.position = event.position;
  },
  "job.started"(job, event) {
    job.position = 0;
    job.attempt = event.attempt;
    job.agent = event.agent;
    job.startedAt = event.at ?? null;
    if (event.input !== undefined) job.input = event.input;
    job.discarded = job.text + job.toBeWritten;
    job.discardedItems = [...job.countedItems, ...job.itemsToBeMade];
    job.discard(event.discard_from);
    job.status = job.items.some((item) => item.kind === "question" && item.state === "waiting") ? "waiting" : "running";
    job.kept = job.items.length + job.steps.length > 0;
  },
  status: (job, event, id) => job.steps.push({ message: event.message, id }),
  "text.delta": (job, event, id) => job.grow("text", event, id),
  "reasoning.delta": (job, event, id) => job.grow("reasoning", event, id),
  "tool.started": (job, event, id) => job.startTool(event.call_id, event.name, id),
  "tool.arguments.delta"(job, event, id) {
    const tool = job.tool(event.call_id) ?? job.startTool(event.call_id, "", id);
    job.extend(tool, "written", event.delta, event, id);
  },
  "tool.called"(job, event, id) {
    const tool = job.tool(event.call_id) ?? job.startTool(event.call_id, event.name, id);
    change(tool, id, { name: event.name, arguments: event.arguments, state: "called" });
  },
  "tool.result": (job, event, id) => job.endTool(event.call_id, "done", event.result, event.truncated, id),
  "tool.failed": (job, event, id) => job.endTool(event.call_id, "failed", event.error, event.truncated, id),
  "section.started"(job, event, id) {
    job.items.push({ kind: "section", title: event.title, index: event.index, open: true, id });
  },
  "section.ended"(job, event, id) {
    const section = job.items.findLast((item) => item.kind === "section" && item.index === event.index);
    if (section) change(section, id, { open: false });
  },
  data(job, event, id) {
    const outline =
      event.name === "outline" && job.items.find((item) => item.kind === "data" && item.name === "outline");
    if (outline) change(outline, id, { value: event.value });
    else job.items.push({ kind: "data", name: event.name, value: event.value, id });
  },
  "question.asked"(job, event, id) {
    const { question_id: questionId, prompt, schema = {}, agent = null } = event;
    job.items.push({ kind: "question", questionId, prompt, schema, agent, state: "waiting", id });
    if (!job.ended) job.status = "waiting";
  },
  "question.answered"(job, event, id) {
    const asked = job.items.findLast((item) => item.kind === "question" && item.questionId === event.question_id);
    if (asked) change(asked, id, { state: "answered", value: event.value });
    if (!job.ended) job.status = "running";
  },
  fallback(job, event, id) {
    job.items.push({ kind: "note", text: `Stream failed (${event.reason}). Continuing with ${event.to}.`, id });
  },
  usage: (job, event, id) => job.usage.push({ ...event, id }),
  "job.completed"(job, event) {
    end(job, "completed", event);
    job.result = event.result ?? null;
  },
  "job.failed"(job, event) {
    end(job, "failed", event);
    job.error = event.error;
  },
  "job.cancelled": (job, event) => end(job, "cancelled", event),
};

function end(job, status, event) {
  job.status = status;
  job.endedAt = event.at ?? job.endedAt;
}
