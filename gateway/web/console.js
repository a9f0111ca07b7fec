// The console: the view that the URL names, for those who may see it.

import { Access } from "./access.js";
import { showProblem } from "./connection.js";
import { call } from "./console-calls.js";
import { Overview } from "./console-overview.js";
import { SessionView } from "./console-session.js";
import { SessionsView } from "./console-sessions.js";
import { WorkersView } from "./console-workers.js";
import { find } from "./dom.js";

const SESSION = /^#\/sessions\/([A-Za-z0-9_-]{1,128})$/;

let shown = null;
let rights = [];
const access = new Access(start);

/** Show what went wrong in a view; null: nothing. */
function onProblem(error) {
  if (!error) showProblem("");
  else if (!access.take(error)) showProblem(error.message);
}

function open(view) {
  const [, session] = SESSION.exec(location.hash) ?? [];
  if (session) return new SessionView(view, onProblem, rights, session);
  if (location.hash.startsWith("#/sessions")) return new SessionsView(view, onProblem);
  if (location.hash.startsWith("#/workers")) return new WorkersView(view, onProblem, rights);
  return new Overview(view, onProblem);
}

function show() {
  if (location.hash === "#view") return;
  shown?.close();
  showProblem("");
  const view = find("view");
  view.replaceChildren();
  shown = open(view);
  const chosen = `#/${/^#\/(\w+)/.exec(location.hash)?.[1] ?? "overview"}`;
  for (const link of find("views").children) {
    if (link.getAttribute("href") === chosen) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

async function start() {
  try {
    ({ rights } = await call("v1/sign-in"));
    show();
  } catch (error) {
    onProblem(error);
  }
}

window.addEventListener("hashchange", show);
start();
