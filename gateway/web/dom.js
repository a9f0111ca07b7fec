// Building DOM nodes. Text only ever becomes a text node: nothing here parses markup.

/** An element. `attributes` whose value is false or null are left out; `class`, `data-…`, `aria-…` are plain names. */
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

/** Set a node's text, touching the DOM only when it differs. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Let a node's one text grow: what is already there stays, only the rest is appended. */
export function growText(node, text) {
  const shown = node.firstChild;
  if (shown && text.startsWith(shown.data)) {
    if (text.length > shown.data.length) shown.appendData(text.slice(shown.data.length));
  } else {
    node.textContent = text;
  }
}
