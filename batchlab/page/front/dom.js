// Elements are made here and nowhere else, from names and texts: no markup is ever parsed.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "selected", "disabled", "open", "indeterminate"]);
const LISTENERS = Symbol("listeners");
const STANDS = Symbol("stands");
const sums = new WeakMap(); // object of the source → its sum

/** An element. Attributes: `onclick: fn` listens, `style: {width: "3px"}` goes by the CSSOM (a strict CSP
 * allows no style attribute), null and false are left out. Children: nodes, texts, lists of them, null. */
export function h(tag, attrs, ...children) {
  return filled(document.createElement(tag), attrs, children);
}

/** The same for SVG. */
export function svg(tag, attrs, ...children) {
  return filled(document.createElementNS(SVG, tag), attrs, children);
}

function filled(element, attrs, children) {
  for (const [name, value] of Object.entries(attrs || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) {
      const listener = (event) => void value(event); // what it returns must not stop the browser's own part
      element[name] = listener;
      (element[LISTENERS] ||= {})[name] = listener;
    } else if (name === "style") {
      for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    } else if (PROPERTIES.has(name)) {
      element[name] = value;
      if (name !== "value" && name !== "indeterminate") element.setAttribute(name, "");
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  add(element, children);
  return element;
}

/** Appends children: nodes, texts, numbers, nested lists; null, false and "" are left out. */
export function add(parent, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === "") continue;
    parent.append(child instanceof Node ? child : String(child));
  }
  return parent;
}

/** A button that is on or off. */
export function toggle(words, isOn, title, onclick) {
  return h("button", { type: "button", class: "plain-button", "aria-pressed": String(Boolean(isOn)), title, onclick }, words);
}

/** A table that scrolls where it is too wide; heads are [words, class], rows are elements. */
export function wideTable(className, heads, rows) {
  const head = heads.map(([words, kind]) => h("th", { scope: "col", class: kind || null }, words));
  return h("div", { class: "scroll" }, h("table", { class: className }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)));
}

/** Replaces what is in an element. */
export function fill(parent, ...children) {
  parent.replaceChildren();
  return add(parent, children);
}

/** Makes `old` look like `fresh` with as few changes as there are: what a person has opened, focused or
 * scrolled stays. An element with `data-key` is kept as it is while its key is the same. */
function morph(old, fresh) {
  const key = fresh.dataset && fresh.dataset.key;
  if (key && old.dataset.key === key) return old;
  if (key && fresh[STANDS]) {
    old.replaceWith(fresh[STANDS]); // what is kept has moved
    return fresh[STANDS];
  }
  if (old.nodeName !== fresh.nodeName || isAnother(old, fresh)) {
    old.replaceWith(fresh);
    return fresh;
  }
  dress(old, fresh);
  const chosen = fresh.nodeName === "SELECT" ? fresh.value : null;
  const had = [...old.childNodes];
  const wanted = [...fresh.childNodes];
  wanted.forEach((child, index) => {
    const before = had[index];
    if (!before) old.append(child);
    else if (before.nodeType === Node.ELEMENT_NODE && child.nodeType === Node.ELEMENT_NODE) morph(before, child);
    else if (before.nodeType === Node.TEXT_NODE && child.nodeType === Node.TEXT_NODE) {
      if (before.data !== child.data) before.data = child.data;
    } else before.replaceWith(child);
  });
  for (const extra of had.slice(wanted.length)) extra.remove();
  if (chosen !== null) old.value = chosen;
  return old;
}

/** Whether one of two elements with keys cannot become the other: they show different things, or drawings, which
 * are made for their place. */
function isAnother(old, fresh) {
  const [was, is] = [old, fresh].map((one) => (one.dataset && one.dataset.key ? one.dataset.key.split(".")[0] : ""));
  return was !== is || (is !== "" && fresh.querySelector("figure") !== null);
}

/** An element for `show` that is made anew when what it shows has changed, and only then: a page that is told
 * something every second has little to do, and what is open in it stays open. `shown` is JSON. */
export function keyed(name, shown, make) {
  const key = `${name}.${sumOf(shown)}`;
  const stands = document.querySelector(`[data-key="${key}"]`);
  const element = stands ? h("div", {}) : make();
  element.dataset.key = key;
  if (stands) element[STANDS] = stands;
  return element;
}

function sumOf(shown) {
  const known = typeof shown === "object" && shown !== null ? sums.get(shown) : undefined;
  if (known) return known;
  if (Array.isArray(shown) && shown.length <= 8) return shown.map(sumOf).join("_"); // what did not change is not read again
  const text = JSON.stringify(shown) || "";
  let sum = 0;
  for (let index = 0; index < text.length; index++) sum = (Math.imul(sum, 31) + text.charCodeAt(index)) | 0;
  if (typeof shown === "object" && shown !== null) sums.set(shown, `${text.length}.${sum}`);
  return `${text.length}.${sum}`;
}

function dress(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (name !== "style" && name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (name !== "style" && name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.style && fresh.style && old.style.cssText !== fresh.style.cssText) {
    old.style.cssText = fresh.style.cssText;
  }
  const on = fresh[LISTENERS] || {};
  for (const name of Object.keys(old[LISTENERS] || {})) if (!on[name]) old[name] = null;
  for (const [name, listener] of Object.entries(on)) old[name] = listener;
  old[LISTENERS] = on;
}

/** Fills `root` with `fresh` (a list of elements), by `morph`. */
export function show(root, fresh) {
  const holder = root.cloneNode(false);
  holder[LISTENERS] = root[LISTENERS];
  add(holder, fresh);
  morph(root, holder);
}

/** The nearest place where the keyboard is writing text. */
export function isTyping(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target.nodeName === "TEXTAREA" || target.nodeName === "SELECT") return true;
  return target.nodeName === "INPUT" && !["checkbox", "radio", "button"].includes(target.type);
}

/** At most one call in `ms`: the last one, late. `.now()` makes a waiting call at once, `.drop()` none. */
export function later(ms, call) {
  let timer = 0;
  let args = [];
  const run = () => {
    timer = 0;
    call(...args);
  };
  const wait = (...given) => {
    args = given;
    clearTimeout(timer);
    timer = setTimeout(run, ms);
  };
  wait.drop = () => {
    clearTimeout(timer);
    timer = 0;
  };
  wait.now = () => {
    if (!timer) return;
    clearTimeout(timer);
    run();
  };
  return wait;
}
