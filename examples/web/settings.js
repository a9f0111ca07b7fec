// Where the gateway is, whom to ask, and in which session: from the page's address, for example `plain.html?agent=mine`.
import { address } from "./build/gateway.js"; // where `run` starts it

const given = new URLSearchParams(location.search);

export const gateway = given.get("gateway") ?? address;
export const agent = given.get("agent") ?? "demo";
// Without a session in the address, each tab has its own, which a refresh keeps.
export const sessionId = given.get("session") ?? (sessionStorage.session ??= crypto.randomUUID());
