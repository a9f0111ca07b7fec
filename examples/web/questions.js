// The fields of a question's form, from its JSON schema, and the answer that they hold.

const TYPES = { integer: "number", number: "number", boolean: "checkbox" };

/** One field for each property of an object, otherwise one for the value. `choices` are those of an enum. */
export function fieldsOf({ properties, required = [], ...schema } = {}) {
  if (!properties) return [field("text", schema.type === "boolean" ? { enum: [true, false] } : schema, true)];
  return Object.entries(properties).map(([name, each]) => field(name, each, required.includes(name)));
}

function field(name, { title, type, format, enum: choices }, required) {
  const kind = format === "date" ? "date" : (TYPES[type] ?? "text");
  return { name, label: title ?? name, type: kind, choices, required: required && kind !== "checkbox" };
}

/** The answer in a form with these fields: a text, or what the schema wants. Empty fields are left out. */
export function answerIn(form, schema = {}) {
  const values = fieldsOf(schema).map(({ name, type, choices }) => {
    const { value, checked } = form.elements.namedItem(name);
    if (type === "checkbox") return [name, checked];
    if (choices) return [name, choices.find((choice) => String(choice) === value)];
    if (type === "number" && value !== "") return [name, Number(value)];
    return [name, value === "" ? undefined : value];
  });
  return schema.properties ? Object.fromEntries(values) : values[0][1];
}
