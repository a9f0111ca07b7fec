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
  const rest = src.slice(pos + 2, Math.min(posMax, pos + 2 + MAX_CHARACTERS));
  const length = rest.indexOf(close);
  if (length < 0 || !rest.slice(0, length).trim()) return false;
  if (!silent) push(state, "math", rest.slice(0, length), open, close);
  state.pos += length + 4;
  return true;
}

/** A formula of whole lines. It ends before an empty line, which TeX does not allow in one. */
function blockRule(state, startLine, endLine, silent) {
  const begin = state.bMarks[startLine] + state.tShift[startLine];
  const [open, close] = DISPLAYED.find(([sign]) => state.src.startsWith(sign, begin)) ?? [];
  if (!open || state.sCount[startLine] - state.blkIndent >= 4) return false;
  let text = "";
  let end = -1;
  let line = startLine;
  for (; line < endLine && end < 0; line += 1) {
    if (state.isEmpty(line) || state.sCount[line] < state.blkIndent || text.length > MAX_CHARACTERS) return false;
    const written = state.src.slice(state.bMarks[line] + state.tShift[line], state.eMarks[line]).trimEnd();
    end = written.indexOf(close, text ? 0 : 2);
    if (end >= 0 && end !== written.length - 2) return false; // a paragraph that begins with a formula
    text += `${written}\n`;
  }
  if (silent) return true;
  state.line = line;
  const content = end < 0 ? text.trimEnd() : text.slice(2, -3);
  const token = end < 0 ? push(state, "math_open", content) : push(state, "math", content, open, close);
  token.map = [startLine, line];
  return true;
}

function push(state, type, content, open = "", close = "") {
  return Object.assign(state.push(type, "", 0), { content, markup: open, info: close });
}
