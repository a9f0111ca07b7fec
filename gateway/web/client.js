// The client of the gateway, with one connection for all tabs.

import { Client } from "./client/index.js";
import { shared } from "./client/shared.js";

const WORKER = new URL("./client/shared-worker.js", import.meta.url).href;
// The page's Content-Security-Policy demands a policy of Trusted Types for the address of a script.
const policy = globalThis.trustedTypes?.createPolicy("holdfast", { createScriptURL: () => WORKER });

const worker = (name) => new SharedWorker(policy?.createScriptURL("") ?? WORKER, { type: "module", name });

export const client = new Client("", { connect: shared({ worker }), retryMs: Number.POSITIVE_INFINITY });
