// An agent's question to a person: its form and its outcome.

import { element, showText } from "./dom.js";
import { choicesOf, formOf, submitOnEnter, unplaced, wordsOf } from "./form.js";

const OUTCOMES = {
  sending: "Sending your answer…",
  sent: "Answer received. The agent continues…",
  elsewhere: "Somebody has answered this already.",
  unasked: "This question is no longer open.",
  over: "Nobody answered this.",
};

/** Draws one question. `answer(value)` resolves when the answer was accepted, or rejects with a Problem. */
export class QuestionView {
  constructor(part, answer) {
    this.part = part;
    this.answer = answer;
    this.prompt = element("p", { class: "prompt", dir: "auto" }, part.prompt);
    this.outcome = element("p", { class: "outcome", role: "status" });
    this.problem = element("p", { class: "problem", role: "alert", hidden: true });
    this.given = element("div", { class: "given", hidden: true });
    this.form = this.makeForm();
    const speaker = part.agent && element("p", { class: "speaker" }, part.agent);
    this.root = element("section", { class: "question", "aria-label": "Question" }, speaker, this.prompt);
    this.root.append(this.form, this.problem, this.outcome, this.given);
  }

  render(turn) {
    const { state, question_id: id } = this.part;
    this.state = state === "answered" ? state : turn.ended ? "over" : (turn.answers.get(id) ?? state);
    const shown = this.state;
    this.root.dataset.state = shown;
    this.form.hidden = shown !== "waiting";
    showText(this.outcome, OUTCOMES[shown] ?? "");
    if (shown !== "answered" || !this.given.hidden) return;
    this.problem.hidden = true;
    this.given.hidden = false;
    this.given.append(...givenNodes(this.part.value));
  }

  makeForm() {
    const { schema, prompt } = this.part;
    const choices = choicesOf(schema);
    this.fields = choices.length ? null : formOf(schema, prompt);
    const buttons = choices.length
      ? choices.map(([value, words]) => this.makeButton("choice", words, () => value))
      : [this.makeButton("send", "Answer", () => this.fields.read())];
    const row = element("div", { class: "answers" }, ...buttons);
    const form = element("form", { autocomplete: "off", novalidate: true }, this.fields?.root, row);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") event.stopPropagation(); // which must not stop the job
    });
    submitOnEnter(form, () => this.submit(() => this.fields.read()));
    return form;
  }

  makeButton(kind, words, valueOf) {
    return element("button", { type: "submit", class: kind, click: () => this.submit(valueOf) }, words);
  }

  async submit(valueOf) {
    if (this.state !== "waiting") return;
    showText(this.problem, "");
    try {
      await this.answer(valueOf());
    } catch (problem) {
      this.refused(problem);
    }
  }

  refused(problem) {
    showText(this.problem, unplaced(this.fields, problem, "value"));
  }
}

/** Draw an answer: a text, or the fields of an object. */
function givenNodes(value) {
  if (value === null || typeof value !== "object" || Array.isArray(value) || !Object.keys(value).length) {
    return [element("p", {}, wordsOf(value))];
  }
  const rows = Object.entries(value).flatMap(([name, each]) => [
    element("dt", {}, name),
    element("dd", {}, wordsOf(each)),
  ]);
  return [element("dl", {}, ...rows)];
}
