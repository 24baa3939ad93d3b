// Every chart of the page, drawn from numbers as SVG, each with its numbers as a table beside it.

import { add, h, svg } from "./dom.js";
import { count, digits, exactly, isNumber, lasted, share } from "./format.js";
import { TimeScale, amongBins, stretches, ticksTo, withUnit } from "./scales.js";

const LEFT = 46;
const RIGHT = 10;
const TOP = 8;
const BELOW = 20;
const TABLE_ROWS = 400;

let widths = null;

/** A figure that is drawn anew when its width changes. `draw(width)` gives the SVG. */
function figure({ title, note, words, legend, draw, head, lines, className = "" }) {
  const place = h("div", { class: "chart-place" });
  const readout = h("span", { class: "readout", "aria-hidden": "true" });
  const box = h(
    "figure",
    { class: `chart ${className}` },
    h(
      "figcaption",
      {},
      h("span", { class: "chart-title" }, title),
      note && h("span", { class: "quiet" }, note),
      h(
        "span",
        { class: "legend", "aria-hidden": "true" },
        (legend || []).map(([kind, name]) => h("span", {}, h("i", { class: `key ${kind}` }), name)),
      ),
      readout,
    ),
    place,
    numbers(title, head, lines),
  );
  const redraw = (width) => {
    if (width < 40) return;
    const drawing = draw(width, readout);
    drawing.setAttribute("role", "img");
    drawing.setAttribute("aria-label", `${title}: ${words}`);
    place.replaceChildren(drawing);
  };
  place.redraw = redraw;
  widths ||= new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      if (!target.isConnected) widths.unobserve(target);
      else if (target.wide === Math.round(contentRect.width)) continue;
      else target.redraw((target.wide = Math.round(contentRect.width)));
    }
  });
  widths.observe(place);
  return box;
}

/** The numbers of a chart, made when they are asked for. */
function numbers(title, head, lines) {
  const details = h(
    "details",
    { class: "numbers" },
    h("summary", {}, "as a table", h("span", { class: "for-ears" }, `: ${title}`)),
  );
  details.addEventListener("toggle", () => {
    if (!details.open || details.querySelector("table")) return;
    const every = lines();
    const rows = every.slice(0, TABLE_ROWS);
    details.append(
      h(
        "div",
        { class: "scroll tall", tabindex: "0", role: "region", "aria-label": `Numbers of ${title}` },
        h(
          "table",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              head.map((name) => h("th", { scope: "col" }, name)),
            ),
          ),
          h(
            "tbody",
            {},
            rows.map((row) =>
              h(
                "tr",
                {},
                row.map((value, index) => h("td", { class: index ? "num" : null }, value)),
              ),
            ),
          ),
        ),
      ),
      every.length > rows.length && h("p", { class: "quiet" }, `${count(every.length - rows.length)} more lines`),
    );
  });
  return details;
}

/** A chart over time.
 * series: [{name, values, kind: "area" | "line" | "bars", color}], null where nothing is known;
 * over: {at, bucket, isOn(index)}; shades: [{isOn(index), color, name}]. */
