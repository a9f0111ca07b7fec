// Small buttons.

import { element, setText } from "./dom.js";

const COPIED_SHOWN_MS = 1500;

export const quietButton = (words, click) => element("button", { type: "button", class: "quiet", click }, words);

/** Write a text to the clipboard. Returns whether that is allowed. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** Let each button inside `parent` that matches copy the text beside it. `data-copied` has the outcome for a moment. */
export function copyOnClick(parent, selector) {
  parent.addEventListener("click", async ({ target }) => {
    if (!target.matches(selector)) return;
    target.dataset.copied = await copy(target.parentNode.textContent);
    setTimeout(() => delete target.dataset.copied, COPIED_SHOWN_MS);
  });
}

/** A button that copies the text that `textOf()` returns. */
export function copyButton(textOf) {
  const button = quietButton("Copy", async () => {
    setText(button, (await copy(textOf())) ? "Copied" : "Not allowed here");
    setTimeout(() => setText(button, "Copy"), COPIED_SHOWN_MS);
  });
  return button;
}
