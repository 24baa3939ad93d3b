// Reviewing a random sample, by keyboard alone: a row, a key, the next row; then what it came to.

import { say } from "./copy.js";
import { fill, h, later, show } from "./dom.js";
import { filterOfPlace } from "./filters.js";
import { count, counted } from "./format.js";
import { bind, unbind } from "./keys.js";
import { homeOf } from "./reviewhome.js";
import { address, choose, here } from "./router.js";
import { RowPane } from "./row.js";
import { setLine, setPlace, setRun, trouble } from "./shell.js";
import { source } from "./source.js";

const SHOW_REVIEW = "Review";
const SIZES = [50, 100, 200, 400, 1000];
const THEIRS_MS = 800; // after the last label of others, or of one's own
const AT_ONCE = 500; // row numbers in one question

export function newSeed() {
  return 1 + Math.floor(Math.random() * 999_999);
}

export function reviewView(root, place) {
  return new Review(root, place.parts[1]).view();
}

class Review {
  constructor(root, id) {
    Object.assign(this, { root, id, sample: null, labels: new Map(), began: null, closed: false });
    this.pane = new RowPane(id, { onStep: (by) => this.step(by), onClose: null, onLabel: (told) => this.labelled(told) });
    this.bar = h("div", { class: "review-bar" });
    this.home = h("div", { class: "wide review-home" });
    setPlace({ id, view: "review" });
    source.get("run", { run: id }).then(
      (run) => {
        this.run = run;
        setRun(id, run);
        if (!this.closed && !here().params.seed) this.paintHome();
      },
      () => {},
    );
    bind(SHOW_REVIEW, [
      { keys: ["b"], does: "begin a random review", call: () => !this.sample && this.start(this.usual()) },
      {
        keys: ["j", "ArrowDown", "ArrowRight"],
        does: "next row of the sample",
        call: (event) => this.#ifRow(event, () => this.step(1)),
      },
      { keys: ["k", "ArrowUp", "ArrowLeft"], does: "row before", call: (event) => this.#ifRow(event, () => this.step(-1)) },
      { keys: ["N"], does: "next row without a label", call: () => this.sample && this.toUnlabelled() },
      { keys: ["Escape"], does: "what it came to", call: () => this.sample && choose({ at: null, seed: null }, { step: true }) },
      ...this.pane.keys().map((one) => ({ ...one, call: (event) => (this.sample ? one.call(event) : false) })),
    ]);
    this.others = later(THEIRS_MS, () => this.relabel());
    this.stop = source.follow(
      "run",
      { run: id },
      ({ labelled }) => {
        if (this.saidOf !== undefined && this.saidOf !== labelled) this.others();
        this.saidOf = labelled;
      },
      setLine,
    );
    this.update(here());
  }

  view() {
    return { update: (place) => this.update(place), close: () => this.close() };
  }

  close() {
    this.closed = true;
    this.stop();
    this.others.drop();
    setLine(null);
    this.pane.close();
    unbind(SHOW_REVIEW);
  }

  #ifRow(event, call) {
    return this.sample && !(event.target === this.pane.body && event.key.startsWith("Arrow")) ? call() : false;
  }

  async update({ params }) {
    if (!params.seed) {
      this.sample = null;
      this.began = null;
      await this.paintHome();
      return;
    }
    const wanted = `${params.n} ${params.seed} ${JSON.stringify(filterOfPlace(params))}`;
    if (this.began !== wanted) {
      this.began = wanted;
      try {
        const answer = await source.get("sample", {
          ...filterOfPlace(params),
          run: this.id,
          n: params.n || 200,
          seed: params.seed,
        });
        const isStill = () => !this.closed && this.began === wanted;
        const labels = await this.labelsOf(answer.rows, isStill);
        if (!isStill()) return;
        [this.sample, this.labels] = [answer.rows, labels];
      } catch (error) {
        if (this.closed || this.began !== wanted) return;
        this.began = null;
        fill(
          this.root,
          h(
            "div",
            { class: "wide" },
            trouble(error, () => this.update(here())),
          ),
        );
        return;
      }
      fill(this.root, h("div", { class: "review-view" }, h("h1", { class: "for-ears" }, "Review"), this.bar, this.pane.element));
    }
    if (!this.sample) return; // asked for, and not there yet
    if (!this.sample.length) {
      fill(
        this.root,
        h(
          "div",
          { class: "wide nothing" },
          h("p", {}, "There is no row to review."),
          h("p", {}, h("a", { href: address(["run", this.id, "review"]) }, "back")),
        ),
      );
      this.sample = null;
      this.began = null;
      return;
    }
    const index = this.index();
    this.paintBar();
    await this.pane.open(this.sample[index], `${count(index + 1)} of ${count(this.sample.length)}`);
    this.pane.ahead(this.sample[index + 1]);
  }

