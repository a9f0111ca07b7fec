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
 * `blame(name, words)` shows an error at a field and returns whether it exists.
 */
export function formOf(schema, label) {
  const plain = plainOf(schema, schema);
  if (plain.type === "object" && Object.keys(plain.properties ?? {}).length) return new ObjectForm(plain, schema);
  return new Field("", label, plain, true);
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

/** An example of a value: `{"city": "…", "days": 1}`. */
export function exampleOf(schema) {
  const { properties = {} } = plainOf(schema, schema);
  const entries = Object.entries(properties).map(([name, each]) => [name, exampleValue(plainOf(each, schema))]);
  return JSON.stringify(Object.fromEntries(entries));
}

function exampleValue(plain) {
  if (plain.default != null) return plain.default;
  if (plain.enum) return plain.enum[0];
  return { string: "…", integer: 1, number: 1, boolean: true, array: [], object: {} }[plain.type] ?? null;
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
    const entries = this.fields.map((field) => [field.name, field.read()]).filter(([, value]) => value !== undefined);
    return Object.fromEntries(entries);
  }

  blame(name, words) {
    for (const field of this.fields) field.blame(field.name, "");
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
    this.input.setAttribute("aria-describedby", `${id}-problem`);
    if (plain.default !== undefined) this.fill(plain.default);
    this.problem = element("p", { class: "problem", id: `${id}-problem`, role: "alert", hidden: true });
    const words = label ?? plain.title ?? name;
    const mark = required || this.kind === "boolean" ? null : element("span", { class: "aside" }, " optional");
    const title = element("label", { for: id, class: label === null ? null : "unseen" }, words, mark);
    const hint = plain.description && name ? element("p", { class: "aside" }, plain.description) : null;
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
