// The rows of a run: a list on the left, the row that is open beside it.

import { openActs } from "./act.js";
import { announce, say } from "./copy.js";
import { mark } from "./debug.js";
import { fill, h, later, show } from "./dom.js";
import { FilterBar, filterOfPlace, isFiltered } from "./filters.js";
import { clipped, count, counted, isNumber, short } from "./format.js";
import { bind, unbind } from "./keys.js";
import { VirtualList } from "./list.js";
import { choose, go, here } from "./router.js";
import { RowPane, chooseRow } from "./row.js";
import { commonBeginning, lineOf } from "./rowline.js";
import { doneOf } from "./sections.js";
import { setLine, setPlace, setRun, trouble } from "./shell.js";
import { source } from "./source.js";

const POLL_MS = 100; // while a search goes on: a question is answered after 200 ms at most
const LIVE_MS = 2000; // between two looks at a run that runs
const SHOW_ROWS = "Rows";
const SHOW_ROW = "A row";
const HEADS = [
  ["", "", ""],
  ["row", "row", "num"],
  ["", "asked", ""],
  ["", "answer", ""],
  ["", "label", ""],
  ["latency_ms", "latency", "num"],
  ["total_tokens", "tokens", "num"],
  ["cost_usd", "cost", "num"],
];

export function rowsView(root, place) {
  return new Rows(root, place.parts[1]).view();
}

class Rows {
  constructor(root, id) {
    this.id = id;
    this.running = null; // the filter that is shown, as text; null again when this view is closed
    this.bar = new FilterBar(id, () => this.toList());
    this.pane = new RowPane(id, {
      onStep: (by) => this.step(by),
      onClose: () => this.shut(),
      onLabel: (told) => this.labelled(told),
    });
    this.head = h("div", { class: "line head", role: "row", "aria-rowindex": "1" });
    this.list = new VirtualList({
      label: "Rows",
      lineHeight: 32,
      head: this.head,
      fetch: (offset, limit) => source.get("rows", { ...this.filter(), run: id, offset, limit }),
      draw: (row) => lineOf(row, here().params.q, here().params.q ? "" : this.common),
      onOpen: (index, row) => row && this.open(index, row),
      onCount: (answer) => this.counted(answer),
      onProblem: (error, isNew) => this.failed(error, isNew),
    });
    this.state = h("div", { class: "list-state", role: "status" });
    this.over = h("div", { class: "list-over" });
    this.split = h(
      "div",
      { class: "split" },
      h("div", { class: "list-side" }, this.list.box, this.over, this.state),
      this.pane.element,
    );
    fill(root, h("div", { class: "rows-view" }, h("h1", { class: "for-ears" }, "Rows"), this.bar.element, this.split));
    this.measure = new ResizeObserver(() => this.fit());
    this.measure.observe(this.split);
    this.poll = later(POLL_MS, () => this.list.refresh());
    setPlace({ id, view: "rows" });
    this.bar.load();
    this.stop = source.follow("run", { run: id }, (run) => this.told(run), setLine);
    this.bindKeys();
    this.update(here());
  }

  /** From the search to what it found. */
  toList() {
    this.list.box.focus({ preventScroll: true });
    if (this.list.cursor < 0) this.step(1);
  }

  view() {
    return { update: (place) => this.update(place), close: () => this.close() };
  }

  close() {
    this.running = null; // what is waited for now is for nobody
    this.bar.close();
    this.list.close();
    this.measure.disconnect();
    this.stop();
    this.poll.drop();
    this.pane.close();
    setLine(null);
    unbind(SHOW_ROWS);
    unbind(SHOW_ROW);
  }

  filter() {
    return filterOfPlace(here().params);
  }

  /** The address changed: another filter, another row. */
  async update({ params }) {
    this.bar.paint();
    this.paintHead();
    const wanted = JSON.stringify(this.filter());
    const isOther = wanted !== this.running;
    if (isOther) {
      this.running = wanted;
      this.poll.drop();
      const began = performance.now();
      const did = await this.list.reset();
      if (wanted !== this.running) return;
      if (did) mark(isFiltered(params) ? "filtered" : "rows", began);
    }
    const row = here().params.row;
    const rowId = row === undefined ? null : Number(row);
    this.split.classList.toggle("open", rowId !== null);
    document.body.classList.toggle("row-open", rowId !== null);
    if (rowId === null) {
      this.pane.close();
      return;
    }
    const known = this.list.cursor >= 0 ? this.list.row(this.list.cursor) : null;
    if (!known || known.row_id !== rowId) await this.find(rowId);
    if (wanted !== this.running || String(rowId) !== here().params.row) return;
    this.fit();
    await this.pane.open(rowId, this.position());
    if (wanted !== this.running) return;
    const next = this.list.row(this.list.cursor + 1);
    if (next) this.pane.ahead(next.row_id);
  }

