// Builds DOM nodes. Text always becomes a text node; markup is never parsed.

export const find = (id) => document.getElementById(id);

/** Create an element. Attributes that are false or null are left out; `class`, `data-…`, `aria-…` are plain names. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value == null) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

/** Set a node's text if it differs. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set a node's text, and hide it while that is empty. */
export function showText(node, text) {
  setText(node, text);
  node.hidden = !text;
}

/** Extend a node's only text node: append what is new. */
export function growText(node, text) {
  const shown = node.firstChild;
  if (shown && text.startsWith(shown.data)) {
    if (text.length > shown.data.length) shown.appendData(text.slice(shown.data.length));
  } else {
    node.textContent = text;
  }
}
