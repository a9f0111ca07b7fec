// Renders Markdown as DOM nodes while its text is growing. markdown-it splits it into tokens; no HTML is ever parsed.

import { copyOnClick } from "./buttons.js";
import { element } from "./dom.js";
import { tokensOf } from "./highlight.js";
import { typeset } from "./math.js";
import { mathRules } from "./math-rules.js";
import MarkdownIt from "./vendor/markdown-it.js";

const ALLOWED_LINK = /^(?:https?:\/\/|mailto:)/i;
const ADDRESS = /[^.]\.\p{L}/u;
const BIDI = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
// Images are not loaded. Definitions of links and underlined headings change blocks that were already drawn.
const DISABLED_RULES = ["image", "reference", "lheading"];
const TAGS = { h1: "h3", h2: "h4", h3: "h5", h4: "h6", h5: "h6", s: "del" };
const RTL = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
const DIRECTED = new Set(["p", "li", "th", "td", "h3", "h4", "h5", "h6"]);
// A block may still change while the one after it has only begun.
const OPEN_BLOCKS = 2;

const parser = new MarkdownIt({ linkify: true }).disable(DISABLED_RULES).use(mathRules);
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false }).add("ftp:", null).add("//", null);
parser.validateLink = (address) => ALLOWED_LINK.test(address);
parser.normalizeLinkText = (address) => address;

/** Draws a growing text into `parent`. Complete blocks are neither parsed nor changed again. */
export class Markdown {
  #parent;
  #settled = 0;
  #settledNodes = 0;

  constructor(parent) {
    this.#parent = parent;
    copyOnClick(parent, "pre > .copy");
  }

  /** `text` must begin with the text of the previous call. */
  update(text) {
    const open = text.slice(this.#settled);
    const tokens = parser.parse(open, {});
    const pen = new Pen(this.#parent, this.#settledNodes);
    draw(pen, tokens);
    pen.close();
    // Each block is one node.
    const blocks = tokens.filter((token) => token.level === 0 && token.nesting >= 0);
    const settling = blocks.length - OPEN_BLOCKS;
    if (settling <= 0) return;
    this.#settled += offsetOf(open, blocks[settling].map[0]);
    this.#settledNodes += settling;
  }
}

/** The offset at which a line begins. */
function offsetOf(text, line) {
  const newlines = /\r\n?|\n/g;
  for (let passed = 0; passed < line; passed += 1) newlines.exec(text);
  return newlines.lastIndex;
}

/** Writes nodes into `parent` from its child `at` on. Reuses the nodes that are there, and removes those left over. */
class Pen {
  #places;
  #text = "";

  constructor(parent, at) {
    this.#places = [{ parent, next: parent.childNodes[at] ?? null }];
  }

  /** Open an element. Elements of one tag must always have the same names of attributes. */
  open(tag, attributes = {}) {
    this.#writeText();
    const place = this.#places.at(-1);
    const node = place.next?.localName === tag ? place.next : this.#put(element(tag));
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null) node.removeAttribute(name);
      else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
    }
    place.next = node.nextSibling;
    this.#places.push({ parent: node, next: node.firstChild, directed: DIRECTED.has(tag), rtl: null });
  }

  text(text) {
    this.#text += text;
  }

  /** Write a formula, whose text is `source` until it is typeset. No other tag beside it may be a span. */
  math(tex, source, display) {
    this.#writeText();
    const place = this.#places.at(-1);
    let node = place.next;
    if (node?.dataset?.source !== source) {
      node = this.#put(element("span", { class: "math", "data-source": source, "data-display": display }, source));
      typeset(node, tex, display);
    }
    place.next = node.nextSibling;
  }

  close() {
    this.#writeText();
    const { parent, next, directed, rtl } = this.#places.pop();
    if (directed && rtl) parent.dir = "rtl";
    else if (directed) parent.removeAttribute("dir");
    while (next && parent.lastChild !== next) parent.lastChild.remove();
    next?.remove();
  }