export function timeChart({
  title,
  note,
  over,
  series,
  shades = [],
  extra = null,
  unit = "",
  height = 132,
  value = (x) => withUnit(x, unit),
}) {
  const { at, bucket } = over;
  const known = series.flatMap((one) => one.values.filter(isNumber));
  const most = known.reduce((a, b) => Math.max(a, b), 0);
  const peak = Math.max(most, ...series.map((one) => one.floor || 0));
  const legend = [
    ...series.map((one) => [`${one.kind} ${one.color}`, one.name]),
    ...shades.filter((one) => at.some((_, index) => one.isOn(index))).map((one) => [`shade ${one.color}`, one.name]),
  ];
  const draw = (width, readout) => {
    const inner = Math.max(20, width - LEFT - RIGHT);
    const scale = new TimeScale(at, over.isOn, bucket, inner);
    const ticks = ticksTo(peak);
    const top = ticks[ticks.length - 1];
    const tall = height - TOP - BELOW;
    const y = (one) => TOP + tall - (Math.max(0, one) / top) * tall;
    const x = (time) => LEFT + scale.x(time);
    const chart = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
    add(chart, [
      scale.idle.map((one) => idlePiece(one, tall)),
      shades.flatMap((shade) =>
        stretches(at, shade.isOn, bucket).map(([a, b]) =>
          svg("rect", {
            class: `shade ${shade.color}`,
            x: x(at[a]),
            y: TOP,
            width: Math.max(1.5, x(at[b] + bucket) - x(at[a])),
            height: tall,
          }),
        ),
      ),
      ticks.map((one) =>
        svg(
          "g",
          {},
          svg("line", { class: one ? "grid" : "axis", x1: LEFT, x2: width - RIGHT, y1: y(one), y2: y(one) }),
          svg("text", { class: "tick end", x: LEFT - 6, y: y(one) + 3.5 }, value(one)),
        ),
      ),
      scale.ticks().map((one) => svg("text", { class: "tick middle", x: LEFT + one.x, y: height - 5 }, one.words)),
      series.map((one) => drawn(one, { at, bucket, x, y })),
    ]);
    add(chart, hover({ chart, scale, width, tall, over, series, readout, value, shades, extra }));
    return chart;
  };
  const gaps = new TimeScale(at, over.isOn, bucket, 100).idle;
  const said = [
    series.map((one) => `${one.name} up to ${value(one.values.filter(isNumber).reduce((a, b) => Math.max(a, b), 0))}`).join(", "),
    gaps.length && `${gaps.length} ${gaps.length === 1 ? "time" : "times"} without work`,
    ...shades
      .map((one) => [one, stretches(at, one.isOn, bucket).length])
      .filter(([, many]) => many)
      .map(([one, many]) => `${one.name} ${many} times`),
  ];
  return figure({
    title,
    note,
    legend,
    draw,
    words: said.filter(Boolean).join("; "),
    head: ["time", ...series.map((one) => one.name), ...shades.map((one) => one.name), ...(extra ? ["held down by"] : [])],
    lines: () =>
      at.map((time, index) => [
        exactly(time),
        ...series.map((one) => value(one.values[index])),
        ...shades.map((one) => (one.isOn(index) ? "yes" : "")),
        ...(extra ? [extra(index)] : []),
      ]),
  });
}

function idlePiece(one, tall) {
  const away = lasted(one.to - one.from);
  return svg(
    "g",
    { class: "idle" },
    svg("title", {}, `nothing ran for ${away}`),
    svg("rect", { x: LEFT + one.x, y: TOP, width: Math.max(1, one.wide), height: tall }),
    one.wide > 70 || one.cut
      ? svg(
          "text",
          {
            class: "tick middle",
            transform: one.wide > 70 ? null : `rotate(-90 ${LEFT + one.x + one.wide / 2 + 4} ${TOP + tall / 2})`,
            x: LEFT + one.x + one.wide / 2 + (one.wide > 70 ? 0 : 4),
            y: TOP + tall / 2,
          },
          one.wide > 90 ? `nothing ran, ${away}` : away,
        )
      : null,
  );
}

function drawn(one, { at, bucket, x, y }) {
  const parts = stretches(at, (index) => isNumber(one.values[index]), bucket);
  if (one.kind === "bars") {
    return svg(
      "g",
      { class: `bars ${one.color}` },
      at.map(
        (time, index) =>
          one.values[index] > 0 &&
          svg("rect", {
            x: x(time),
            y: y(one.values[index]),
            width: Math.max(1, x(time + bucket) - x(time) - 0.5),
            height: y(0) - y(one.values[index]),
          }),
      ),
    );
  }
  return parts.map(([a, b]) => {
    const points = [];
    for (let index = a; index <= b; index++) {
      points.push(
        `${x(at[index]).toFixed(1)},${y(one.values[index]).toFixed(1)}`,
        `${x(at[index] + bucket).toFixed(1)},${y(one.values[index]).toFixed(1)}`,
      );
    }
    const [first, last] = [x(at[a]).toFixed(1), x(at[b] + bucket).toFixed(1)];
    return [
      one.kind === "area" &&
        svg("path", { class: `area ${one.color}`, d: `M${first},${y(0)}L${points.join("L")}L${last},${y(0)}Z` }),
      svg("path", { class: `line ${one.color}`, d: `M${points.join("L")}` }),
    ];
  });
}

function hover({ chart, scale, width, tall, over, series, readout, value, shades, extra }) {
  const guide = svg("line", { class: "guide", x1: -9, x2: -9, y1: TOP, y2: TOP + tall });
  chart.onpointermove = (event) => {
    const left = event.clientX - chart.getBoundingClientRect().left;
    if (left < LEFT || left > width - RIGHT) return chart.onpointerleave();
    const time = scale.time(left - LEFT);
    const index = over.at.findIndex((one) => time >= one && time < one + over.bucket);
    guide.setAttribute("x1", left);
    guide.setAttribute("x2", left);
    const said =
      index < 0 || !over.isOn(index)
        ? ["nothing ran"]
        : [
            ...series.map((one) => `${one.name} ${value(one.values[index])}`),
            ...shades.filter((one) => one.isOn(index)).map((one) => one.name),
            extra && extra(index),
          ];
    readout.textContent = [exactly(time), ...said].filter(Boolean).join(" · ");
  };
  chart.onpointerleave = () => {
    guide.setAttribute("x1", -9);
    guide.setAttribute("x2", -9);
    readout.textContent = "";
  };
  return guide;
}

