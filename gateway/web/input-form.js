// The fields of an agent's input, in place of the message.

import { formOf, hasFields, submitOnEnter, takesText, Unfit, unplaced } from "./form.js";

/** Draws the fields into `root`; Enter in one of them calls `submit()`. */
export class InputForm {
  #root;
  #schema = null;
  #form = null;

  constructor(root, submit) {
    this.#root = root;
    submitOnEnter(root, submit);
  }

  get shown() {
    return !this.#root.hidden;
  }

  /** Show the fields of a schema, or nothing if its value is written as a text. Keeps what has been entered. */
  show(schema) {
    this.#root.hidden = takesText(schema) || !hasFields(schema);
    if (this.#root.hidden || JSON.stringify(schema) === JSON.stringify(this.#schema)) return;
    this.#schema = schema;
    this.clear();
  }

  /** Show the defaults of the fields. */
  clear() {
    this.#form = formOf(this.#schema);
    this.#root.replaceChildren(this.#form.root);
  }

  /** The object, or null after the focus has moved to a field that does not fit. */
  read() {
    try {
      return this.#form.read();
    } catch (problem) {
      if (!(problem instanceof Unfit)) throw problem;
      this.refuse(problem);
      return null;
    }
  }

  fill(value) {
    this.#form.fill(value);
  }

  /** Show errors at their fields, and focus the first. Returns the words to show elsewhere. */
  refuse(problem) {
    const words = unplaced(this.#form, problem, "input");
    this.#root.querySelector("[aria-invalid=true]")?.focus();
    return words;
  }

  focus() {
    this.#form.focus();
  }
}
