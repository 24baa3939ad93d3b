// Texts of others, made visible: Markdown from a tree of names, JSON, code, and the raw text with nothing hidden.
// Whatever stands in them stays text: only the tags and attributes named here are made.

import { h } from "./dom.js";
import { copyButton } from "./copy.js";

const TAGS = {
  p: "p",
  h1: "h3",
  h2: "h4",
  h3: "h5",
  h4: "h6",
  h5: "h6",
  h6: "h6",
  ul: "ul",
  ol: "ol",
  li: "li",
  blockquote: "blockquote",
  em: "em",
  strong: "strong",
  s: "s",
  br: "br",
  hr: "hr",
  code: "code",
  table: "table",
  thead: "thead",
  tbody: "tbody",
  tr: "tr",
  th: "th",
  td: "td",
  div: "div",
  a: "a",
  pre: "pre",
};
const LINK = /^(?:https?:\/\/|mailto:)/i;
const IMAGE = /^data:image\/(?:png|jpeg|gif|webp|avif|bmp);base64,[A-Za-z0-9+/=\s]+$/;
const DEEP = 60; // more than anybody writes, fewer than a stack bears
const MUCH = 200_000; // characters shown at once; the rest at a click
const PIECE = 4_000; // of a long text, laid out when it comes in sight: a browser takes a minute for a line of 200,000
// what moves or hides other signs; joiners are left, which scripts and emoji need
const UNRULY = /[\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F\u061C\u2028-\u202E\u2066-\u206F\uFFF9-\uFFFB]/g;
const HIDDEN =
  /[\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F\u00AD\u061C\u200B-\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFF9-\uFFFB]/g;
const NAMED = {
  "\u001b": "ESC",
  "\u0000": "NUL",
  "\u0007": "BEL",
  "\u0008": "BS",
  "\u200b": "ZWSP",
  "\u200d": "ZWJ",
  "\u202e": "RLO",
  "\u202d": "LRO",
  "\u200f": "RLM",
  "\u200e": "LRM",
  "\ufeff": "BOM",
  "\u00ad": "SHY",
};

/** A Markdown tree, `[tag, {attributes}, ...children]` or a text, as elements. */
export function markdown(tree) {
  const top = Array.isArray(tree) && Array.isArray(tree[0]) ? tree : [tree];
  return h(
    "div",
    { class: "md", dir: "auto" },
    top.map((node) => markdownNode(node, 0)),
  );
}

function markdownNode(node, depth) {
  if (typeof node === "string") return revealed(node, UNRULY);
  if (!Array.isArray(node)) return null;
  if (depth > DEEP) return textOf(node);
  const [tag, second, ...rest] = node;
  const isAttributes = second !== null && typeof second === "object" && !Array.isArray(second);
  const attributes = isAttributes ? second : {};
  const children = isAttributes || second === undefined ? rest : [second, ...rest];
  const name = Object.hasOwn(TAGS, tag) ? TAGS[tag] : null;
  if (name === "pre") return code(textOf(node), languageOf(node));
  const inside = children.map((child) => markdownNode(child, depth + 1));
  if (name === null) return inside;
  if (name === "a") return link(attributes.href, inside);
  if (name === "table") return h("div", { class: "scroll" }, h("table", {}, inside));
  if (name === "ol") return h("ol", { start: Number.isInteger(Number(attributes.start)) ? attributes.start : null }, inside);
  if (/^h\d$/.test(name)) return h(name, { class: "md-h", dir: "auto" }, inside);
  const aligned = ["left", "center", "right"].includes(attributes.align) ? { style: { "text-align": attributes.align } } : {};
  if (name === "td" || name === "th") return h(name, { dir: "auto", ...aligned }, inside);
  return h(name, ["p", "li", "blockquote"].includes(name) ? { dir: "auto" } : {}, inside);
}

function textOf(node) {
  if (typeof node === "string") return node;
  if (!Array.isArray(node)) return "";
  return node.slice(1).map(textOf).join("");
}

