// Typesets formulas as MathML. Temml translates TeX, and is loaded when the first formula is shown; of its output only
// the elements, attributes and styles below become nodes.

const TAGS = new Set(
  (
    "math mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms mspace msqrt mstyle " +
    "msub msubsup msup mtable mtd mtext mtr munder munderover none"
  ).split(" "),
);
const SHIFTS = ["width", "height", "depth", "voffset", "lspace", "rspace", "linethickness"];
const ATTRIBUTES = new Set([
  ...SHIFTS,
  ...["accent", "accentunder", "columnspan", "display", "displaystyle", "fence", "form", "mathbackground"],
  ...["mathcolor", "mathsize", "mathvariant", "maxsize", "minsize", "movablelimits", "rowspan", "scriptlevel"],
  ...["separator", "stretchy", "symmetric"],
]);
const STYLES = /^(?:color|textAlign|padding(?:Left|Right)?|border(?:Top|Right|Bottom|Left)?)$/;
const CLASSES = /^tml-(?:left|right|jot)$/;
// Browsers replace these letters by mathematical ones, which few fonts have; a style makes them italic instead.
const LETTER = /^[a-zA-Zα-ωϕϵ]$/u;
// A formula must not be drawn over other messages.
const MAX_LENGTH = 20;
const SETTINGS = { throwOnError: true, trust: false, maxExpand: 100 };

let loading = null;

/** Replace the text of a node by its formula. The text stays if the formula is not valid or has what is not drawn. */
export async function typeset(node, tex, displayMode) {
  try {
    loading ??= import("./vendor/temml.js");
    const { default: temml } = await loading.catch(loadAgain);
    const drawn = draw(temml.__renderToMathMLTree(tex, { ...SETTINGS, displayMode }));
    node.replaceChildren(drawn);
  } catch {
    node.dataset.state = "refused";
  }
}

/** Let the next formula load Temml again, such as after the network was away. */
function loadAgain(error) {
  loading = null;
  throw error;
}

function draw({ type, text, children = [], attributes = {}, style = {}, classes = [] }) {
  if (text !== undefined) return document.createTextNode(text);
  const nodes = children.map(draw);
  if (!type) return fragmentOf(nodes);
  if (!TAGS.has(type)) throw new RangeError(`<${type}> is not drawn`);
  const node = document.createElementNS("http://www.w3.org/1998/Math/MathML", type);
  node.append(...nodes);
  for (const [name, value] of Object.entries(attributes)) {
    if (SHIFTS.includes(name) && !isShort(value)) throw new RangeError(`${name} is ${value}`);
    if (ATTRIBUTES.has(name)) node.setAttribute(name, value);
  }
  for (const [name, value] of Object.entries(style)) if (STYLES.test(name)) node.style[name] = value;
  for (const name of classes) if (CLASSES.test(name)) node.classList.add(name);
  if (type === "mi" && !attributes.mathvariant && LETTER.test(node.textContent)) node.classList.add("variable");
  return node;
}

function fragmentOf(nodes) {
  const fragment = document.createDocumentFragment();
  fragment.append(...nodes);
  return fragment;
}

/** Whether a length is within what a formula needs; Temml writes em, or pt and px below one em. */
function isShort(length) {
  const size = Number.parseFloat(length);
  return size >= -MAX_LENGTH / 10 && size <= MAX_LENGTH;
}
