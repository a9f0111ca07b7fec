// Splits source code into tokens for highlighting: comments, strings, numbers and keywords, as most languages have them.

const MAX_CHARACTERS = 20_000;

const STRING = String.raw`"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?`;
const TEMPLATE = "`(?:[^`\\\\]|\\\\[^])*`?";
const TRIPLE = String.raw`"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)`;
const BLOCK_COMMENT = String.raw`\/\*[^]*?(?:\*\/|$)`;
const LITERALS = "true false null none nil undefined";

// Each pattern reads a text once: none goes back over characters that it has passed.
const FAMILIES = [
  {
    languages: "c cc cpp cs csharp css dart go h hpp java javascript js json jsx kotlin kt php rs rust scala swift ts tsx typescript",
    comment: String.raw`\/\/.*|${BLOCK_COMMENT}`,
    string: `${STRING}|${TEMPLATE}`,
    keywords:
      "abstract as async await bool break byte case catch char class const continue default defer delete do double else enum export extends final finally float fn for from func function go if impl implements import in instanceof int interface let long loop match mod mut namespace new of package private protected pub public return self static string struct super switch this throw trait try type typeof use var void while with yield",
  },
  {
    languages: "bash dockerfile py python rb ruby sh shell toml yaml yml zsh",
    comment: "#.*",
    string: `${TRIPLE}|${STRING}`,
    keywords:
      "and as assert async await break case class continue def del do done elif else end esac except export fi finally for from function global if import in is lambda local match module nonlocal not or pass raise require return self then try while with yield",
  },
  {
    languages: "haskell hs lua sql",
    comment: "--.*",
    string: STRING,
    keywords:
      "add alter and as asc begin between by case create delete desc distinct do drop else elseif end exists for from function group having if in index inner insert into is join key left like limit local not on or order outer primary repeat return select set table then union unique until update values when where while with",
  },
];

const grammars = new Map(
  FAMILIES.flatMap(({ languages, comment, string, keywords }) => {
    const source = `(?<comment>${comment})|(?<string>${string})|(?<number>\\b\\d[\\w.]*)|(?<word>[A-Za-z_$][\\w$]*)`;
    const grammar = { pattern: new RegExp(source, "g"), keywords: new Set(`${keywords} ${LITERALS}`.split(" ")) };
    return languages.split(" ").map((language) => [language, grammar]);
  }),
);

/** The tokens of a code as [kind, text] pairs that join to the code. `kind` is null for what is not highlighted. */
export function tokensOf(code, language) {
  const grammar = grammars.get(language?.toLowerCase());
  if (!grammar || code.length > MAX_CHARACTERS) return [[null, code]];
  const tokens = [];
  let end = 0;
  for (const found of code.matchAll(grammar.pattern)) {
    const kind = kindOf(found.groups, grammar.keywords);
    if (!kind) continue;
    if (found.index > end) tokens.push([null, code.slice(end, found.index)]);
    tokens.push([kind, found[0]]);
    end = found.index + found[0].length;
  }
  if (end < code.length) tokens.push([null, code.slice(end)]);
  return tokens;
}

function kindOf({ comment, string, number, word }, keywords) {
  if (comment !== undefined) return "comment";
  if (string !== undefined) return "string";
  if (number !== undefined) return "number";
  return keywords.has(word.toLowerCase()) ? "keyword" : null;
}