  /** Where a row is in the list that is shown. */
  async find(rowId) {
    try {
      const place = await source.get("place", { ...this.filter(), run: this.id, row: rowId });
      this.list.select(isNumber(place.position) ? place.position - 1 : -1, { center: true });
    } catch {
      this.list.select(-1); // the row itself says what is wrong
    }
  }

  position() {
    if (this.list.cursor < 0) return isFiltered(here().params) ? "not among the rows shown" : "";
    return `${count(this.list.cursor + 1)} of ${count(this.list.total)}`;
  }

  async open(index, row, step = !here().params.row) {
    this.list.select(index);
    if (here().params.row === String(row.row_id)) return this.pane.stay();
    return chooseRow(row.row_id, step);
  }

  shut() {
    if (here().params.row === undefined) return;
    chooseRow(null, false);
    this.list.box.focus({ preventScroll: true });
  }

  step(by) {
    return this.went(this.list.moved(by), by);
  }

  /** The cursor went to a line, or could not (null). */
  async went(index, by) {
    const isOpen = here().params.row !== undefined;
    if (index === null) {
      if (isOpen && this.list.total) say(by > 0 ? "This is the last row." : "This is the first row.");
      return;
    }
    if (!isOpen) {
      const row = this.list.row(index);
      if (row) announce(`${row.status}, row ${row.row_id}, ${clipped(row.answer || row.asked || "", 120)}`);
      return;
    }
    this.pane.leave(); // from here on a key is for the row to which it goes
    const row = await this.list.rowAt(index);
    if (this.list.cursor !== index) return;
    if (row) await this.open(index, row, false);
    else this.pane.stay();
  }

  counted(answer) {
    const { matched, total, searched, problems, everywhere } = answer;
    // texts that are still to be read are asked for by the list, for the lines that are seen
    const done = answer.done || (searched >= total && answer.rows.some((row) => row.read === false));
    const filtered = isFiltered(here().params);
    const words = filtered ? `${counted(matched, "row")} of ${count(total)}` : counted(total, "row");
    const extra =
      answer.left_out > 0 ? `, ${answer.left_out_text || `${count(answer.left_out)} more are not in this report`}` : "";
    this.state.setAttribute("aria-busy", String(!done)); // a search is read out when it is complete, not ten times a second
    show(this.state, [
      h("span", {}, words, extra),
      everywhere && h("span", { class: "quiet" }, "every prompt has this text; found are rows by what is their own"),
      !done &&
        h(
          "span",
          { class: "searching" },
          h("progress", { max: String(total || 1), value: searched || 0, "aria-label": "rows searched" }),
          ` searched ${short(searched)} of ${short(total)}`,
        ),
      (problems || []).map((text) => h("span", { class: "bad-words", dir: "auto" }, text)),
    ]);
    if (!done) this.poll();
    if (answer.offset === 0 && answer.rows.every((row) => row.read !== false)) this.setCommon(answer.rows);
    this.pane.setPosition(this.position());
    const empty = matched === 0 && done;
    this.over.hidden = !empty;
    if (empty)
      show(this.over, [
        h("p", {}, filtered ? "No row is like that." : "No rows yet."),
        everywhere && h("p", {}, "The text is in what every prompt says, and in nothing that is a row's own."),
        filtered && h("button", { type: "button", onclick: () => this.bar.clear() }, "Clear the filter"),
      ]);
  }

  setCommon(rows) {
    const common = commonBeginning(rows.map((row) => row.asked));
    if (common !== this.common) this.list.forget();
    this.common = common;
  }

  failed(error, isNew) {
    if (!isNew) {
      say(error.message, { bad: true });
      return;
    }
    this.state.replaceChildren();
    fill(
      this.over,
      trouble(error, () => ((this.running = null), this.update(here()))),
    );
    this.over.hidden = false;
  }

  told(run) {
    setRun(this.id, { name: run.name, done: doneOf(run) });
    if (this.saidOf !== undefined && this.saidOf !== run.labelled) this.relabels = true;
    this.saidOf = run.labelled;
    const stands = `${run.stage} ${run.labelled} ${JSON.stringify(run.counts)}`;
    if (this.stands !== undefined && this.stands !== stands && !this.waiting) {
      this.waiting = true; // not pushed away by the next event: a busy run tells something every second
      setTimeout(() => {
        this.waiting = false;
        if (this.running !== null) this.look();
      }, LIVE_MS);
    }
    this.stands = stands;
  }

