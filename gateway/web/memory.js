// State in the browser's storage. Without storage the page works, with less convenience.

const WAITING = "holdfast.waiting";
const WAITING_LIMIT = 50;

export function recall(storage, name, otherwise = null) {
  try {
    return JSON.parse(window[storage].getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function keep(storage, name, value) {
  try {
    window[storage].setItem(name, JSON.stringify(value));
  } catch {
    // full or forbidden
  }
}

/** Remember a job's input until it starts: no earlier event has it. */
export function rememberInput(jobId, text) {
  const waiting = Object.entries(recall("localStorage", WAITING, {})).slice(1 - WAITING_LIMIT);
  keep("localStorage", WAITING, Object.fromEntries([...waiting, [jobId, text]]));
}

export function rememberedInput(jobId) {
  return recall("localStorage", WAITING, {})[jobId] ?? null;
}

export function forgetInput(jobId) {
  const waiting = recall("localStorage", WAITING, {});
  if (!(jobId in waiting)) return;
  delete waiting[jobId];
  keep("localStorage", WAITING, waiting);
}

/** `bytes` random bytes as base64url. */
export function randomName(bytes = 16) {
  const letters = String.fromCharCode(...crypto.getRandomValues(new Uint8Array(bytes)));
  return btoa(letters).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
