// Renders a subset of Markdown as DOM nodes while its text is growing: headings, paragraphs, lists, quotes, code,
// tables, rules; bold, emphasis, strike-through, code and links inside them. Everything else is shown as plain text.

import { element } from "./dom.js";

// Every regular expression here takes linear time: none has two adjacent repetitions that match the same characters.
const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?: +|$)/;
const TABLE_RULE_CELL = /^:?-+:?$/;
const MAX_DEPTH = 8;
// A block may still change while the one after it has only begun.
const OPEN_BLOCKS = 2;

/** Draws a growing text into `parent`. Complete blocks are never changed again. */
export class Markdown {
  #parent;
  #settled = 0;
  #open = [];

  constructor(parent) {
    this.#parent = parent;
  }

  /** `text` must begin with the text of the previous call. */
  update(text) {
    const blocks = split(text.slice(this.#settled));
    const drawn = blocks.map((block, index) => this.#draw(block, index));
    for (const old of this.#open.slice(blocks.length)) old.node.remove();
    const settling = Math.max(0, drawn.length - OPEN_BLOCKS);
    if (settling) this.#settled += blocks[settling - 1].end;
    this.#open = drawn.slice(settling);
  }

  #draw(block, index) {
    const old = this.#open[index];
    if (old && old.kind === block.kind) {
      if (old.source === block.source) return old;
      if (block.source.startsWith(old.source) && old.grow?.(block.source))
        return Object.assign(old, { source: block.source });
    }
    const fresh = draw(block, 0);
    if (old) old.node.replaceWith(fresh.node);
    else this.#parent.append(fresh.node);
    return { ...fresh, kind: block.kind, source: block.source };
  }
}

/** Split a text into blocks: `{kind, source, end}`, where `end` is the offset after the block. */
function split(text) {
  const lines = [...linesOf(text)];
  const blocks = [];
  for (let at = 0; at < lines.length;) {
    if (!lines[at].text.trim()) {
      at += 1;
      continue;
    }
    const kind = kindOf(lines, at);
    const after = END[kind](lines, at);
    const source = lines
      .slice(at, after)
      .map((line) => line.text)
      .join("\n");
    blocks.push({ kind, source, end: lines[after - 1].end });
    at = after;
  }
  return blocks;
}

function* linesOf(text) {
  for (let start = 0; start < text.length;) {
    const newline = text.indexOf("\n", start);
    const end = newline < 0 ? text.length : newline + 1;
    yield { text: text.slice(start, newline < 0 ? end : newline).replace(/\r$/, ""), end };
    start = end;
  }
}

function kindOf(lines, at) {
  const line = lines[at].text;
  if (fenceOf(line)) return "code";
  if (HEADING.test(line)) return "heading";
  if (RULE.test(line)) return "rule";
  if (QUOTE.test(line)) return "quote";
  if (ITEM.test(line)) return "list";
  if (line.includes("|") && at + 1 < lines.length && isTableRule(lines[at + 1].text)) return "table";
  return "paragraph";
}

function isTableRule(line) {
  return line.includes("|") && cellsOf(line).every((cell) => TABLE_RULE_CELL.test(cell));
}

/** `[fence, language]` of a line that begins a block of code, else null. */
function fenceOf(line) {
  const fence = FENCE.exec(line)?.[1];
  const info = fence && line.slice(line.indexOf(fence) + fence.length);
  return !fence || info.includes("`") ? null : [fence, /^[\w+#.-]*/.exec(info.trim())[0]];
}

/** The text of a heading's line, without its marks. */
function titleOf(line, marks) {
  const words = line.slice(line.indexOf(marks) + marks.length).trim();
  let end = words.length;
  while (words[end - 1] === "#") end -= 1;
  return end === 0 || /[ \t]/.test(words[end - 1]) ? words.slice(0, end).trim() : words;
}

// For each kind, the index of the first line after a block that begins at `at`.
const END = {
  code(lines, at) {
    const [fence] = fenceOf(lines[at].text);
    const closing = new RegExp(`^ {0,3}${fence[0]}{${fence.length},}[ \t]*$`);
    for (let next = at + 1; next < lines.length; next += 1) if (closing.test(lines[next].text)) return next + 1;
    return lines.length;
  },
  heading: (lines, at) => at + 1,
  rule: (lines, at) => at + 1,
  quote: (lines, at) => while_(lines, at, (line) => QUOTE.test(line)),
  table: (lines, at) => while_(lines, at, (line) => line.includes("|")),
  paragraph: (lines, at) =>
    while_(lines, at, (line, next) => line.trim() !== "" && (next === at || !interrupts(kindOf(lines, next), line))),
  list(lines, at) {
    const mark = markOf(lines[at].text);
    return while_(lines, at, (line, next) => {
      const item = ITEM.exec(line);
      if (item) return /^ {2,3}/.test(line) || (markOf(line) === mark && !RULE.test(line));
      if (/^(?: {2}|\t)/.test(line)) return true;
      if (line.trim()) return lines[next - 1].text.trim() !== "" && kindOf(lines, next) === "paragraph";
      const following = firstWritten(lines, next)?.text;
      return (
        following !== undefined &&
        (/^(?: {2}|\t)/.test(following) || (ITEM.test(following) && markOf(following) === mark))
      );
    });
  },
};

// The next line that is not blank, cached for the blank lines in front of it.
const written = new WeakMap();

function firstWritten(lines, at) {
  let next = written.get(lines) ?? -1;
  if (next < at) {
    next = at;
    while (next < lines.length && !lines[next].text.trim()) next += 1;
    written.set(lines, next);
  }
  return lines[next];
}

function while_(lines, at, holds) {
  let next = at;
  while (next < lines.length && holds(lines[next].text, next)) next += 1;
  return Math.max(next, at + 1);
}

/** A numbered line inside a paragraph begins a list only when its number is 1: "in\n1969. Then" is prose. */
function interrupts(kind, line) {
  if (kind !== "list") return kind !== "paragraph";
  return /^ {0,3}(?:[-*+]|1[.)]) /.test(line);
}

function markOf(line) {
  const mark = ITEM.exec(line)[2];
  return /\d/.test(mark) ? mark.at(-1) : mark;
}

function draw(block, depth) {
  return depth > MAX_DEPTH ? { node: element("p", {}, block.source) } : DRAW[block.kind](block.source, depth);
}

function drawAll(parent, text, depth) {
  for (const block of split(text)) parent.append(draw(block, depth).node);
  return parent;
}

// For each kind: `{node, grow?}`. `grow(source)` returns whether the node could be extended to a longer source.
const DRAW = {
  code(source) {
    const [first, ...rest] = source.split("\n");
    const [fence, language] = fenceOf(first);
    const code = element("code", {}, bodyOf(rest, fence));
    const node = element("pre", { "data-language": language || null, tabindex: "0" }, code);
    const head = first;
    const grow = (longer) => {
      const lines = longer.split("\n");
      if (lines[0] !== head) return false;
      const body = bodyOf(lines.slice(1), fence);
      if (!body.startsWith(code.firstChild?.data ?? "")) code.textContent = body;
      else if (code.firstChild) code.firstChild.appendData(body.slice(code.firstChild.data.length));
      else code.append(body);
      return true;
    };
    return { node, grow };
  },
  heading(source) {
    const [, marks] = HEADING.exec(source);
    const node = element(`h${Math.min(6, marks.length + 2)}`);
    inline(node, titleOf(source, marks), 0);
    return { node };
  },
  rule: () => ({ node: element("hr") }),
  quote(source, depth) {
    const inner = source
      .split("\n")
      .map((line) => line.replace(QUOTE, ""))
      .join("\n");
    return { node: drawAll(element("blockquote"), inner, depth + 1) };
  },
  paragraph(source) {
    const node = element("p");
    let plain = inline(node, source, 0);
    let length = source.length;
    const grow = (longer) => {
      // Only text without markup is appended; the last characters are checked again for a "http" + "://".
      if (
        !plain ||
        node.lastChild?.nodeType !== Node.TEXT_NODE ||
        meansSomething(longer.slice(Math.max(0, length - 8)))
      ) {
        return false;
      }
      node.lastChild.appendData(longer.slice(length));
      length = longer.length;
      return true;
    };
    return { node, grow };
  },
  list(source, depth) {
    const items = itemsOf(source);
    const number = /^\s*(\d+)/.exec(source);
    const node = number ? element("ol", { start: number[1] === "1" ? null : number[1] }) : element("ul");
    for (const item of items) node.append(drawAll(element("li"), item, depth + 1));
    return { node };
  },
  table(source) {
    const [head, , ...rows] = source.split("\n").map(cellsOf);
    const row = (cells, tag) => {
      const node = element("tr");
      for (const cell of cells) {
        const box = element(tag);
        inline(box, cell, 0);
        node.append(box);
      }
      return node;
    };
    const body = element("tbody", {}, ...rows.map((cells) => row(cells, "td")));
    const table = element("table", {}, element("thead", {}, row(head, "th")), body);
    return { node: element("div", { class: "table", tabindex: "0" }, table) };
  },
};

function bodyOf(lines, fence) {
  const last = lines.at(-1);
  const closed = last !== undefined && new RegExp(`^ {0,3}${fence[0]}{${fence.length},}[ \t]*$`).test(last);
  // A partial closing fence at the very end would flash as code.
  const partial = !closed && last !== undefined && last !== "" && fence.startsWith(last.trimStart());
  return (closed || partial ? lines.slice(0, -1) : lines).join("\n");
}

function itemsOf(source) {
  const indent = ITEM.exec(source.split("\n", 1)[0])[1].length;
  const items = [];
  let width = 0;
  for (const line of source.split("\n")) {
    const item = ITEM.exec(line);
    if (item && item[1].length < indent + 2) {
      items.push([line.slice(item[0].length)]);
      width = item[0].length;
    } else {
      items.at(-1).push(line.replace(new RegExp(`^(?:\t| {1,${width}})`), ""));
    }
  }
  return items.map((lines) => lines.join("\n"));
}

function cellsOf(line) {
  return line
    .trim()
    .replace(/^\||\|$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll("\\|", "|"));
}

const SPECIAL = /[\\`*_~[]|https?:\/\//g;
const LINK = /\[([^\]\n]{1,500})\]\(((?:https?:\/\/|mailto:)[^\s()<>]{1,2000})\)/y;
const ADDRESS = /https?:\/\/[^\s<>"'`*]{1,2000}/y;
const MARKS = { "**": "strong", __: "strong", "~~": "del", "*": "em", _: "em" };

function meansSomething(text) {
  SPECIAL.lastIndex = 0;
  return SPECIAL.test(text);
}

/** Draw inline text into `parent`. Returns whether no mark is left that later text could still complete. */
function inline(parent, text, depth) {
  let plain = true;
  let pending = "";
  const missing = new Set();
  const flush = () => {
    if (pending) parent.append(pending);
    pending = "";
  };
  for (let at = 0; at < text.length;) {
    SPECIAL.lastIndex = at;
    const next = SPECIAL.exec(text)?.index ?? text.length;
    pending += text.slice(at, next);
    if (next === text.length) break;
    const piece = depth < MAX_DEPTH ? pieceAt(text, next, depth, missing) : null;
    if (piece === null || piece.open) plain = false;
    if (piece?.node) {
      flush();
      parent.append(piece.node);
    } else {
      pending += piece?.text ?? text[next];
    }
    at = piece?.end ?? next + 1;
  }
  flush();
  return plain;
}

/** The inline element at the mark at `at`: `{node, end}`, `{text, end}` for plain text, null for one character. */
function pieceAt(text, at, depth, missing) {
  switch (text[at]) {
    case "\\":
      return /[!-/:-@[-`{-~]/.test(text[at + 1] ?? "") ? { text: text[at + 1], end: at + 2 } : null;
    case "`":
      return codeAt(text, at, missing);
    case "[":
      return linkAt(text, at);
    case "h":
      return addressAt(text, at);
    default:
      return markedAt(text, at, depth, missing);
  }
}

function codeAt(text, at, missing) {
  const fence = /`+/y;
  fence.lastIndex = at;
  const [run] = fence.exec(text);
  const end = missing.has(run) ? -1 : text.indexOf(run, at + run.length);
  if (end < 0) {
    missing.add(run);
    return { text: run, end: at + run.length, open: true };
  }
  const inner = text.slice(at + run.length, end);
  const padded = inner.startsWith(" ") && inner.endsWith(" ") && inner.trim();
  return { node: element("code", {}, padded ? inner.slice(1, -1) : inner), end: end + run.length };
}

function linkAt(text, at) {
  LINK.lastIndex = at;
  const found = LINK.exec(text);
  return found && { node: anchor(found[2], found[1]), end: LINK.lastIndex };
}

function addressAt(text, at) {
  ADDRESS.lastIndex = at;
  const found = ADDRESS.exec(text)?.[0] ?? "";
  let length = found.length;
  while (".,;:!?)]".includes(found[length - 1] ?? " ")) length -= 1;
  const address = found.slice(0, length);
  if (address.length <= 8) return null;
  // At the current end of the text, a full stop may still turn out to be part of the link.
  return { node: anchor(address, address), end: at + address.length, open: ADDRESS.lastIndex === text.length };
}

function anchor(address, label) {
  return element("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, label);
}

function markedAt(text, at, depth, missing) {
  const mark = text[at + 1] === text[at] ? text[at] + text[at] : text[at];
  const start = at + mark.length;
  const tag = MARKS[mark];
  const opens = tag && /\S/.test(text[start] ?? "") && !(mark[0] === "_" && /\w/.test(text[at - 1] ?? ""));
  const end = opens && !missing.has(mark) ? closingOf(text, start, mark) : -1;
  if (end < 0) {
    if (opens) missing.add(mark);
    return null;
  }
  const node = element(tag);
  inline(node, text.slice(start, end), depth + 1);
  return { node, end: end + mark.length };
}

function closingOf(text, start, mark) {
  for (let end = text.indexOf(mark, start + 1); end >= 0; end = text.indexOf(mark, end + 1)) {
    const after = text[end + mark.length] ?? "";
    const inside = mark.length === 1 && (after === mark || text[end - 1] === mark);
    if (/\S/.test(text[end - 1]) && !inside && !(mark[0] === "_" && /\w/.test(after))) return end;
  }
  return -1;
}