function languageOf(node) {
  const inner = node.slice(1).flat(1);
  for (const one of [node[1], ...inner]) {
    const found = one && typeof one === "object" && /language-([\w+#.-]{1,20})/.exec(one.class || "");
    if (found) return found[1];
  }
  return "";
}

/** A link to elsewhere, if it goes to where links may; else what it says. */
function link(url, inside) {
  if (typeof url !== "string" || !LINK.test(url)) return h("span", {}, inside);
  return h("a", { href: url, target: "_blank", rel: "noreferrer noopener nofollow", title: url }, inside);
}

/** An image that the text has within itself; anything else as a link, never loaded. */
export function image(part) {
  const data = part.data || part.url || "";
  if (IMAGE.test(data)) return h("img", { class: "picture", src: data, alt: part.alt || "image in the prompt", loading: "lazy" });
  return h("p", { class: "quiet" }, "image: ", link(data, shortened(data, 200)));
}

function shortened(text, many) {
  return text.length > many ? `${text.slice(0, many)}…` : text;
}

/** A block of code, coloured by what all languages have in common. */
export function code(text, language = "") {
  return h(
    "div",
    { class: "code" },
    h(
      "div",
      { class: "code-bar" },
      h("span", {}, language || "text"),
      copyButton(() => text, "Copy this code"),
    ),
    h(
      "pre",
      { tabindex: "0", dir: "ltr", role: "region", "aria-label": `${language || "text"} block` },
      h("code", {}, much(text, coloured)),
    ),
  );
}

const PIECES =
  /(\/\*[\s\S]{0,5000}?\*\/|(?:^|(?<=\s))(?:\/\/|#(?!include|define|[0-9a-fA-F]{3,8}\b)|--\s)[^\n]*)|("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.){0,5000}`)|\b(\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)\b|\b(and|as|async|await|break|case|catch|class|const|continue|def|default|do|elif|else|enum|except|export|extends|false|False|finally|fn|for|from|func|function|if|impl|import|in|interface|is|lambda|let|match|new|nil|None|not|null|or|package|pass|private|public|pub|raise|return|select|SELECT|FROM|WHERE|GROUP|BY|ORDER|JOIN|AND|OR|self|static|struct|super|switch|this|throw|true|True|try|type|use|var|void|while|with|yield)\b/gm;
const KINDS = ["", "c-comment", "c-string", "c-number", "c-word"];

function coloured(text) {
  if (text.length > 50_000) return [text];
  const out = [];
  let at = 0;
  for (const found of text.matchAll(PIECES)) {
    const kind = found.slice(1).findIndex((group) => group !== undefined) + 1;
    if (found.index > at) out.push(text.slice(at, found.index));
    out.push(h("span", { class: KINDS[kind] }, found[0]));
    at = found.index + found[0].length;
  }
  out.push(text.slice(at));
  return out;
}

/** A long text: its beginning, and the rest at a click. */
function much(text, draw) {
  if (text.length <= MUCH) return draw(text);
  const rest = h(
    "button",
    { class: "small", onclick: (event) => event.currentTarget.replaceWith(...draw(text.slice(MUCH)).flat()) },
    `show ${(text.length - MUCH).toLocaleString("en-US")} characters more`,
  );
  return [draw(text.slice(0, MUCH)), rest];
}

/** A text as it was written, nothing read into it; lines break where there is no room. */
export function verbatim(text) {
  return h(
    "div",
    { class: "verbatim", dir: "auto" },
    much(text, (part) => pieces(part, UNRULY)),
  );
}

/** The raw text in fixed width; signs that cannot be seen, or that turn a text around, are shown by name. */
export function raw(text) {
  return h(
    "pre",
    { class: "raw", tabindex: "0", dir: "ltr", role: "region", "aria-label": "Raw text" },
    much(text, (part) => pieces(part, HIDDEN)),
  );
}

/** A long text in blocks of whole lines, or of whole words where a line is endless. */
function pieces(text, which) {
  if (text.length <= 2 * PIECE) return revealed(text, which);
  const out = [];
  for (let at = 0; at < text.length;) {
    const end = at + PIECE < text.length ? endOfPiece(text, at) : text.length;
    const isLine = text[end - 1] === "\n"; // a block ends the line by itself
    out.push(h("div", { class: "piece", dir: "auto" }, revealed(text.slice(at, isLine ? end - 1 : end), which)));
    at = end;
  }
  return out;
}

function endOfPiece(text, from) {
  for (const sign of ["\n", " "]) {
    const found = text.lastIndexOf(sign, from + PIECE - 1);
    if (found > from) return found + 1;
  }
  const isHalf = /[\uD800-\uDBFF]/.test(text[from + PIECE - 1]);
  return from + PIECE + (isHalf ? 1 : 0);
}

function revealed(text, which) {
  const out = [];
  let at = 0;
  for (const found of text.matchAll(which)) {
    if (found.index > at) out.push(text.slice(at, found.index));
    const point = found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    out.push(h("span", { class: "sign", title: `U+${point}` }, NAMED[found[0]] || `U+${point}`));
    at = found.index + found[0].length;
    if (out.length > 20_000) break; // a binary file as an answer
  }
  out.push(text.slice(at));
  return out;
}

/** What is about to be run, as it is: no sign of it is hidden, and none turns the others around. */
export function openly(text) {
  return revealed(text, HIDDEN);
}

/** One line of a list: no sign in it moves or hides the others. */
export function tamed(text) {
  return text.replace(UNRULY, "\u00b7");
}

/** JSON, to be folded. Objects that are long begin folded; what is folded is made when it is opened. */
export function json(value) {
  return h("div", { class: "json", dir: "ltr" }, jsonNode(value, 0, null));
}

function jsonNode(value, depth, name) {
  const label = name === null ? null : [h("span", { class: "j-name" }, JSON.stringify(name)), ": "];
  if (value === null || typeof value !== "object") return h("div", { class: "j-line" }, label, jsonLeaf(value));
  const isList = Array.isArray(value);
  const entries = isList ? value.map((one, index) => [index, one]) : Object.entries(value);
  const [start, end] = isList ? "[]" : "{}";
  if (!entries.length) return h("div", { class: "j-line" }, label, start + end);
  const body = h("div", { class: "j-body" });
  let from = 0;
  const grow = () => {
    const next = entries.slice(from, from + 200);
    from += next.length;
    body.append(...next.map(([key, one]) => jsonNode(one, depth + 1, isList ? null : key)));
    if (from < entries.length) {
      body.append(
        h(
          "button",
          { class: "small", onclick: (event) => (event.currentTarget.remove(), grow()) },
          `${(entries.length - from).toLocaleString("en-US")} more`,
        ),
      );
    }
  };
  const open = depth < 2 || (depth < 4 && entries.length <= 12);
  if (open) grow();
  const details = h(
    "details",
    { class: "j-node", open },
    h("summary", {}, label, start, h("span", { class: "j-many" }, ` ${entries.length} `), h("span", { class: "j-end" }, end)),
    body,
    h("div", { class: "j-line j-close" }, end),
  );
  details.addEventListener("toggle", () => details.open && from === 0 && grow());
  return details;
}

function jsonLeaf(value) {
  const kind = value === null ? "null" : typeof value;
  return h("span", { class: `j-${kind}`, dir: "auto" }, JSON.stringify(value));
}

/** Marks every place of a word within an element, without touching what is in it. Returns how many. */
export function highlight(root, word) {
  if (!globalThis.CSS || !CSS.highlights) return 0;
  CSS.highlights.delete("hit");
  if (!word) return 0;
  const wanted = word.toLowerCase();
  const ranges = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node && ranges.length < 2000; node = walker.nextNode()) {
    const text = node.data.toLowerCase();
    if (text.length !== node.data.length) continue; // İ and its like: places would not fit
    for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
      const range = new Range();
      range.setStart(node, at);
      range.setEnd(node, at + wanted.length);
      ranges.push(range);
    }
  }
  if (ranges.length) CSS.highlights.set("hit", new Highlight(...ranges));
  return ranges.length;
}

/** A snippet with its hits marked: at the places the server gave, or where `word` is. */
export function marked(text, hits, word) {
  const places = Array.isArray(hits) ? hits : word ? placesOf(text, word) : [];
  const out = [];
  let at = 0;
  for (const [from, to] of places) {
    if (from < at || to > text.length) continue;
    out.push(tamed(text.slice(at, from)), h("mark", {}, tamed(text.slice(from, to))));
    at = to;
  }
  out.push(tamed(text.slice(at)));
  return out;
}

function placesOf(text, word) {
  const [low, wanted] = [text.toLowerCase(), word.toLowerCase()];
  const places = [];
  if (low.length !== text.length) return places;
  for (let at = low.indexOf(wanted); at >= 0; at = low.indexOf(wanted, at + wanted.length)) places.push([at, at + wanted.length]);
  return places;
}
