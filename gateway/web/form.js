// A form for a value with a JSON schema. Values without a simple field type are entered as JSON.

import { element, showText } from "./dom.js";

const FEW = 6;

/** An invalid input: `message` for the person, in `field`. */
export class Unfit extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/**
 * The fields for a value, inside `root`. `read()` returns the value, undefined if it was left out, or throws Unfit;
 * `blame(name, words)` shows an error at a field and returns whether it exists. The fields of an object also have
 * `fill(value)`, which sets those that the value has, and `focus()`, which focuses the first.
 */
export function formOf(schema, label) {
  const plain = plainOf(schema, schema);
  return hasFields(schema) ? new ObjectForm(plain, schema) : new Field("", label, plain, true);
}

/** Whether the form of a schema is the fields of an object. */
export function hasFields(schema) {
  const { type, properties = {} } = plainOf(schema, schema);
  return type === "object" && Object.keys(properties).length > 0;
}

/**
 * Show the errors of a Problem or an Unfit at the fields of a form, which may be null. `place` is the name of the value
 * in the request. Returns what to show elsewhere: the errors of other fields, or the message of an error without fields.
 */
export function unplaced(form, problem, place) {
  const found = problem instanceof Unfit ? [problem] : (problem.errors ?? []);
  const others = found.filter(({ field, detail, message }) => {
    const name = problem instanceof Unfit ? field : field.slice(place.length + 1);
    return !form?.blame(name, sentence(detail ?? message));
  });
  if (found.length && !others.length) return "";
  return others.map(({ detail }) => detail).join("; ") || problem.message;
}

const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);

/** Call `submit()` when Enter is pressed in a text inside `root`. Shift+Enter begins a new line. */
export function submitOnEnter(root, submit) {
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    if (!event.target.matches("textarea:not(.code)")) return;
    event.preventDefault();
    submit();
  });
}

/** The values that can be answered with one click, as [value, label] pairs; empty for other schemas. */
export function choicesOf(schema) {
  const plain = plainOf(schema, schema);
  const values = plain.type === "boolean" ? [true, false] : (plain.enum ?? []);
  return values.length <= FEW && values.every(isScalar) ? values.map((value) => [value, wordsOf(value)]) : [];
}

/** Whether a value is any text, which needs no form. */
export function isFreeText(schema) {
  const plain = plainOf(schema, schema);
  return kindOf(plain) === "text" && !plain.format;
}

/** The label of a value. */
export function wordsOf(value) {
  if (typeof value === "boolean") return value ? "Yes" : "No";
  if (value === null) return "Nothing";
  return typeof value === "object" ? JSON.stringify(value, null, 2) : String(value);
}

/** Whether the schema accepts plain text. An empty schema accepts anything. */
export function takesText(schema) {
  const plain = plainOf(schema, schema);
  const ways = plain.anyOf ?? plain.oneOf;
  return ways ? ways.some((way) => takesText(way)) : [undefined, "string"].includes(plain.type);
}

/** The schema without references and without the alternative of being null. */
function plainOf(schema, whole) {
  let plain = schema ?? {};
  for (let depth = 0; depth < 10; depth += 1) {
    const ways = (plain.anyOf ?? plain.oneOf ?? []).filter((way) => way?.type !== "null");
    const { anyOf: _, oneOf: __, ...rest } = plain;
    if (plain.$ref) plain = { ...lookUp(plain.$ref, whole), ...plain, $ref: undefined };
    else if (ways.length === 1) plain = { ...ways[0], ...rest };
    else if (plain.allOf?.length === 1) plain = { ...plain.allOf[0], ...plain, allOf: undefined };
    else break;
  }
  if ("const" in plain) return { ...plain, enum: [plain.const] };
  return plain;
}

function lookUp(reference, whole) {
  if (!reference.startsWith("#")) return {};
  const names = reference.split("/").slice(1);
  return names.reduce((found, name) => found?.[name], whole) ?? {};
}

const isScalar = (value) => value === null || typeof value !== "object";

let numbered = 0;

class ObjectForm {
  constructor(plain, whole) {
    const required = new Set(plain.required ?? []);
    this.fields = Object.entries(plain.properties).map(
      ([name, each]) => new Field(name, null, plainOf(each, whole), required.has(name)),
    );
    this.root = element("div", { class: "fields" }, ...this.fields.map((field) => field.root));
  }

  read() {
    for (const field of this.fields) field.blame("", "");
    const entries = this.fields.map((field) => [field.name, field.read()]).filter(([, value]) => value !== undefined);
    return Object.fromEntries(entries);
  }

