// The parts of a run's page that are words and tables.

import { actButton } from "./act.js";
import { bar, stacked } from "./charts.js";
import { copyButton } from "./copy.js";
import { h } from "./dom.js";
import { clipped, count, counted, isNumber, lasted, moment, plain, rate, share, short, usd } from "./format.js";
import { address, joined } from "./router.js";
import { source } from "./source.js";
import { colorOf, stageChip, STATUSES } from "./states.js";
import { openly, tamed } from "./text.js";

const ODD_FILTERS = { truncated: { status: "truncated" }, filtered: { status: "filtered" }, invalid: { status: "invalid" } };

/** A section with its heading. */
export function section(title, className, ...content) {
  return h("section", { class: `card ${className}` }, h("h2", {}, title), content);
}

/** How far a run that runs is: "31 %"; "" of others. */
export function doneOf(run) {
  return run.stage === "running" && run.rows > 0 ? share((run.rows - ((run.counts || {}).pending || 0)) / run.rows) : "";
}

/** What a person wants to know first. */
export function headOf(run) {
  const counts = run.counts || {};
  const parts = STATUSES.filter((status) => status !== "empty").map((status) => [status, counts[status] || 0, colorOf(status)]);
  const rows = run.rows || 0;
  const done = rows - (counts.pending || 0);
  const now = run.now;
  const facts = [
    ["rows", `${count(done)}`, rows ? `of ${count(rows)} · ${share(done / rows)}` : ""],
    [
      run.stage === "finished" ? "cost" : "cost so far",
      usd(run.cost && run.cost.so_far),
      run.cost && run.cost.forecast && run.stage !== "finished" ? `about ${usd(run.cost.forecast.usd)} in all` : "",
    ],
    now &&
      isNumber(now.rows_per_s) && [
        "speed",
        rate(now.rows_per_s, "rows"),
        isNumber(now.tokens_per_min) ? `${short(now.tokens_per_min)} tokens/min` : "",
      ],
    now && isNumber(now.eta_s) && ["done in", lasted(now.eta_s), `about ${moment(Date.now() / 1000 + now.eta_s)}`],
    now && isNumber(now.in_flight) && ["in flight", count(now.in_flight), isNumber(now.window) ? `of ${count(now.window)}` : ""],
    !now &&
      run.what &&
      isNumber(run.what.started) && [
        "began",
        moment(run.what.started),
        isNumber(run.what.ended) ? `took ${lasted(run.what.ended - run.what.started)}` : "",
      ],
    !now && workedFor(run) > 0 && done > 0 && ["speed", rate(done / workedFor(run), "rows"), "on average while it ran"],
  ].filter(Boolean);
  return h(
    "header",
    { class: "run-head" },
    h(
      "div",
      { class: "title-line" },
      h("h1", { dir: "auto" }, tamed(run.name || run.id)),
      stageChip(run.stage),
      source.canWrite && actButton(run),
    ),
    run.headline && run.headline !== run.stage && h("p", { class: "headline", dir: "auto" }, run.headline),
    run.stopped && !(run.headline || "").includes(run.stopped) && h("p", { class: "headline warn", dir: "auto" }, run.stopped),
    now &&
      (now.paused || now.why) &&
      h(
        "p",
        { class: `headline ${now.paused ? "warn" : "quiet"}`, dir: "auto" },
        now.paused ? "paused: " : "held down: ",
        now.why || "a rate limit or an outage",
      ),
    run.go_on &&
      h(
        "p",
        { class: "go-on" },
        "to go on",
        run.go_on.folder && [" in ", openly(run.go_on.folder)],
        ": ",
        h("code", { dir: "ltr" }, openly(run.go_on.command)),
        copyButton(() => run.go_on.command, "Copy the command"),
      ),
    callouts(run),
    stacked(parts, rows, "rows by status"),
    h(
      "ul",
      { class: "legend-line", "aria-label": "Rows by status" },
      parts
        .filter(([, many]) => many > 0)
        .map(([status, many, color]) =>
          h(
            "li",
            {},
            h(
              "a",
              { href: address(["run", run.id, "rows"], { status }) },
              h("i", { class: `key dot ${color}`, "aria-hidden": "true" }),
              `${status} `,
              h("b", {}, count(many)),
              rows > 0 && h("span", { class: "quiet" }, ` ${share(many / rows)}`),
            ),
          ),
        ),
    ),
    h(
      "dl",
      { class: "facts" },
      facts.map(([name, value, more]) =>
        h("div", {}, h("dt", {}, name), h("dd", {}, value, more && h("span", { class: "quiet" }, more))),
      ),
    ),
  );
}

/** Seconds in which it ran; 0 if that is not known. */
function workedFor(run) {
  const sessions = (run.sessions || []).filter((one) => isNumber(one.began) && isNumber(one.ended));
  return sessions.reduce((sum, one) => sum + Math.max(0, one.ended - one.began), 0);
}

function callouts(run) {
  const said = [
    ...(run.problems || []).map((text) => ["bad", text]),
    ...(run.losses || []).map((text) => ["bad", text]),
    ...(run.notes || []).map((text) => ["", text]),
  ];
  return (
    said.length > 0 &&
    h(
      "ul",
      { class: "callouts" },
      said.map(([kind, text]) => h("li", { class: kind, dir: "auto" }, text)),
    )
  );
}

