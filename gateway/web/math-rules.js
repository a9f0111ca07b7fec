// Finds formulas in Markdown, as rules of markdown-it: \( … \) in a line, $$ … $$ and \[ … \] also as blocks.

/** Longer formulas stay text: typesetting must not hold up the page. */
export const MAX_CHARACTERS = 2000;

const INLINE = [["\\(", "\\)"]];
const DISPLAYED = [
  ["$$", "$$"],
  ["\\[", "\\]"],
];

/** Let a parser return tokens `math`, with the delimiters as `markup` and `info`, and `math_open` for an unfinished block. */
export function mathRules(parser) {
  parser.inline.ruler.before("escape", "math", inlineRule);
  const alt = ["paragraph", "reference", "blockquote", "list"];
  parser.block.ruler.before("fence", "math", blockRule, { alt });
}

function inlineRule(state, silent) {
  const { src, pos, posMax } = state;
  const [open, close] = [...INLINE, ...DISPLAYED].find(([sign]) => src.startsWith(sign, pos)) ?? [];
  if (!open) return false;
  const begin = pos + 2;
  const end = nextSign(state, close, begin);
  if (end < 0 || end + 2 > posMax || end - begin > MAX_CHARACTERS) return false;
  const content = src.slice(begin, end);
  if (!content.trim()) return false;
  if (!silent) push(state, "math", content, open, close);
  state.pos = end + 2;
  return true;
}

/** The place of the next sign from `begin` on, or -1. A text is searched once, not again from each formula's beginning. */
function nextSign(state, sign, begin) {
  const found = ((state.mathSigns ??= {})[sign] ??= { from: 0, at: -2 });
  if (begin < found.from || (found.at !== -1 && begin > found.at)) {
    Object.assign(found, { from: begin, at: state.src.indexOf(sign, begin) });
  }
  return found.at;
}

/** A formula of whole lines. It ends before an empty line, which TeX does not allow in one. */
function blockRule(state, startLine, endLine, silent) {
  const begin = state.bMarks[startLine] + state.tShift[startLine];
  const [open, close] = DISPLAYED.find(([sign]) => state.src.startsWith(sign, begin)) ?? [];
  if (!open || !isInside(state, startLine) || state.sCount[startLine] - state.blkIndent >= 4) return false;
  const alone = lineOf(state, startLine).indexOf(close, 2) >= 0;
  const last = alone ? startLine : lastLine(state, startLine + 1, endLine, close);
  const unfinished = last === endLine;
  if (!unfinished && !isInside(state, last)) return false;
  if (state.eMarks[unfinished ? last - 1 : last] - begin > MAX_CHARACTERS) return false;
  const end = unfinished ? -1 : lineOf(state, last).indexOf(close, alone ? 2 : 0);
  if (end >= 0 && end !== lineOf(state, last).length - 2) return false; // a paragraph that begins with a formula
  if (silent) return true;
  state.line = unfinished ? endLine : last + 1;
  const lines = Array.from({ length: state.line - startLine }, (_, at) => lineOf(state, startLine + at));
  const text = lines.join("\n");
  const token = unfinished ? push(state, "math_open", text) : push(state, "math", text.slice(2, -2), open, close);
  token.map = [startLine, state.line];
  return true;
}

const lineOf = ({ src, bMarks, tShift, eMarks }, line) => src.slice(bMarks[line] + tShift[line], eMarks[line]).trimEnd();

/** Whether a formula may go on in this line. */
const isInside = (state, line) => !state.isEmpty(line) && state.sCount[line] >= state.blkIndent;

/**
 * The first line from `line` on that has the sign, or in which no formula goes on; otherwise `endLine`. Of the lines of
 * one block, each is looked at once, not again for each line before it that begins a formula.
 */
function lastLine(state, line, endLine, sign) {
  const block = `${sign} ${state.level} ${state.blkIndent} ${endLine}`;
  const found = ((state.mathLines ??= {})[block] ??= { from: 0, to: -1 });
  if (line < found.from || line > found.to) {
    let to = line;
    while (to < endLine && isInside(state, to) && !lineOf(state, to).includes(sign)) to += 1;
    Object.assign(found, { from: line, to });
  }
  return found.to;
}

function push(state, type, content, open = "", close = "") {
  return Object.assign(state.push(type, "", 0), { content, markup: open, info: close });
}
