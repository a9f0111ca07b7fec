// The calls of the console, and the tables of its views.

import { element } from "./dom.js";

const CALL_TIMEOUT_MS = 15_000;

/** An answer with an error status. `status` is 0 where there was no answer. */
export class CallError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Call the API. Returns the JSON of the answer; throws CallError, also for an answer that cannot be read to its end. */
export async function call(path, method = "GET", headers = {}) {
  const response = await fetch(path, { method, headers, signal: AbortSignal.timeout(CALL_TIMEOUT_MS) }).catch(() => null);
  if (!response) throw new CallError(0, "The gateway cannot be reached.");
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new CallError(response.status, answer?.detail ?? `The gateway answered ${response.status}.`);
  if (!answer) throw new CallError(0, "The gateway's answer could not be read.");
  return answer;
}

/** A table in a box that scrolls. `columns`: names; one that begins with # has numbers. `rows`: lists of cells. */
export function table(label, columns, rows) {
  const classes = columns.map((name) => (name.startsWith("#") ? "number" : null));
  const head = columns.map((name, at) => element("th", { scope: "col", class: classes[at] }, name.replace("#", "")));
  const body = rows.map((cells) =>
    element("tr", {}, ...cells.map((cell, at) => element("td", { class: classes[at] }, cell ?? "–"))),
  );
  if (!rows.length) body.push(element("tr", {}, element("td", { class: "none", colspan: columns.length }, "None.")));
  return element(
    "div",
    { class: "table", tabindex: "0", role: "region", "aria-label": label },
    element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body)),
  );
}

/** A duration in words: 40 ms, 1.4 s, 12 s, 3 min, 5 h. */
export function duration(seconds) {
  if (seconds == null) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

/** A time of the day, in ms since 1970. */
export const clock = (at) => {
  const digits = { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" };
  return at == null ? "" : new Date(at).toLocaleTimeString("en", digits);
};

/** How long ago a time is, in ms since 1970 by this machine's clock. */
export const ago = (at) => (at == null ? "–" : `${duration(Math.max(0, (Date.now() - at) / 1000))} ago`);

/** A button that is disabled during its call. `act` may throw: `onProblem` has the error. */
export function action(words, act, onProblem, label = null) {
  const button = element("button", { type: "button", class: "action", "aria-label": label }, words);
  button.addEventListener("click", async () => {
    button.disabled = true;
    await act().catch(onProblem);
    button.disabled = false;
  });
  return button;
}
