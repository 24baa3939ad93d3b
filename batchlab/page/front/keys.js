// Keys: each view brings its own, with the words for the help.

import { isTyping } from "./dom.js";

const bindings = new Map(); // who → list of {keys, does, call, hidden}
let prefix = "";
let prefixTimer = 0;

/** Sets the keys of `who` (a view, a dialog). A binding is `{keys: ["j", "ArrowDown"], does: "next row", call}`;
 * two strokes are written "g r"; `call` returning false lets the browser have the key. */
export function bind(who, list) {
  bindings.delete(who); // who comes last is asked first
  bindings.set(who, list);
}

export function unbind(who) {
  bindings.delete(who);
}

/** What the keys do now, for the help: [who, [{keys, does}]]. */
export function bound() {
  return [...bindings].map(([who, list]) => [who, list.filter((one) => one.does)]).filter(([, list]) => list.length);
}

/** Whether a dialog is open, which keeps keys to itself. */
function inDialog() {
  return document.querySelector("dialog[open]") !== null;
}

function pressed(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (inDialog()) return;
  const typing = isTyping(event.target);
  if (typing && event.key !== "Escape") return;
  // a button or link that has the focus takes Enter and Space itself
  const own = event.target instanceof HTMLElement && event.target.closest("a, button, summary, [role=option]");
  if (own && (event.key === "Enter" || event.key === " ")) return;
  const stroke = prefix ? `${prefix} ${event.key}` : event.key;
  clearTimeout(prefixTimer);
  prefix = "";
  for (const [, list] of [...bindings].reverse()) {
    for (const one of list) {
      if (one.keys.includes(stroke)) {
        if (one.call(event) === false) continue;
        event.preventDefault();
        return;
      }
    }
  }
  const starts = [...bindings.values()].flat().some((one) => one.keys.some((key) => key.startsWith(`${event.key} `)));
  if (starts && !stroke.includes(" ")) {
    prefix = event.key;
    prefixTimer = setTimeout(() => (prefix = ""), 1200);
    event.preventDefault();
  }
}

export function listen() {
  document.addEventListener("keydown", pressed);
}
