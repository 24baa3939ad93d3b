// Copying, and the short notices that tell of it.

import { h } from "./dom.js";

let notice = null;
let noticeTimer = 0;

/** Says something for a few seconds, to the eye and to a screen reader. */
export function say(text, { bad = false, button = null } = {}) {
  if (!notice) notice = h("div", { class: "notice", role: "status", "aria-live": "polite" });
  const place = document.querySelector("dialog[open]") || document.body; // what is behind a dialog is neither seen nor heard
  if (notice.parentNode !== place) place.append(notice);
  notice.replaceChildren(h("span", {}, text), ...(button ? [button] : []));
  notice.classList.toggle("bad", bad);
  notice.classList.add("shown");
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(unsay, bad || button ? 8000 : 2600);
}

function unsay() {
  if (notice) notice.classList.remove("shown");
}

let quiet = null;

/** Tells a screen reader only. */
export function announce(text) {
  if (!quiet) {
    quiet = h("div", { class: "for-ears", role: "status", "aria-live": "polite" });
    document.body.append(quiet);
  }
  quiet.textContent = text;
}

/** Puts a text on the clipboard. */
export async function copied(text, what = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    if (!copiedByHand(text)) return say("The browser does not let this page copy.", { bad: true });
  }
  say(what);
}

function copiedByHand(text) {
  const area = h("textarea", { value: text, class: "for-ears", "aria-hidden": "true", tabindex: "-1" });
  (document.querySelector("dialog[open]") || document.body).append(area);
  area.select();
  let done = false;
  try {
    done = document.execCommand("copy"); // the only way on an address that is no secure context
  } catch {
    done = false;
  }
  area.remove();
  return done;
}

/** A button that copies what `text()` gives. */
export function copyButton(text, label, { words = "copy", done = "Copied" } = {}) {
  return h(
    "button",
    { class: "small", type: "button", title: label, "aria-label": label, onclick: () => copied(text(), done) },
    words,
  );
}
