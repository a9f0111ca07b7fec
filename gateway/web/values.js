// Draws a JSON value as DOM nodes.

import { element } from "./dom.js";

/** Strings as a list, rows as a table, the rest as JSON. */
export function valueNode(value) {
  const entries = Array.isArray(value) ? value : (value?.sections ?? value?.items);
  if (Array.isArray(entries) && entries.length) {
    const words = entries.map((entry) => (typeof entry === "string" ? entry : entry?.title));
    if (words.every((word) => typeof word === "string")) return listNode(words);
    if (entries.every(isFlat)) return tableNode(entries);
  }
  return element("pre", { tabindex: "0" }, textOf(value));
}

function listNode(words) {
  return element("ol", {}, ...words.map((word) => element("li", {}, word)));
}

function isFlat(row) {
  const flat = (cell) => cell === null || typeof cell !== "object";
  return !flat(row) && Object.values(row).every(flat);
}

function tableNode(rows) {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const line = (cells, tag) => element("tr", {}, ...cells.map((cell) => element(tag, {}, cell)));
  const body = rows.map((row) =>
    line(
      columns.map((column) => String(row[column] ?? "")),
      "td",
    ),
  );
  const table = element("table", {}, element("thead", {}, line(columns, "th")), element("tbody", {}, ...body));
  return element("div", { class: "table", tabindex: "0" }, table);
}

/** A string as it is, other values as JSON. */
export function textOf(value) {
  return typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "");
}
