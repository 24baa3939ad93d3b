// What a run is: its request, where it came from, its sessions and batches.

import { h } from "./dom.js";
import { ago, clock, count, exactly, isNumber, lasted, moment, plain, UNKNOWN } from "./format.js";
import { section } from "./sections.js";
import { code, json, verbatim } from "./text.js";

/** What the run is: its request and where it came from. */
export function whatOf(run) {
  const what = run.what || {};
  const params = Object.entries(what.params || {});
  const pairs = [
    ["model", what.model],
    ["endpoints", (what.endpoints || []).map(endpointWords).join("\n")],
    ["lane", what.lane],
    ["task", what.task],
    ["input", what.input],
    ["began", isNumber(what.started) ? exactly(what.started) : null],
    ["ended", isNumber(what.ended) ? exactly(what.ended) : null],
    ["made by", what.made_by],
    ["place", run.place],
  ].filter(([, value]) => value);
  return h(
    "div",
    { class: "columns what-columns" },
    section(
      "What it is",
      "what",
      h(
        "table",
        { class: "pairs left" },
        h(
          "tbody",
          {},
          [...pairs, ...params].map(([name, value]) =>
            h("tr", {}, h("th", { scope: "row" }, name), h("td", { dir: "auto", class: "words" }, plain(value))),
          ),
        ),
      ),
      sessionsOf(run.sessions || []),
    ),
    section(
      "What it asks",
      "asks",
      folded("system", what.system, true),
      folded(what.template_file ? `prompt, ${what.template_file}` : "prompt", what.template, true),
      (what.messages || []).map(([role, content]) =>
        folded(role, typeof content === "string" ? content : JSON.stringify(content, null, 1), true),
      ),
      what.schema && h("details", { class: "fold" }, h("summary", {}, "answer's schema"), json(what.schema)),
      what.job_toml && h("details", { class: "fold" }, h("summary", {}, "job file"), code(what.job_toml, "toml")),
      !what.system &&
        !what.template &&
        !(what.messages || []).length &&
        h("p", { class: "quiet" }, "Each row brings its own messages."),
      batchesOf(run),
    ),
  );
}

function endpointWords(one) {
  if (typeof one === "string") return one;
  const url = one.base_url || "";
  return [
    one.name && one.name !== url ? one.name : "",
    url,
    one.lane,
    one.model,
    isNumber(one.concurrency) && `up to ${count(one.concurrency)} at once`,
  ]
    .filter(Boolean)
    .join(" · ");
}

function folded(name, text, open) {
  if (!text) return null;
  return h(
    "details",
    { class: "fold", open: open && text.length < 1500 },
    h("summary", {}, name, h("span", { class: "quiet" }, ` ${count(text.length)} characters`)),
    verbatim(text),
  );
}

function sessionsOf(sessions) {
  if (sessions.length < 2) return null;
  return h(
    "details",
    { class: "fold" },
    h("summary", {}, `${count(sessions.length)} sessions`),
    h(
      "table",
      { class: "plain" },
      h(
        "tbody",
        {},
        sessions.map((one, index) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, String(index + 1)),
            h("td", {}, exactly(one.began)),
            h("td", { class: "num" }, isNumber(one.ended) ? lasted(one.ended - one.began) : "so far"),
            h("td", {}, one.by),
            h("td", { class: "quiet" }, one.how || ""),
          ),
        ),
      ),
    ),
  );
}

function batchesOf(run) {
  const out = run.batches || [];
  const ended = run.ended_batches || [];
  if (!out.length && !ended.length) return null;
  return [
    h("h3", {}, "Batches"),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Batches" },
      h(
        "table",
        { class: "plain" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["batch", "where", "rows", "ordered", "state"].map((name) => h("th", { scope: "col" }, name)),
          ),
        ),
        h(
          "tbody",
          {},
          out.map((one) =>
            h(
              "tr",
              {},
              h("td", { class: "cut" }, one.id || "not yet numbered"),
              h("td", {}, one.endpoint),
              h("td", { class: "num" }, isNumber(one.done) ? `${count(one.done)} of ${count(one.rows)}` : count(one.rows)),
              h("td", { title: exactly(one.since) }, ago(one.since)),
              h(
                "td",
                {},
                one.word || "out",
                one.next_look > 0 && h("span", { class: "quiet" }, ` looked at ${clock(one.next_look)}`),
              ),
            ),
          ),
          ended.map((one) =>
            h(
              "tr",
              { class: "quiet" },
              h("td", { class: "cut" }, one.id || UNKNOWN),
              h("td", {}, one.endpoint),
              h("td", { class: "num" }, count(one.lines)),
              h("td", { title: exactly(one.at) }, moment(one.at)),
              h("td", {}, one.came, isNumber(one.lasted_s) && ` after ${lasted(one.lasted_s)}`),
            ),
          ),
        ),
      ),
    ),
  ];
}
