// Signs in where the gateway needs credentials, and says when access has ended.

import { hasTicket } from "./client.js";
import { showProblem } from "./connection.js";
import { find, showText } from "./dom.js";

const PATH = "v1/sign-in";
const CALL_TIMEOUT_MS = 15_000;

const call = (method, headers) => fetch(PATH, { method, headers, signal: AbortSignal.timeout(CALL_TIMEOUT_MS) });

/** Calls `onSignedIn()` after each sign-in. */
export class Access {
  #dialog = find("sign-in");
  #token = find("token");
  #problem = find("sign-in-problem");
  #onSignedIn;
  #signedIn = false;

  constructor(onSignedIn) {
    this.#onSignedIn = onSignedIn;
    find("sign-in-form").addEventListener("submit", (event) => this.#submitted(event));
    find("sign-out").addEventListener("click", () => call("DELETE").finally(() => location.reload()));
    this.#dialog.addEventListener("cancel", (event) => event.preventDefault()); // nothing works without a sign-in
    if (!hasTicket) this.#look();
  }

  /** Take an error of a call: if credentials are missing or have ended, ask for others. Returns whether they are. */
  take(error) {
    if (error?.status !== 401) return false;
    if (hasTicket) showProblem("Your access to this conversation has ended.");
    else this.#ask();
    return true;
  }

  async #look() {
    const response = await call("GET").catch(() => null);
    if (response?.status === 401) this.#ask();
    else if (response?.ok) this.#show(await response.json());
  }

  #ask() {
    showProblem("");
    if (this.#dialog.open) return;
    showText(this.#problem, this.#signedIn ? "Your sign-in has ended. Sign in to continue." : "");
    this.#dialog.showModal();
  }

  #show({ tenant }) {
    this.#signedIn = true;
    find("sign-out").hidden = !tenant;
  }

  async #submitted(event) {
    event.preventDefault();
    const response = await call("POST", { Authorization: `Bearer ${this.#token.value.trim()}` }).catch(() => null);
    if (!response?.ok) {
      const { detail } = (await response?.json().catch(() => null)) ?? {};
      showText(this.#problem, detail ?? "The gateway cannot be reached.");
      return;
    }
    this.#token.value = "";
    this.#dialog.close();
    this.#show(await response.json());
    this.#onSignedIn();
  }
}