/** How values are spread, with p50, p90 and p99 marked. */
export function histogram({ title, unit, edges, counts, p50, p90, p99, max, n }, height = 108) {
  const most = counts.reduce((a, b) => Math.max(a, b), 0);
  const marks = [
    ["p50", p50],
    ["p90", p90],
    ["p99", p99],
  ].filter(([, at]) => isNumber(at));
  const below = 34;
  const draw = (width, readout) => {
    const inner = width - 8;
    const tall = height - 10 - below;
    const x = (bins) => 4 + (bins / Math.max(1, counts.length)) * inner;
    const chart = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
    let lastWords = -99;
    add(chart, [
      svg("line", { class: "axis", x1: 4, x2: width - 4, y1: 10 + tall, y2: 10 + tall }),
      counts.map((many, index) => {
        const high = many ? Math.max(1.5, (many / (most || 1)) * tall) : 0;
        const bar = svg("rect", {
          class: "bin",
          x: x(index) + 0.5,
          width: Math.max(1, x(index + 1) - x(index) - 1),
          y: 10 + tall - high,
          height: high,
        });
        const area = svg("rect", { class: "catch", x: x(index), width: x(index + 1) - x(index), y: 0, height: 10 + tall });
        area.onpointerenter = () =>
          (readout.textContent = `${withUnit(edges[index], unit)} to ${withUnit(edges[index + 1], unit)}: ${count(many)}`);
        area.onpointerleave = () => (readout.textContent = "");
        return [bar, area];
      }),
      marks.map(([name, at]) => {
        const place = x(amongBins(edges, at));
        const words = withUnit(at, unit);
        const room = Math.max(name.length, words.length) * 6.4;
        const wordsAt = Math.max(lastWords + 5, 2, Math.min(place - room / 2, width - 4 - room));
        const fits = wordsAt + room <= width && Math.abs(wordsAt + room / 2 - place) < 60;
        if (fits) lastWords = wordsAt + room;
        return svg(
          "g",
          { class: `mark ${name}` },
          svg("title", {}, `${name} ${words}`),
          svg("line", { x1: place, x2: place, y1: 4, y2: 10 + tall + 4 }),
          fits && svg("text", { class: "tick middle strong", x: wordsAt + room / 2, y: 10 + tall + 16 }, words),
          fits && svg("text", { class: "tick middle", x: wordsAt + room / 2, y: 10 + tall + 29 }, name),
        );
      }),
    ]);
    return chart;
  };
  return figure({
    title,
    note: isNumber(max) ? `up to ${withUnit(max, unit)}` : null,
    draw,
    className: "small-chart",
    words: [
      ...marks.map(([name, at]) => `${name} ${withUnit(at, unit)}`),
      `highest ${withUnit(max, unit)}`,
      `${count(n)} rows`,
    ].join(", "),
    head: ["from", "to", "rows"],
    lines: () => counts.map((many, index) => [digits(edges[index], 4), digits(edges[index + 1], 4), count(many)]),
  });
}

/** A bar within a cell of a table: parts of `whole`, each [value, color]. */
export function bar(parts, whole) {
  return h(
    "span",
    { class: "bar", "aria-hidden": "true" },
    parts.map(
      ([value, color]) =>
        value > 0 && whole > 0 && h("i", { class: color, style: { width: `${Math.min(100, (value / whole) * 100)}%` } }),
    ),
  );
}

/** One bar over the whole width for how many of each kind: [[name, many, color]]. */
export function stacked(parts, whole, label) {
  const shown = parts.filter(([, many]) => many > 0);
  const words = shown.map(([name, many]) => `${count(many)} ${name}`).join(", ") || "nothing yet";
  return h(
    "div",
    { class: "stacked", role: "img", "aria-label": `${label}: ${words}` },
    shown.map(([name, many, color]) =>
      h("i", { class: color, title: `${name}: ${count(many)} (${share(many / whole)})`, style: { "flex-grow": String(many) } }),
    ),
  );
}

/** A share with its interval, as a line from 0 to 100 %. */
export function interval({ p, low, high }, label) {
  const at = (value) => `${(value * 100).toFixed(2)}%`;
  return h(
    "span",
    { class: "interval", role: "img", "aria-label": `${label} ${share(p)}, between ${share(low)} and ${share(high)}` },
    h("i", { class: "range", style: { left: at(low), width: at(high - low) } }),
    h("i", { class: "point", style: { left: at(p) } }),
  );
}
