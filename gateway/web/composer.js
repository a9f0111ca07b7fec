// The form for a new message: text, agent and options. While a question waits for a text, its answer is written here.

import { client } from "./client.js";
import { inputText } from "./conversation.js";
import { element, find, setText, showText } from "./dom.js";
import { takesText } from "./form.js";
import { InputForm } from "./input-form.js";
import { keep, recall } from "./memory.js";

const AGENT = "holdfast.agent";
const OPTIONS = "holdfast.options";
const LOOK_AGAIN_MS = 2000;

/** Calls `on.send({agent, input, options})` or `on.answer(text)` after clearing the form. */
export class Composer {
  #form = find("composer");
  #input = find("input");
  #agent = find("agent");
  #send = find("send");
  #options = find("options");
  #panel = find("options-panel");
  #toggle = find("options-toggle");
  #problem = find("options-problem");
  #fields = new InputForm(find("input-fields"), () => this.#form.requestSubmit());
  #schemas = new Map();
  #question = null;
  #on;

  constructor(on) {
    this.#on = on;
    this.#form.addEventListener("submit", (event) => this.#submitted(event));
    this.#input.addEventListener("input", () => this.#changed());
    this.#input.addEventListener("keydown", (event) => this.#pressed(event));
    this.#agent.addEventListener("change", () => {
      keep("localStorage", AGENT, this.#agent.value);
      this.#hint();
      this.#changed();
    });
    this.#agent.addEventListener("focus", () => this.lookForAgents()); // new workers may offer others
    this.#toggle.addEventListener("click", () => this.#open(this.#panel.hidden));
    this.#options.addEventListener("input", () => this.#readOptions());
    this.#panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.#open(false);
      this.#toggle.focus();
    });
    this.#options.value = recall("sessionStorage", OPTIONS, "");
    this.lookForAgents();
  }

  /** Focus the input, but not on touch screens, where the keyboard would cover the answer. */
  focus() {
    if (!matchMedia("(pointer: fine)").matches) return;
    if (this.#fields.shown) this.#fields.focus();
    else this.#input.focus({ preventScroll: true });
  }

  /** Show the unsent message of a job again, and its errors. Returns the words of errors that no field shows. */
  again({ agent, input }, problem = null) {
    this.choose(agent);
    if (this.#fields.shown && typeof input === "object") {
      this.#fields.fill(input);
      this.focus();
      return problem ? this.#fields.refuse(problem) : "";
    }
    this.restore(inputText(input));
    return problem?.message ?? "";
  }

  /** Put an unsent text in front of what has been typed since. */
  restore(text) {
    this.#input.value = [text, this.#input.value].filter(Boolean).join("\n\n");
    this.#changed();
    this.focus();
  }

  /** Take the text as the answer to this question from now on; null: as a message. */
  answers(question) {
    if (question === this.#question) return;
    this.#question = question;
    setText(find("input-label"), question ? "Your answer" : "Your message");
    setText(this.#send, question ? "Answer" : "Send");
    this.#agent.hidden = Boolean(question);
    this.#toggle.hidden = Boolean(question);
    this.#hint();
    this.#changed();
  }

  /** Choose an agent, if it is offered. */
  choose(name) {
    if (!this.#schemas.has(name)) return;
    this.#agent.value = name;
    this.#hint();
    this.#changed();
  }

  /** Send a text as if it had been typed. */
  say(text) {
    this.#input.value = text;
    this.#changed();
    this.#form.requestSubmit();
  }

  async lookForAgents() {
    const offered = await client.agents({ retryMs: 0 }).catch(() => null);
    if (offered?.length) this.#offer(offered);
    else if (offered) this.#agent.replaceChildren(element("option", { value: "" }, "No agents available"));
    if (!offered?.length) setTimeout(() => this.lookForAgents(), LOOK_AGAIN_MS);
    this.#agent.disabled = !this.#agent.value;
    this.#changed();
  }

  #offer(offered) {
    this.#schemas = new Map(offered.map((agent) => [agent.name, agent.input_schema]));
    const names = [...this.#schemas.keys()];
    if (names.join() !== [...this.#agent.options].map((option) => option.value).join()) {
      const wanted = [this.#agent.value, recall("localStorage", AGENT), "demo", names[0]];
      this.#agent.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
      this.#agent.value = wanted.find((name) => names.includes(name));
    }
    this.#hint();
  }

  /** Show the input that the agent accepts: a message, the fields of an object, or JSON. */
  #hint() {
    const schema = this.#question ? {} : this.#schemas.get(this.#agent.value);
    this.#fields.show(schema);
    find("message").hidden = this.#fields.shown;
    find("ideas").hidden = this.#fields.shown; // they are texts
    const wanted = takesText(schema) ? "Write a message" : "Write JSON";
    this.#input.placeholder = this.#question ? "Answer the question" : wanted;
  }

  #changed() {
    this.#input.rows = 1;
    const line_px = Number.parseFloat(getComputedStyle(this.#input).lineHeight);
    this.#input.rows = Math.max(1, Math.min(10, Math.round((this.#input.scrollHeight - 16) / line_px)));
    const written = this.#fields.shown || this.#input.value.trim();
    this.#send.disabled = !written || !(this.#question || this.#agent.value);
  }

  #pressed(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#form.requestSubmit();
  }

  #submitted(event) {
    event.preventDefault();
    if (this.#question) {
      this.#answer(this.#input.value);
      return;
    }
    const input = this.#fields.shown ? this.#fields.read() : this.#readInput(this.#input.value.trim());
    const options = this.#readOptions();
    if (!input || !this.#agent.value) return;
    if (!options) {
      this.#open(true);
      return;
    }
    this.#clear();
    this.#on.send({ agent: this.#agent.value, input, options });
  }

  #answer(text) {
    if (!text.trim()) return;
    this.#clear();
    this.#on.answer(text);
  }

  #clear() {
    if (this.#fields.shown) this.#fields.clear();
    else this.#input.value = "";
    this.#changed();
    this.focus();
  }

  /** The input, parsed as JSON if the agent takes no text. The gateway refuses invalid JSON. */
  #readInput(written) {
    if (takesText(this.#schemas.get(this.#agent.value))) return written;
    try {
      return JSON.parse(written);
    } catch {
      return written;
    }
  }

  #open(open) {
    this.#panel.hidden = !open;
    this.#toggle.setAttribute("aria-expanded", String(open));
    if (open) this.#options.focus();
  }

  /** The options as an object. Shows the error and returns null if they are not a JSON object. */
  #readOptions() {
    const written = this.#options.value.trim();
    keep("sessionStorage", OPTIONS, this.#options.value);
    let options = null;
    try {
      options = written ? JSON.parse(written) : {};
    } catch {
      // shown below
    }
    const usable = options !== null && typeof options === "object" && !Array.isArray(options);
    showText(this.#problem, usable ? "" : 'Options are one JSON object, such as {"tokens": 200}.');
    this.#options.setAttribute("aria-invalid", String(!usable));
    return usable ? options : null;
  }
}
