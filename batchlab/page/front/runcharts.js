// The charts of a run's page, made of what the source tells.

import { bar, histogram, timeChart } from "./charts.js";
import { h, keyed, wideTable } from "./dom.js";
import { count, counted, digits, isNumber, plain, share, short, usd } from "./format.js";
import { section } from "./sections.js";

/** All charts; words in their place until they are there. */
export function chartsOf(run, charts, problem) {
  if (problem) return section("Over time", "", h("p", { class: "bad-words" }, problem));
  if (!charts) return section("Over time", "", h("div", { class: "chart-wait", role: "status" }, "reading rows…"));
  return [overTime(charts, run), spread(charts), costBy(charts)];
}

function overTime(charts, run) {
  const time = charts.over_time;
  const words = run.now && run.now.why ? `now: ${run.now.why}` : "";
  const isAnswered = time && time.at && (peakOf(time.done) > 0 || peakOf(time.failed || []) > 0);
  const isAsked = time && time.at && (peakOf(time.in_flight || []) > 0 || peakOf(time.errors || []) > 0);
  if (!isAnswered && !isAsked) return section("Over time", "", h("p", { class: "quiet" }, "Nothing was answered yet."));
  const bucket = time.bucket_s || 1;
  const over = { at: time.at, bucket, isOn: (index) => isNumber(time.done[index]) || isNumber((time.in_flight || [])[index]) };
  const per = bucket >= 60 || peakOf(time.done) / bucket < 0.5 ? 60 : 1;
  const rates = (values) => values.map((one) => (isNumber(one) ? (one / bucket) * per : null));
  const shades = [{ name: "paused", color: "pause", isOn: (index) => Boolean((time.paused || [])[index]) }];
  const failed = rates(time.failed || time.done.map(() => 0));
  const reasons = reasonsOf(time.why || [], words);
  const limited = time.limited || [];
  const errors = time.errors || [];
  return keyed("time", [time, words], () =>
    section(
      "Over time",
      "",
      timeChart({
        title: "Answers",
        note: per === 60 ? "rows a minute" : "rows a second",
        over,
        shades,
        value: (one) => short(one),
        series: [
          { name: "done", kind: "area", color: "c-accent", values: rates(time.done) },
          ...(failed.some((one) => one > 0) ? [{ name: "failed", kind: "bars", color: "c-failed", values: failed }] : []),
        ],
      }),
      (peakOf(time.in_flight || []) > 0 || peakOf(time.window || []) > 0) && // batches have none
        timeChart({
          title: "In flight",
          note: "requests",
          over,
          shades,
          value: (one) => (isNumber(one) ? digits(one, 4) : "–"),
          height: 112,
          extra: (index) => (time.why || [])[index] || "",
          series: [
            { name: "in flight", kind: "area", color: "c-calm", values: time.in_flight },
            { name: "window", kind: "line", color: "c-window", values: time.window || [] },
          ],
        }),
      reasons && h("p", { class: "quiet under-chart", dir: "auto" }, reasons),
      (limited.some((one) => one > 0) || errors.some((one) => one > 0)) &&
        timeChart({
          title: "Refused",
          note: "answers that were no answers",
          over,
          shades: [],
          value: (one) => short(one),
          height: 84,
          series: [
            { name: "rate limited", kind: "bars", color: "c-limited", values: limited },
            { name: "errors", kind: "bars", color: "c-failed", values: errors },
          ].filter((one) => one.values.some((value) => value > 0)),
        }),
    ),
  );
}

/** What held the window down, by how much of the time. */
function reasonsOf(why, now) {
  const counts = new Map();
  for (const one of why) if (one) counts.set(one, (counts.get(one) || 0) + 1);
  const most = [...counts]
    .sort((a, b) => b[1] - a[1])
    .slice(0, 3)
    .map(([words, many]) => `${words}, ${share(many / why.length)} of the time`);
  return [most.length ? `held down: ${most.join("; ")}` : "", now].filter(Boolean).join(" · ");
}

function peakOf(values) {
  return values.reduce((most, one) => (isNumber(one) && one > most ? one : most), 0);
}

function spread(charts) {
  const every = (charts.distributions || []).filter((one) => one.n > 0 && one.counts.length);
  if (!every.length) return null;
  return keyed("spread", charts.distributions, () =>
    section(
      "Spread",
      "",
      h(
        "div",
        { class: "small-charts" },
        every.map((one) => histogram({ ...one, title: one.title || one.name })),
      ),
    ),
  );
}

function costBy(charts) {
  const every = (charts.by || []).filter((one) => one.values.length > 1);
  if (!every.length) return null;
  return keyed("by", charts.by, () =>
    section(
      "Cost by column",
      "",
      every.map(({ column, values, left_out: more }) => {
        const most = values.reduce((a, one) => Math.max(a, (one.kept_usd || 0) + (one.wasted_usd || 0)), 0);
        return [
          wideTable(
            "by",
            [
              [column],
              [h("span", { class: "for-ears" }, "bar of cost"), "grow"],
              ...["cost", "wasted", "rows", "tokens"].map((name) => [name, "num"]),
            ],
            values.map((one) =>
              h(
                "tr",
                {},
                h("th", { scope: "row", class: "cut", dir: "auto", title: plain(one.value) }, plain(one.value)),
                h(
                  "td",
                  { class: "grow" },
                  bar(
                    [
                      [one.kept_usd || 0, "s-accent"],
                      [one.wasted_usd || 0, "s-wasted"],
                    ],
                    most,
                  ),
                ),
                h("td", { class: "num" }, usd(isNumber(one.kept_usd) ? one.kept_usd + (one.wasted_usd || 0) : null)),
                h("td", { class: "num quiet" }, one.wasted_usd > 0 ? usd(one.wasted_usd) : ""),
                h("td", { class: "num" }, count(one.rows)),
                h("td", { class: "num quiet" }, short((one.prompt_tokens || 0) + (one.completion_tokens || 0))),
              ),
            ),
          ),
          more > 0 && h("p", { class: "quiet" }, `${counted(more, "value")} more`),
        ];
      }),
    ),
  );
}