/** What it costs: so far, in all, by lane. */
export function moneyOf(run) {
  const cost = run.cost || {};
  const tokens = run.tokens || {};
  const forecast = cost.forecast;
  const lanes = (cost.by_lane || []).filter((one) => one.rows > 0);
  const most = lanes.reduce((a, one) => Math.max(a, one.usd || 0), 0);
  const lines = [
    [run.stage === "finished" ? "in all" : "so far", usd(cost.so_far), "strong"],
    ["for answers kept", usd(cost.kept)],
    cost.wasted > 0 && ["wasted", usd(cost.wasted), "warn"],
    cost.saved > 0 && ["saved", usd(cost.saved), "good"],
    forecast && run.stage !== "finished" && ["forecast", usd(forecast.usd), "strong"],
    cost.pilot && !forecast && ["the pilot said", usd(cost.pilot.usd)],
    isNumber(cost.max_cost) && ["cap", usd(cost.max_cost)],
    isNumber(run.requests) && ["requests", count(run.requests)],
  ].filter(Boolean);
  return section(
    "Cost",
    "money",
    h(
      "table",
      { class: "pairs" },
      h(
        "tbody",
        {},
        lines.map(([name, value, kind]) =>
          h("tr", { class: kind || null }, h("th", { scope: "row" }, name), h("td", { class: "num" }, value)),
        ),
      ),
    ),
    forecast &&
      run.stage !== "finished" &&
      isNumber(forecast.low) &&
      h("p", { class: "quiet" }, `likely between ${usd(forecast.low)} and ${usd(forecast.high)}`),
    isNumber(cost.max_cost) &&
      isNumber(cost.so_far) &&
      h(
        "div",
        { class: "cap", role: "img", "aria-label": `${share(cost.so_far / cost.max_cost)} of the cap spent` },
        bar([[cost.so_far, "s-accent"]], cost.max_cost),
      ),
    cost.unknown_rows > 0 && h("p", { class: "quiet" }, `the cost of ${counted(cost.unknown_rows, "row")} is not known`),
    lanes.length > 1 &&
      h(
        "table",
        { class: "by" },
        h("caption", { class: "for-ears" }, "Cost by lane"),
        h(
          "tbody",
          {},
          lanes.map((one) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, plain(one.value)),
              h("td", { class: "grow" }, bar([[one.usd || 0, "s-accent"]], most)),
              h("td", { class: "num" }, usd(one.usd)),
              h("td", { class: "num quiet" }, count(one.rows)),
            ),
          ),
        ),
      ),
    h("h3", {}, "Tokens"),
    h(
      "table",
      { class: "pairs" },
      h(
        "tbody",
        {},
        [
          ["prompt", tokens.prompt],
          ["of them cached", tokens.cached],
          ["completion", tokens.completion],
          ["of them reasoning", tokens.reasoning],
          ["wasted", tokens.wasted],
        ]
          .filter(([name, value]) => value || ["prompt", "completion"].includes(name))
          .map(([name, value]) =>
            h(
              "tr",
              { class: name.startsWith("of") ? "quiet" : null },
              h("th", { scope: "row" }, name),
              h("td", { class: "num", title: count(value) }, value < 1e9 ? count(value) : short(value)),
            ),
          ),
      ),
    ),
  );
}

/** What is wrong: classes of errors with examples, and answers that are not what was asked for. */
export function wrongOf(run, charts) {
  const errors = charts.errors || [];
  const problems = charts.problems || [];
  const odd = (charts.odd || []).filter((one) => one.rows > 0);
  const to = (params) => address(["run", run.id, "rows"], params);
  return section(
    "What is wrong",
    "wrong",
    problems.length > 0 &&
      h(
        "ul",
        { class: "callouts" },
        problems.map((text) => h("li", { class: "bad", dir: "auto" }, tamed(text))),
      ),
    !errors.length && !odd.length && h("p", { class: "quiet" }, "Nothing so far: no failed, cut, filtered or invalid row."),
    odd.length > 0 &&
      h(
        "ul",
        { class: "odd" },
        odd.map((one) =>
          h(
            "li",
            {},
            h(
              "a",
              { href: to(ODD_FILTERS[one.what] || (one.word ? { finish: joined([one.word]) } : { error: one.what })) },
              h(
                "span",
                { class: "odd-name" },
                one.what,
                one.word && one.word !== one.what && h("code", {}, ` ${clipped(one.word, 60)}`),
              ),
              h("b", { class: "num" }, count(one.rows)),
            ),
          ),
        ),
      ),
    errors.map((one) =>
      h(
        "div",
        { class: "error-class" },
        h("a", { href: to({ error: joined([one.class]) }) }, h("span", {}, one.class), h("b", { class: "num" }, count(one.rows))),
        h(
          "ul",
          {},
          (one.examples || [])
            .slice(0, 3)
            .map((example) =>
              h(
                "li",
                {},
                h(
                  "a",
                  { class: "row-link", href: to({ error: joined([one.class]), row: example.row_id }) },
                  tamed(clipped(String(example.custom_id ?? example.row_id), 24)),
                ),
                " ",
                h("span", { class: "said", dir: "auto" }, tamed(clipped(example.message || "", 200))),
              ),
            ),
        ),
      ),
    ),
    (run.advice || []).map((text) => h("p", { class: "advice", dir: "auto" }, tamed(text))),
    (errors.length > 0 || odd.length > 0) && h("p", {}, h("a", { href: to({ odd: 1 }) }, "problem rows first →")),
  );
}
