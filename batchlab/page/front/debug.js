// `?debug` before the `#`: how long things took, at the foot of the page.

import { h, show } from "./dom.js";
import { count, took } from "./format.js";
import { source } from "./source.js";

const marks = new Map(); // what → ms; since the page was opened for `rows`, since the choice for `filtered`
let foot = null;

/** Notes that rows can be seen: those of a filter since it was chosen, the first ones since the page was opened. */
export function mark(what, began) {
  requestAnimationFrame(() => {
    if (what === "rows" && marks.has("rows")) return;
    marks.set(what, performance.now() - (what === "rows" ? 0 : began));
    if (foot) paintFoot();
  });
}

/** Puts the foot there, if the address asks for it. */
export function debugFoot() {
  if (!new URLSearchParams(location.search).has("debug")) return;
  foot = h("footer", { class: "debug", "aria-label": "Measurements" });
  document.body.append(foot);
  document.body.classList.add("has-debug");
  paintFoot();
  setInterval(paintFoot, 1000);
}

function paintFoot() {
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  const heap = performance.memory && performance.memory.usedJSHeapSize;
  const [last] = source.asked;
  show(
    foot,
    [
      ["first paint", paint && took(paint.startTime)],
      ["first rows", marks.has("rows") && took(marks.get("rows"))],
      ["first filtered row", marks.has("filtered") && took(marks.get("filtered"))],
      ["last answer", last && `${last[0]} ${took(last[1])}`],
      ["elements", count(document.getElementsByTagName("*").length)],
      ["heap", heap && `${(heap / 1e6).toFixed(1)} MB`],
    ].map(([name, value]) => h("span", {}, `${name} `, h("b", { "data-mark": name }, value || "–"))),
  );
}
