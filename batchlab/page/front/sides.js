// Two runs in figures.

import { interval } from "./charts.js";
import { h } from "./dom.js";
import { count, isNumber, share, short, took, usd } from "./format.js";
import { address } from "./router.js";

/** Both runs in figures, and how far they are apart. */
export function sidesOf({ a, b }) {
  const line = (name, of, words, lessIsGood) => {
    const [x, y] = [of(a), of(b)];
    const change = isNumber(x) && isNumber(y) && x > 0 ? y / x - 1 : null;
    const kind =
      change === null || Math.abs(change) < 0.005 || lessIsGood === null ? "quiet" : change < 0 === lessIsGood ? "good" : "warn";
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, name),
      h("td", { class: "num" }, words(x)),
      h("td", { class: "num" }, words(y)),
      h(
        "td",
        { class: `num ${kind}` },
        change === null
          ? ""
          : `${change > 0 ? "+" : change < 0 ? "−" : "±"}${Math.abs(change * 100).toFixed(Math.abs(change) < 0.1 ? 1 : 0)} %`,
      ),
    );
  };
  const named = (side) =>
    h(
      "th",
      { scope: "col", class: "num" },
      h("a", { href: address(["run", side.id]), dir: "auto" }, side.id),
      h("div", { class: "quiet" }, side.model || ""),
    );
  return h(
    "div",
    { class: "card scroll" },
    h(
      "table",
      { class: "sides" },
      h("thead", {}, h("tr", {}, h("td", {}), named(a), named(b), h("th", { scope: "col", class: "num" }, "change"))),
      h(
        "tbody",
        {},
        line("ok", (side) => side.ok, count, false),
        line("cost", (side) => side.cost_usd, usd, true),
        line("prompt tokens", (side) => side.prompt_tokens, short, true),
        line("completion tokens", (side) => side.completion_tokens, short, null),
        line("latency, p50", (side) => side.p50_ms, took, true),
        line("latency, p90", (side) => side.p90_ms, took, true),
      ),
    ),
  );
}

/** Which run was better, as far as it was decided. */
export function preferredOf({ choices, share: found }) {
  if (!choices || !(choices.a || choices.b || choices.same)) return null;
  return h(
    "span",
    { class: "preferred" },
    `better: first ${count(choices.a)}, second ${count(choices.b)}, same ${count(choices.same)}`,
    found &&
      found.n > 0 && [
        interval(found, "second better"),
        h("span", { class: "quiet" }, `second ${share(found.p)} (${share(found.low)} to ${share(found.high)})`),
      ],
  );
}