  async labelsOf(ids, isStill) {
    const labels = new Map();
    for (let from = 0; from < ids.length && isStill(); from += AT_ONCE) {
      const some = ids.slice(from, from + AT_ONCE);
      const page = await source.get("rows", { run: this.id, rows: some.join(","), limit: AT_ONCE });
      for (const row of page.rows) if (row.label) labels.set(row.row_id, row.label);
    }
    return labels;
  }

  /** What others have said meanwhile. */
  async relabel() {
    const { sample } = this;
    if (!sample) return here().params.seed || this.paintHome();
    const isStill = () => !this.closed && this.sample === sample;
    try {
      const labels = await this.labelsOf(sample, isStill);
      if (!isStill()) return null;
      this.labels = labels;
    } catch {
      return null; // it is said where a label is kept
    }
    this.paintBar();
    return this.pane.relabel();
  }

  index() {
    const at = Number(here().params.at || 1) - 1;
    return Math.max(0, Math.min(this.sample.length - 1, Number.isInteger(at) ? at : 0));
  }

  /** Sizes of samples that the run has rows for. */
  sizes() {
    const rows = this.run ? this.run.rows : Infinity;
    const fitting = SIZES.filter((size) => size <= rows);
    return fitting.length ? fitting : [Math.max(1, rows)];
  }

  usual() {
    return (
      this.sizes()
        .filter((size) => size <= 200)
        .at(-1) || this.sizes()[0]
    );
  }

  start(many) {
    choose({ n: many, seed: newSeed(), at: 1 }, { step: true });
  }

  step(by) {
    const next = this.index() + by;
    if (next < 0) return say("This is the first row of the sample.");
    if (next >= this.sample.length) return this.finish();
    choose({ at: next + 1 });
  }

  finish() {
    const left = this.sample.filter((row) => !this.labels.has(row)).length;
    if (left) return say(`This is the last row; ${counted(left, "row")} without a label. Press N for the next of them.`);
    say("Every row of the sample has a label.");
    choose({ at: null, seed: null }, { step: true });
  }

  toUnlabelled() {
    const from = this.index();
    const order = [...this.sample.keys()].map((_, index) => (from + 1 + index) % this.sample.length);
    const next = order.find((index) => !this.labels.has(this.sample[index]));
    if (next === undefined) return this.finish();
    choose({ at: next + 1 });
  }

  labelled({ row, label, undone, theirs }) {
    const before = this.labels.get(row);
    if (label) this.labels.set(row, label);
    else this.labels.delete(row);
    if (!this.sample) return;
    if (theirs) return this.paintBar();
    if (undone) {
      const at = this.sample.indexOf(row);
      if (at >= 0) choose({ at: at + 1 });
    } else if (label && label !== before && this.sample[this.index()] === row) this.step(1);
    return this.paintBar();
  }

  paintBar() {
    const done = this.sample.filter((row) => this.labels.has(row)).length;
    show(this.bar, [
      h("progress", { max: String(this.sample.length), value: done, "aria-label": "rows with a label" }),
      h("span", {}, h("b", {}, count(done)), ` of ${count(this.sample.length)} labelled`),
      h("span", { class: "quiet" }, `sample ${here().params.seed}`),
      h(
        "button",
        { type: "button", class: "plain-button", onclick: () => choose({ at: null, seed: null }, { step: true }) },
        "what it came to",
      ),
    ]);
  }

  async paintHome() {
    const { params } = here();
    fill(this.root, this.home);
    if (!this.home.childElementCount) fill(this.home, h("p", { class: "quiet", role: "status" }, "reading labels…"));
    let labels;
    try {
      labels = await source.get("labels", { run: this.id, by: params.by });
    } catch (error) {
      return fill(
        this.home,
        trouble(error, () => this.paintHome()),
      );
    }
    if (this.closed || here().params.seed) return null;
    const [sizes, usual] = [this.sizes(), this.usual()];
    const start = (many) => this.start(many);
    return show(this.home, homeOf({ id: this.id, run: this.run, labels, sizes, usual, start }));
  }
}