  fill(value) {
    for (const field of this.fields) if (field.name in value) field.fill(value[field.name]);
  }

  focus() {
    this.fields[0].input.focus({ preventScroll: true });
  }

  blame(name, words) {
    return this.fields.some((field) => name.split(".")[0] === field.name && field.blame(name, words));
  }
}

class Field {
  constructor(name, label, plain, required) {
    this.name = name;
    this.required = required;
    this.plain = plain;
    this.kind = kindOf(plain);
    const id = `field-${(numbered += 1)}`;
    this.input = INPUTS[this.kind](plain, required);
    this.input.id = id;
    this.input.setAttribute("aria-describedby", `${id}-hint ${id}-problem`);
    if (plain.default !== undefined) this.fill(plain.default);
    this.problem = element("p", { class: "problem", id: `${id}-problem`, role: "alert", hidden: true });
    const words = label ?? plain.title ?? name;
    const mark = required || this.kind === "boolean" ? null : element("span", { class: "aside" }, " optional");
    const title = element("label", { for: id, class: label === null ? null : "unseen" }, words, mark);
    const hint = element("p", { class: "aside", id: `${id}-hint` });
    showText(hint, [name && plain.description, rangeOf(plain)].filter(Boolean).join(" · "));
    const both = this.kind === "boolean" ? [this.input, title] : [title, this.input];
    this.root = element("div", { class: "field", "data-kind": this.kind }, ...both, hint, this.problem);
  }

  fill(value) {
    if (this.kind === "boolean") this.input.checked = value === true;
    else if (this.kind === "choice") this.input.value = String(this.plain.enum.indexOf(value));
    else if (this.kind === "json") this.input.value = JSON.stringify(value, null, 2);
    else if (value !== null) this.input.value = String(value);
  }

  read() {
    this.blame(this.name, "");
    if (this.kind === "boolean") return this.input.checked;
    const written = this.input.value;
    if (!written.trim() && (!this.required || this.kind !== "text")) {
      if (!this.required) return undefined;
      throw new Unfit(this.name, "This is needed.");
    }
    return READ[this.kind](written, this);
  }

  blame(name, words) {
    showText(this.problem, words);
    this.input.setAttribute("aria-invalid", String(Boolean(words)));
    return true;
  }
}

/** The numbers that are allowed, in words; empty if all are. */
function rangeOf({ minimum, maximum }) {
  if (minimum !== undefined && maximum !== undefined) return `${minimum} to ${maximum}`;
  if (minimum !== undefined) return `At least ${minimum}`;
  return maximum === undefined ? "" : `At most ${maximum}`;
}

function kindOf(plain) {
  if (plain.enum?.every(isScalar)) return "choice";
  if (plain.type === undefined && !Object.keys(plain).some((key) => RULES.has(key))) return "text";
  return { string: "text", boolean: "boolean", integer: "number", number: "number" }[plain.type] ?? "json";
}

// Keywords by which a schema without a type demands more than a text.
const RULES = new Set(["anyOf", "oneOf", "allOf", "not", "if", "properties", "items", "required", "enum"]);

const INPUTS = {
  text(plain, required) {
    const { maxLength, minLength, format } = plain;
    const type = { date: "date", time: "time", email: "email", uri: "url" }[format];
    if (type) return element("input", { type, required });
    return element("textarea", { rows: 1, maxlength: maxLength, minlength: minLength });
  },
  number: (plain, required) =>
    element("input", {
      type: "number",
      inputmode: plain.type === "integer" ? "numeric" : "decimal",
      step: plain.multipleOf ?? (plain.type === "integer" ? 1 : "any"),
      min: plain.minimum,
      max: plain.maximum,
      required,
    }),
  boolean: () => element("input", { type: "checkbox" }),
  choice(plain, required) {
    const options = plain.enum.map((value, at) => element("option", { value: at }, wordsOf(value)));
    const none = element("option", { value: "" }, required ? "Choose…" : "—");
    return element("select", { required }, none, ...options);
  },
  json(plain) {
    const placeholder = plain.type === "array" ? "[…]" : "{…}";
    return element("textarea", { rows: 3, class: "code", spellcheck: "false", placeholder });
  },
};

const READ = {
  text: (written) => written,
  number: (written) => Number(written),
  choice: (written, field) => field.plain.enum[Number(written)],
  json(written, field) {
    try {
      return JSON.parse(written);
    } catch {
      throw new Unfit(field.name, "This is not JSON.");
    }
  },
};