  #writeText() {
    const text = this.#text;
    if (!text) return;
    this.#text = "";
    this.#direct(text);
    const place = this.#places.at(-1);
    const node = place.next?.nodeType === Node.TEXT_NODE ? place.next : this.#put(document.createTextNode(text));
    if (!text.startsWith(node.data)) node.data = text;
    else if (text.length > node.data.length) node.appendData(text.slice(node.data.length));
    place.next = node.nextSibling;
  }

  /** The first letter of an element gives its direction. `dir="auto"` takes Chromium quadratic time to fill. */
  #direct(text) {
    const [letter] = /\p{L}/u.exec(text) ?? [];
    if (letter) for (const place of this.#places) place.rtl ??= RTL.test(letter);
  }

  #put(node) {
    const { parent, next } = this.#places.at(-1);
    if (next) next.replaceWith(node);
    else parent.append(node);
    return node;
  }
}

function draw(pen, tokens) {
  let link = null;
  for (const token of tokens) {
    const { type, nesting } = token;
    if (type === "link_open") link = { address: token.attrGet("href"), text: "" };
    else if (type === "link_close") {
      drawHost(pen, link);
      link = null;
    } else if (link) link.text += token.content;
    if (type === "inline") draw(pen, token.children);
    else if (type in DRAW) DRAW[type](pen, token);
    else if (nesting > 0) pen.open(TAGS[token.tag] ?? token.tag);
    else if (nesting < 0) pen.close();
    else pen.text(token.content);
  }
}

/** Write where a link leads, if its text may look like another address. */
function drawHost(pen, { address, text }) {
  const host = hostOf(address);
  const named = text.split(/[\s()<>"'`]+/).filter((word) => ADDRESS.test(word));
  if (!BIDI.test(text) && named.every((word) => hostOf(word) === host)) return;
  pen.open("small");
  pen.text(` (${host})`);
  pen.close();
}

/** The host of an address, also of one without a scheme; of one for mail all of it. */
function hostOf(address) {
  const mail = /^(?:mailto:)?([^/:?]+@[^/:?]+)/i.exec(address);
  if (mail) return mail[1];
  const { host } = URL.parse(ALLOWED_LINK.test(address) ? address : `https://${address}`) ?? { host: address };
  return host.replace(/^www\./, "");
}

// The tokens that are more than an element of their tag or a text.
const DRAW = {
  softbreak: (pen) => pen.text("\n"),
  hardbreak: (pen) => pen.text("\n"),
  ordered_list_open: (pen, token) => pen.open("ol", { start: token.attrGet("start")?.toString() ?? null }),
  link_open: (pen, token) =>
    pen.open("a", { href: token.attrGet("href"), target: "_blank", rel: "noopener noreferrer" }),
  hr(pen) {
    pen.open("hr");
    pen.close();
  },
  math: (pen, { content, markup, info }) => pen.math(content, `${markup}${content}${info}`, markup !== "\\("),
  math_open(pen, { content }) {
    pen.open("p");
    pen.text(content);
    pen.close();
  },
  th_open: (pen, token) => pen.open("th", { class: alignmentOf(token) }),
  td_open: (pen, token) => pen.open("td", { class: alignmentOf(token) }),
  code_inline: (pen, token) => drawCode(pen, token.content),
  code_block: drawBlockOfCode,
  fence: drawBlockOfCode,
  table_open(pen) {
    pen.open("div", { class: "table", tabindex: "0" });
    pen.open("table");
  },
  table_close(pen) {
    pen.close();
    pen.close();
  },
};

/** The class of a cell: the policy of the page forbids the attribute `style` that markdown-it makes. */
const alignmentOf = (token) => /(?:right|center)$/.exec(token.attrGet("style") ?? "")?.[0] ?? null;

function drawCode(pen, text) {
  pen.open("code");
  pen.text(text);
  pen.close();
}

function drawBlockOfCode(pen, { content, info, markup }) {
  // A partial closing fence at the very end would flash as code.
  const last = content.slice(content.lastIndexOf("\n") + 1);
  const partial = last !== "" && markup.startsWith(last.trimStart());
  const body = partial ? content.slice(0, content.length - last.length) : content;
  const language = /^[\w+#.-]*/.exec(info.trim())[0] || null;
  pen.open("pre", { tabindex: "0", "data-language": language });
  pen.open("code");
  for (const [kind, text] of tokensOf(body.endsWith("\n") ? body.slice(0, -1) : body, language)) {
    if (kind) pen.open("span", { class: kind });
    pen.text(text);
    if (kind) pen.close();
  }
  pen.close();
  // Its words are in the style sheet, so that they are not part of the text.
  pen.open("button", { type: "button", class: "copy", "aria-label": "Copy code" });
  pen.close();
  pen.close();
}
