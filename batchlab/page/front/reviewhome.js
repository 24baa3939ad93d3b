// What a review has come to, and how one is begun.

import { interval } from "./charts.js";
import { h, wideTable } from "./dom.js";
import { isFiltered } from "./filters.js";
import { count, counted, plain, share } from "./format.js";
import { labelColor } from "./label.js";
import { address, choose, here, joined } from "./router.js";
import { source } from "./source.js";

const BY_RESULT = /(?:status|lane|model|endpoint|finish_reason)$/; // after the prefix of the run

/** The parts of the page; `labels` as the source has them, `sizes` of samples, of which `usual` is one. */
export function homeOf({ id, run, labels, sizes, usual, start }) {
  const { params } = here();
  const filtered = isFiltered(params);
  const write = source.canWrite;
  const counts = Object.entries(labels.counts || {}).sort((a, b) => b[1] - a[1]);
  const most = counts.reduce((a, [, many]) => Math.max(a, many), 0);
  const { input = [], result = [] } = (run && run.columns) || {};
  const columns = [
    ["the input's columns", [...input.filter((one) => one.few), ...input.filter((one) => !one.few)]],
    ["columns of the result", result.filter((one) => one.few || BY_RESULT.test(one.name))],
  ].filter(([, list]) => list.length);
  return [
    h("div", { class: "page-head" }, h("h1", {}, "Review"), h("span", { class: "quiet" }, "can the answers be trusted?")),
    write &&
      h(
        "section",
        { class: "card start" },
        h("h2", {}, "Look at a random sample"),
        h(
          "p",
          {},
          filtered
            ? "Rows are drawn from those of the filter, each as likely as any other."
            : "Rows are drawn from the whole run, each as likely as any other.",
          " One key labels a row and brings the next.",
        ),
        h(
          "div",
          { class: "sizes" },
          sizes.map((size) =>
            h(
              "button",
              { type: "button", class: size === usual ? "sure" : null, onclick: () => start(size) },
              counted(size, "row"),
              size === usual && h("kbd", {}, "b"),
            ),
          ),
        ),
      ),
    labels.share && labels.share.n > 0
      ? h(
          "section",
          { class: "card" },
          h("h2", {}, `Share of “${labels.label}”`),
          h(
            "div",
            { class: "big-share" },
            h("b", {}, share(labels.share.p)),
            h(
              "span",
              {},
              `between ${share(labels.share.low)} and ${share(labels.share.high)}`,
              h(
                "span",
                { class: "quiet" },
                `, 95 % interval; ${count(labels.share.k)} of ${counted(labels.share.n, "row")} decided on`,
              ),
            ),
          ),
          interval(labels.share, labels.label),
          h(
            "label",
            { class: "by-choice" },
            "by ",
            h(
              "select",
              { onchange: (event) => choose({ by: event.target.value || null }) },
              h("option", { value: "" }, "no column"),
              columns.map(([words, list]) =>
                h(
                  "optgroup",
                  { label: words },
                  list.map((one) => h("option", { value: one.name, selected: one.name === params.by }, one.name)),
                ),
              ),
            ),
          ),
          labels.by &&
            labels.by.length > 0 &&
            wideTable(
              "by",
              [
                [params.by],
                [h("span", { class: "for-ears" }, "interval")],
                [labels.label, "num"],
                ["between", "num"],
                ["rows", "num"],
              ],
              labels.by.map((one) =>
                h(
                  "tr",
                  {},
                  h("th", { scope: "row", class: "cut", dir: "auto" }, plain(one.value)),
                  h("td", { class: "grow" }, interval(one, plain(one.value))),
                  h("td", { class: "num" }, share(one.p)),
                  h("td", { class: "num quiet" }, `${share(one.low)} to ${share(one.high)}`),
                  h("td", { class: "num" }, count(one.n)),
                ),
              ),
            ),
        )
      : h("p", { class: "quiet" }, write ? "No row is labelled yet." : "No row of this run is labelled."),
    labels.earlier > 0 &&
      h(
        "p",
        { class: "quiet" },
        `${counted(labels.earlier, "label")} of earlier answers ${labels.earlier === 1 ? "is" : "are"} kept as notes: the rows were asked again since.`,
      ),
    counts.length > 0 &&
      h(
        "section",
        { class: "card" },
        h("h2", {}, "Labels"),
        h(
          "table",
          { class: "by" },
          h(
            "tbody",
            {},
            counts.map(([name, many]) =>
              h(
                "tr",
                {},
                h(
                  "th",
                  { scope: "row" },
                  h(
                    "a",
                    { href: address(["run", id, "rows"], { label: joined([name]) }) },
                    h("span", { class: `tag ${labelColor(name)}` }, name),
                  ),
                ),
                h(
                  "td",
                  { class: "grow" },
                  h(
                    "span",
                    { class: "bar", "aria-hidden": "true" },
                    h("i", { class: "s-accent", style: { width: `${(many / most) * 100}%` } }),
                  ),
                ),
                h("td", { class: "num" }, count(many)),
              ),
            ),
          ),
        ),
      ),
  ];
}
