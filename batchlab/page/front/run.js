// One run: where it is, what it costs, what is wrong with it, what it is.

import { openActs } from "./act.js";
import { say } from "./copy.js";
import { fill, h, keyed, show } from "./dom.js";
import { bind, unbind } from "./keys.js";
import { go } from "./router.js";
import { setLine, setPlace, setRun, trouble } from "./shell.js";
import { source } from "./source.js";
import { doneOf, headOf, moneyOf, wrongOf } from "./sections.js";
import { whatOf } from "./what.js";
import { chartsOf } from "./runcharts.js";

const CHARTS_EVERY_MS = 5000; // they read rows; the rest of the page is cheap
const SHOW_RUN = "Run";

export function runView(root, place) {
  const id = place.parts[1];
  setPlace({ id, name: "", view: "overview" });
  let run = null;
  let charts = null;
  let chartsError = "";
  let chartsFor = ""; // how the run stood when the charts were asked for
  let asking = false;
  let closed = false;
  const body = h("div", { class: "wide overview" });
  fill(root, body);

  const paint = () => {
    if (!run || closed) return;
    setRun(id, { name: run.name, done: doneOf(run) });
    show(body, [
      headOf(run),
      h(
        "div",
        { class: "columns" },
        h("div", { class: "main-column" }, chartsOf(run, charts, chartsError)),
        h(
          "aside",
          { class: "side-column", "aria-label": "Cost and problems" },
          keyed("money", [run.cost, run.tokens, run.requests, run.stage], () => moneyOf(run)),
          charts && keyed("wrong", [charts.errors, charts.odd, charts.problems, run.advice], () => wrongOf(run, charts)),
        ),
      ),
      keyed("what", [run.what, run.sessions, run.batches, run.ended_batches, run.place], () => whatOf(run)),
    ]);
  };
  const stands = () => `${run.stage} ${JSON.stringify(run.counts)}`; // a retry changes rows, and not how many are final
  const askCharts = async () => {
    asking = true;
    let came = false;
    try {
      const wanted = stands();
      charts = await source.get("charts", { run: id });
      chartsFor = wanted;
      chartsError = "";
      came = true;
    } catch (error) {
      if (!charts) chartsError = error.message;
    }
    asking = false;
    paint();
    if (came) due(); // it went on meanwhile, and may have ended: then nothing more is told
  };
  let askedAt = 0;
  const due = () => {
    const now = Date.now();
    if (asking || closed || stands() === chartsFor || (charts && run.stage === "running" && now - askedAt <= CHARTS_EVERY_MS))
      return;
    askedAt = now;
    askCharts();
  };
  const told = (next) => {
    const before = run && run.stage;
    run = { ...next, id }; // the name in the address, whatever the run calls itself
    if (before && before !== run.stage) say(`The run is ${run.stage}.`);
    paint();
    due();
  };
  const load = async () => {
    const before = run;
    try {
      const first = await source.get("run", { run: id });
      if (closed || run !== before) return; // the stream has told something newer
      told(first);
    } catch (error) {
      if (!run && !closed) fill(body, trouble(error, load));
    }
  };
  load();
  const stop = source.follow("run", { run: id }, told, setLine);
  bind(SHOW_RUN, [
    { keys: ["Enter"], does: "its rows", call: () => go(["run", id, "rows"]) },
    { keys: ["p"], does: "its problem rows", call: () => go(["run", id, "rows"], { odd: 1 }) },
    { keys: ["a"], does: "act: retry, raise a cap, stop, go on", call: () => openActs(id, {}) },
  ]);
  return {
    update() {},
    close() {
      closed = true;
      stop();
      setLine(null);
      unbind(SHOW_RUN);
    },
  };
}
