// Shows the state of the connection, and problems.

import { find, setText, showText } from "./dom.js";

const BACK_SHOWN_MS = 2500;
const CONNECTION = {
  connecting: "Connecting",
  live: "Connected",
  doubtful: "Reconnecting…",
  lost: "Disconnected",
  gone: "Session ended",
  closed: "Not connected",
};

let wasLost = false;

/** Show the state of the connection. */
export function showConnection(state) {
  find("connection").dataset.state = state;
  setText(find("connection-text"), CONNECTION[state]);
  const banner = find("banner");
  if (state === "lost") {
    wasLost = true;
    banner.dataset.kind = "lost";
    showText(banner, "Connection lost. Output is stored meanwhile. Reconnecting…");
  } else if (state === "live" && wasLost) {
    wasLost = false;
    banner.dataset.kind = "back";
    setText(banner, "Connected again.");
    setTimeout(() => (banner.hidden ||= !wasLost), BACK_SHOWN_MS);
  } else if (state === "gone" || state === "closed") {
    wasLost = false;
    banner.hidden = true;
  }
}

/** Show what went wrong, or that nothing did. */
export const showProblem = (words) => showText(find("problem"), words);
