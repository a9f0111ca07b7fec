// Small buttons.

import { element, setText } from "./dom.js";

const COPIED_SHOWN_MS = 1500;

export const quietButton = (words, click) => element("button", { type: "button", class: "quiet", click }, words);

/** A button that copies the text that `textOf()` returns. */
export function copyButton(textOf) {
  const button = quietButton("Copy", copy);
  async function copy() {
    const copied = await navigator.clipboard?.writeText(textOf()).then(
      () => true,
      () => false,
    );
    setText(button, copied ? "Copied" : "Not allowed here");
    setTimeout(() => setText(button, "Copy"), COPIED_SHOWN_MS);
  }
  return button;
}