  /** What is shown, anew: the run went on. */
  async look() {
    if (this.relabels) {
      this.relabels = false;
      this.pane.relabel();
    }
    this.bar.load();
    await this.list.refresh();
    if (this.running === null) return;
    const row = this.pane.row;
    let line = this.list.row(this.list.cursor);
    if (row && line && line.row_id !== row.row_id) {
      await this.find(row.row_id); // others came before it
      line = this.list.row(this.list.cursor);
      this.pane.setPosition(this.position());
    }
    if (line && row && line.row_id === row.row_id && line.status !== row.status) {
      await this.pane.fetched(row.row_id, true);
      await this.pane.open(row.row_id, this.position());
    }
  }

  labelled({ row, label, note }) {
    for (const rows of this.list.blocks.values()) {
      const at = rows.findIndex((one) => one.row_id === row);
      if (at >= 0) rows[at] = { ...rows[at], label, note: Boolean(note) };
    }
    this.list.paint();
    this.bar.load();
  }

  /** Lines are of one height: two lines of text where there is little room. */
  fit() {
    const narrow = this.list.box.clientWidth < 760;
    this.list.box.classList.toggle("narrow", narrow);
    this.list.setHeight(narrow ? 58 : 32);
    this.list.paint();
  }

  paintHead() {
    const sort = here().params.sort || "";
    show(
      this.head,
      HEADS.map(([key, words, kind]) => {
        const now =
          sort.replace(/^-/, "") === key && key
            ? sort.startsWith("-")
              ? "descending"
              : "ascending"
            : key === "row" && !sort
              ? "ascending"
              : null;
        const next = now === "descending" ? key : `-${key}`;
        return h(
          "span",
          { class: `cell ${kind}`, role: "columnheader", "aria-sort": now },
          key
            ? h(
                "button",
                {
                  type: "button",
                  title: `sort by ${words}`,
                  onclick: () => choose({ sort: next === "row" ? null : next, row: null }),
                },
                words,
                h("i", { "aria-hidden": "true" }, now === "descending" ? " ↓" : now && sort ? " ↑" : ""),
              )
            : words || h("span", { class: "for-ears" }, "status"),
        );
      }),
    );
  }

  bindKeys() {
    const isOpen = () => here().params.row !== undefined;
    const enter = async () => {
      const index = this.list.cursor < 0 ? (this.list.moved(1) ?? 0) : this.list.cursor;
      const row = await this.list.rowAt(index);
      if (row) this.open(index, row);
    };
    const jump = (index) => this.went(this.list.jumped(index), index ? 1 : -1);
    bind(
      SHOW_ROW,
      this.pane.keys().map((one) => ({ ...one, call: (event) => (isOpen() ? this.isSeen() && one.call(event) : false) })),
    );
    bind(SHOW_ROWS, [
      {
        keys: ["j", "ArrowDown"],
        does: "next row",
        call: (event) => (event.key === "ArrowDown" && event.target === this.pane.body ? false : this.step(1)),
      },
      {
        keys: ["k", "ArrowUp"],
        does: "row before",
        call: (event) => (event.key === "ArrowUp" && event.target === this.pane.body ? false : this.step(-1)),
      },
      { keys: ["Enter", "o"], does: "open the row", call: enter },
      { keys: ["Escape"], does: "close the row, leave the search, clear the filter", call: (event) => this.escaped(event) },
      { keys: ["/"], does: "search prompts and answers", call: () => (this.bar.search.focus(), this.bar.search.select()) },
      { keys: ["f"], does: "filter: error, lane, label, any column", call: () => this.bar.openFilter() },
      { keys: ["p"], does: "problem rows first", call: () => choose({ odd: here().params.odd ? null : 1, row: null }) },
      { keys: ["PageDown"], call: (event) => (event.target === this.pane.body ? false : this.step(this.list.page)) },
      { keys: ["PageUp"], call: (event) => (event.target === this.pane.body ? false : this.step(-this.list.page)) },
      { keys: ["Home", "g g"], does: "first row", call: (event) => (event.target === this.pane.body ? false : jump(0)) },
      {
        keys: ["End", "G"],
        does: "last row",
        call: (event) => (event.target === this.pane.body ? false : jump(this.list.total - 1)),
      },
      { keys: ["b"], does: "review a random sample", call: () => go(["run", this.id, "review"], this.filter()) },
      { keys: ["a"], does: "act on these rows", call: () => openActs(this.id, this.filter()) },
    ]);
  }

  /** Whether the row that is shown is the one that the cursor is on: the next one may be on its way. */
  isSeen() {
    const line = this.list.row(this.list.cursor);
    return this.list.cursor < 0 || (this.pane.row !== null && line !== null && line.row_id === this.pane.row.row_id);
  }

  escaped(event) {
    if (event.target === this.bar.search) {
      if (this.bar.search.value) choose({ q: null, row: null });
      this.bar.search.value = "";
      this.list.box.focus({ preventScroll: true });
    } else if (here().params.row !== undefined) this.shut();
    else if (isFiltered(here().params)) this.bar.clear();
    else return false;
    return true;
  }
}
