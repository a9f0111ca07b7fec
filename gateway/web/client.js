// The client of the gateway, with one connection for all tabs; or with a ticket, which is for this tab's session.

import { Client } from "./client/index.js";
import { shared } from "./client/shared.js";
import { keep, recall } from "./memory.js";

const TICKET = "holdfast.ticket";
const LINK = /^#([A-Za-z0-9_-]{1,128})~(hft_[\w.-]+)$/;

const WORKER = new URL("./client/shared-worker.js", import.meta.url).href;
// The page's Content-Security-Policy demands a policy of Trusted Types for the address of a script.
const policy = globalThis.trustedTypes?.createPolicy("holdfast", { createScriptURL: () => WORKER });

const worker = (name) => new SharedWorker(policy?.createScriptURL("") ?? WORKER, { type: "module", name });

/** Whether the URL has a ticket: `#<session>~<ticket>`, a part that browsers send to nobody. */
export const isTicketLink = () => LINK.test(location.hash);

/** Take the ticket out of the URL, or take the one that the tab had before a reload. */
function takeTicket() {
  const [, session, ticket] = LINK.exec(location.hash) ?? [];
  if (ticket) {
    history.replaceState(null, "", `#${session}`);
    keep("sessionStorage", TICKET, { session, ticket });
  }
  const kept = recall("sessionStorage", TICKET, {});
  return `#${kept.session}` === location.hash ? kept : {};
}

let { session, ticket } = takeTicket();

export const hasTicket = Boolean(ticket);

/** The headers of calls with the ticket, if there is one. */
const ticketHeaders = () => (hasTicket ? { Authorization: `Bearer ${ticket}` } : {});

function renew(renewed) {
  ({ ticket } = renewed);
  keep("sessionStorage", TICKET, { session, ticket });
}

export const client = new Client("", {
  connect: shared({ worker }),
  retryMs: Number.POSITIVE_INFINITY,
  headers: hasTicket ? ticketHeaders : {},
  onTicket: renew,
});
