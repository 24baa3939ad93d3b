// What stands around every view: the bar on top, the theme, the help, questions.

import { say } from "./copy.js";
import { h, show } from "./dom.js";
import { bound } from "./keys.js";
import { address } from "./router.js";
import { source } from "./source.js";
import { tamed } from "./text.js";

const THEMES = ["auto", "light", "dark"];
const THEME = "batchlab-theme";
const KEY_NAMES = { ArrowDown: "↓", ArrowUp: "↑", Escape: "Esc", " ": "Space", ArrowLeft: "←", ArrowRight: "→" };

let topBar = null;
let place = { id: null, name: "", view: "runs", done: "" };
let broken = ""; // why it does not, if that was said
let line = null; // whether the live line stands: true, false, or null where there is none

/** The page's frame; returns where views go. */
export function frame() {
  setTheme(remembered());
  topBar = h("header", { class: "top" });
  const main = h("main", { id: "main", tabindex: "-1" });
  document.body.append(
    h("a", { class: "skip", href: "#main", onclick: (event) => (event.preventDefault(), main.focus()) }, "to the content"),
    topBar,
    main,
  );
  paintBar();
  return main;
}

/** Says where the page is: `{id, name, view, done}`; `done` is how far the run is, while it runs. */
export function setPlace(next) {
  if ("id" in next && next.id !== place.id) place.done = "";
  place = { ...place, ...next };
  document.title = [place.done, place.view === "runs" ? "" : place.view, place.name, "batchlab"].filter(Boolean).join(" · ");
  paintBar();
}

/** Says what a run is called, and how far it is; nothing when another place is shown by now. */
export function setRun(id, { name, done = place.done }) {
  if (id === place.id) setPlace({ name: name || id, done });
}

/** Says whether the live line stands: true, false (and why), or null where there is none. */
export function setLine(stands, why = "") {
  if (stands === line && why === broken) return;
  if (why) say(why, { bad: true });
  [line, broken] = [stands, why];
  paintBar();
}

function paintBar() {
  const tabs =
    place.id === null
      ? []
      : [
          ["overview", "Overview", []],
          ["rows", "Rows", ["rows"]],
          ["review", "Review", ["review"]],
          ["compare", "Compare", ["compare"]],
        ].filter(([view]) => source.canWrite || view !== "compare" || place.view === view);
  const theme = remembered();
  show(topBar, [
    h(
      "nav",
      { class: "crumbs", "aria-label": "Where you are" },
      source.canWrite
        ? h("a", { class: "brand", href: "#/", "aria-current": place.id === null ? "page" : null }, "batchlab")
        : h("span", { class: "brand" }, "batchlab"),
      place.id !== null && [
        h("span", { class: "slash", "aria-hidden": "true" }, "/"),
        h(
          "a",
          { class: "run-name", href: address(["run", place.id]), title: place.name || place.id, dir: "auto" },
          tamed(place.name || place.id),
        ),
      ],
    ),
    h(
      "nav",
      { class: "tabs", "aria-label": "Views of this run" },
      tabs.map(([view, words, parts]) =>
        h("a", { href: address(["run", place.id, ...parts]), "aria-current": view === place.view ? "page" : null }, words),
      ),
    ),
    h(
      "div",
      { class: "tools" },
      line !== null &&
        h(
          "span",
          {
            class: line ? "live" : "live off",
            role: "status",
            title: line ? "follows the run as it goes" : broken || "the server does not answer; trying again",
          },
          h("i", { "aria-hidden": "true" }),
          line ? "live" : broken ? "cannot be read" : "no connection",
        ),
      h(
        "button",
        { class: "tool", type: "button", onclick: nextTheme, title: `Theme: ${theme} (t)`, "aria-label": `Theme: ${theme}` },
        { auto: "◐", light: "○", dark: "●" }[theme],
      ),
      h("button", { class: "tool", type: "button", onclick: openHelp, title: "Keys (?)", "aria-label": "Keys and help" }, "?"),
    ),
  ]);
}

function remembered() {
  try {
    const theme = localStorage.getItem(THEME);
    return THEMES.includes(theme) ? theme : "auto";
  } catch {
    return "auto"; // a browser that keeps nothing, or a file opened from disk
  }
}

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export function nextTheme() {
  const theme = THEMES[(THEMES.indexOf(remembered()) + 1) % THEMES.length];
  try {
    localStorage.setItem(THEME, theme);
  } catch {
    // it holds for as long as the page is open
  }
  setTheme(theme);
  paintBar();
}

/** A dialog over the page; closes by Esc, by its button and by a click beside it. */
export function dialog(title, className, ...content) {
  const before = document.activeElement;
  const box = h(
    "dialog",
    { class: className, "aria-label": title, onclick: (event) => event.target === box && box.close() },
    h(
      "div",
      { class: "dialog-in" },
      h(
        "header",
        {},
        h("h2", {}, title),
        h(
          "button",
          { class: "tool", type: "button", onclick: () => box.close(), "aria-label": "Close", title: "Close (Esc)" },
          "✕",
        ),
      ),
      content,
    ),
  );
  box.addEventListener("close", () => {
    box.remove();
    if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
  });
  document.body.append(box);
  box.showModal();
  return box;
}

export function openHelp() {
  dialog(
    "Keys",
    "help",
    h(
      "div",
      { class: "help-in" },
      bound()
        .reverse()
        .map(([who, list]) =>
          h(
            "section",
            {},
            h("h3", {}, who),
            h(
              "dl",
              {},
              list.map((one) =>
                h(
                  "div",
                  {},
                  h(
                    "dt",
                    {},
                    (one.caps || one.keys).map((key, index) => [index > 0 && (one.caps ? " to " : " "), keyCap(key)]),
                  ),
                  h("dd", {}, one.does),
                ),
              ),
            ),
          ),
        ),
    ),
  );
}

function keyCap(key) {
  if (KEY_NAMES[key]) return h("kbd", {}, KEY_NAMES[key]);
  return key.split(" ").map((part, index) => [index > 0 && " then ", h("kbd", {}, KEY_NAMES[part] || part)]);
}

/** A problem in place of what could not be shown; `again` tries anew. */
export function trouble(error, again) {
  return h(
    "div",
    { class: "trouble", role: "alert" },
    h("p", {}, error.message || String(error)),
    again && h("button", { type: "button", onclick: again }, "Try again"),
  );
}
