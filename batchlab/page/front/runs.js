// All runs of a folder.

import { stacked } from "./charts.js";
import { fill, h, later, show } from "./dom.js";
import { ago, count, counted, exactly, isNumber, share, usd } from "./format.js";
import { bind, unbind } from "./keys.js";
import { address, choose, go, here } from "./router.js";
import { setLine, setPlace, trouble } from "./shell.js";
import { source } from "./source.js";
import { tamed } from "./text.js";
import { stageChip, STATUSES, colorOf } from "./states.js";

const SHOWN = 300;
const SHOW_RUNS = "Runs";

export function runsView(root) {
  setPlace({ id: null, name: "", view: "runs" });
  let listing = null;
  let shown = SHOWN;
  const body = h("div", { class: "wide" });
  const searched = later(120, () => choose({ q: search.value || null }));
  const search = h("input", {
    type: "search",
    placeholder: "find a run",
    "aria-label": "Find a run by its name",
    value: here().params.q || "",
    oninput: searched,
  });
  fill(root, body);

  const paint = () => {
    if (!listing) return;
    const wanted = (here().params.q || "").toLowerCase();
    const every = listing.runs;
    const found = wanted
      ? every.filter((run) => `${run.name} ${run.model || ""} ${run.state}`.toLowerCase().includes(wanted))
      : every;
    const more = found.length - shown;
    const extra = found.some(isForecast);
    show(table, [
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, "run"),
          h("th", { scope: "col" }, "state"),
          h("th", { scope: "col", class: "grow" }, "rows"),
          h("th", { scope: "col", class: "num" }, "cost"),
          extra && h("th", { scope: "col", class: "num" }, "forecast"),
          h("th", { scope: "col", class: "num" }, "worked on"),
        ),
      ),
      h(
        "tbody",
        {},
        found.slice(0, shown).map((run) => runLine(run, extra)),
      ),
    ]);
    show(below, [
      !found.length &&
        h(
          "div",
          { class: "nothing" },
          h("p", {}, every.length ? `No run is called like “${here().params.q}”.` : "No runs here yet."),
          !every.length &&
            h("p", { class: "quiet" }, "A run appears here as soon as it begins: ", h("code", {}, "batchlab run job.toml")),
        ),
      more > 0 &&
        h("button", { type: "button", onclick: () => ((shown += SHOWN), paint()) }, `show ${count(Math.min(more, SHOWN))} more`),
      (listing.notes || []).map((note) => h("p", { class: "quiet note-line", dir: "auto" }, note)),
    ]);
    show(head, [
      h("h1", {}, "Runs"),
      h("span", { class: "quiet" }, `${counted(every.length, "run")}${listing.folder ? ` in ${listing.folder}` : ""}`),
    ]);
    search.hidden = every.length < 6;
  };

  const head = h("div", { class: "page-head" });
  const table = h("table", { class: "runs" });
  const below = h("div", { class: "below" });

  const told = (next) => {
    listing = next;
    if (!table.isConnected)
      fill(body, h("div", { class: "head-line" }, head, search), h("div", { class: "scroll" }, table), below);
    paint();
  };
  const load = async () => {
    const before = listing;
    try {
      const first = await source.get("runs");
      if (listing === before) told(first); // else the stream has told something newer
    } catch (error) {
      if (!listing) fill(body, trouble(error, load));
    }
  };
  load();
  const stop = source.follow("runs", {}, told, setLine);
  const clock = setInterval(paint, 30_000); // "3 min ago" grows older

  const links = () => [...table.querySelectorAll("a.run-link")];
  const step = (by) => {
    const every = links();
    const at = every.indexOf(document.activeElement);
    const next = every[at < 0 ? 0 : Math.max(0, Math.min(every.length - 1, at + by))];
    if (next) next.focus();
  };
  bind(SHOW_RUNS, [
    { keys: ["j", "ArrowDown"], does: "next run", call: () => step(1) },
    { keys: ["k", "ArrowUp"], does: "run before", call: () => step(-1) },
    { keys: ["Enter"], does: "open it", call: () => links().length === 1 && go(["run", links()[0].dataset.id]) },
    { keys: ["/"], does: "find a run by its name", call: () => search.focus() },
    { keys: ["Escape"], call: () => (search.value ? ((search.value = ""), choose({ q: null })) : search.blur()) },
  ]);
  return {
    update: paint,
    close() {
      searched.drop();
      stop();
      setLine(null);
      clearInterval(clock);
      unbind(SHOW_RUNS);
    },
  };
}

/** Whether it is not yet known what a run costs, but foretold. */
function isForecast(run) {
  return isNumber(run.forecast_usd) && run.state !== "finished";
}

function runLine(run, extra) {
  const { id } = run;
  const rows = isNumber(run.rows) ? run.rows : null;
  const parts = run.counts
    ? STATUSES.map((status) => [status, run.counts[status] || 0, colorOf(status)]).filter(([status]) => status !== "empty")
    : [
        ["answered", (run.done || 0) - (run.failed || 0), "s-ok"],
        ["failed", run.failed || 0, "s-failed"],
        ["pending", Math.max(0, (rows || 0) - (run.done || 0)), "s-pending"],
      ];
  return h(
    "tr",
    {},
    h(
      "th",
      { scope: "row" },
      h("a", { class: "run-link", href: address(["run", id]), "data-id": id, dir: "auto" }, tamed(run.name)),
      run.model && h("div", { class: "quiet cut" }, run.model),
    ),
    h(
      "td",
      {},
      stageChip(run.state),
      run.batches_out > 0 && h("div", { class: "quiet" }, `${counted(run.batches_out, "batch", "batches")} out`),
    ),
    h(
      "td",
      { class: "grow" },
      run.problem
        ? h("div", { class: "bad-words", dir: "auto" }, run.problem)
        : [
            stacked(parts, rows || 1, "rows"),
            h(
              "div",
              { class: "quiet under-bar" },
              `${count(run.done)} of ${count(rows)}`,
              rows > 0 && ` · ${share((run.done || 0) / rows)}`,
              run.failed > 0 && h("span", { class: "bad-words" }, ` · ${count(run.failed)} failed`),
            ),
          ],
    ),
    h("td", { class: "num" }, usd(run.cost_usd)),
    extra && h("td", { class: "num quiet" }, isForecast(run) ? usd(run.forecast_usd) : ""),
    h("td", { class: "num quiet", title: exactly(run.at) }, ago(run.at)),
  );
}
