// One row, whole: what was asked, what came, what it cost; and the keys that belong to it.

import { announce, copied, say } from "./copy.js";
import { fill, h, show, toggle } from "./dom.js";
import { clipped, count, isNumber } from "./format.js";
import { LabelBar } from "./label.js";
import { choose, here } from "./router.js";
import { RowParts } from "./rowparts.js";
import { trouble } from "./shell.js";
import { source } from "./source.js";
import { statusChip } from "./states.js";
import { highlight, tamed } from "./text.js";

const KNOWN = 30; // rows kept as they came

/** Shows a row in `element`; `onStep(by)` asks for a neighbour, `onClose()` ends it (null: it stays). */
export class RowPane {
  constructor(id, { onStep, onClose, onLabel }) {
    Object.assign(this, { id, onStep, onClose });
    this.known = new Map();
    this.row = null;
    this.position = "";
    this.isRaw = false;
    this.label = new LabelBar(id, (told) => onLabel(told, this.row));
    this.top = h("header", { class: "pane-top" });
    this.body = h("div", { class: "pane-body", tabindex: "0", role: "region", "aria-label": "The row's texts" });
    this.element = h("article", { class: "pane", "aria-label": "Row" }, this.top, this.body, this.label.element);
  }

  /** The row as the source has it; asked for once while it is among the last. */
  async fetched(rowId, fresh = false) {
    if (fresh) this.known.delete(rowId);
    if (!this.known.has(rowId)) {
      const asked = source.get("row", { run: this.id, row: rowId, q: here().params.q });
      asked.catch(() => this.known.delete(rowId));
      this.known.set(rowId, asked);
      if (this.known.size > KNOWN) this.known.delete(this.known.keys().next().value);
    }
    return this.known.get(rowId);
  }

  ahead(rowId) {
    if (isNumber(rowId)) this.fetched(rowId).catch(() => {}); // it is told when it is opened
  }

  async open(rowId, position) {
    this.position = position;
    this.wanted = rowId;
    this.label.due = rowId;
    const slow = setTimeout(
      () => this.wanted === rowId && (this.element.setAttribute("aria-busy", "true"), this.element.classList.add("slow")),
      150,
    );
    try {
      const row = await this.fetched(rowId);
      if (this.wanted !== rowId) return;
      const another = !this.row || this.row.row_id !== rowId;
      this.row = row;
      this.paint();
      if (another) this.body.scrollTop = 0;
      this.#toFirstHit();
      announce(`Row ${rowId}, ${row.status}. ${position}`);
    } catch (error) {
      if (this.wanted !== rowId) return;
      this.row = null;
      this.#paintTop(rowId, null);
      fill(
        this.body,
        trouble(error, () => this.open(rowId, position)),
      );
      this.label.show(null);
    } finally {
      clearTimeout(slow);
      this.element.removeAttribute("aria-busy");
      this.element.classList.remove("slow");
    }
  }

  /** Takes what others have said of the row that is open, and leaves all else as it is. */
  async relabel() {
    const { row } = this;
    this.known.clear();
    this.label.load();
    if (!row) return;
    try {
      const fresh = await this.fetched(row.row_id, true);
      if (this.row !== row) return;
      Object.assign(row, { label: fresh.label, note: fresh.note });
      this.known.set(row.row_id, Promise.resolve(row));
      this.label.show(row);
    } catch {
      // the row is still what it was
    }
  }

  /** Another row is on its way: no key is for this one any more. */
  leave() {
    this.label.due = null;
  }

  stay() {
    this.label.due = this.row && this.row.row_id;
  }

  setPosition(position) {
    this.position = position;
    const place = this.top.querySelector(".position");
    if (place) place.textContent = position;
  }

  close() {
    this.wanted = null;
    this.row = null;
    highlight(this.body, "");
  }

  paint() {
    const row = this.row;
    this.#paintTop(row.row_id, row);
    fill(this.body, new RowParts(this.isRaw).of(row));
    this.label.show(row);
  }

  #paintTop(rowId, row) {
    const own = row && row.custom_id !== null && String(row.custom_id) !== String(rowId) ? row.custom_id : null;
    // what has the focus keeps it: whoever walks by the button of the next row goes on with it
    show(this.top, [
      h(
        "div",
        { class: "pane-title" },
        this.onClose &&
          h(
            "button",
            {
              type: "button",
              class: "tool back",
              onclick: () => this.onClose(),
              "aria-label": "Back to the rows",
              title: "Close (Esc)",
            },
            "✕",
          ),
        h(
          "h2",
          {},
          `row ${count(rowId)}`,
          own && h("span", { class: "own-id", dir: "auto", title: own }, tamed(clipped(own, 60))),
        ),
        row && statusChip(row.status),
      ),
      h(
        "div",
        { class: "pane-tools" },
        h("span", { class: "position quiet", role: "status" }, this.position),
        h(
          "button",
          { type: "button", class: "tool", onclick: () => this.onStep(-1), "aria-label": "Row before", title: "Row before (k)" },
          "↑",
        ),
        h(
          "button",
          { type: "button", class: "tool", onclick: () => this.onStep(1), "aria-label": "Next row", title: "Next row (j)" },
          "↓",
        ),
        row && toggle("raw", this.isRaw, "Raw text (r)", () => this.toggleRaw()),
        row &&
          h(
            "button",
            { type: "button", class: "plain-button", title: "Copy the answer (c)", onclick: () => this.copyAnswer() },
            "copy",
          ),
        row &&
          row.curl &&
          h(
            "button",
            {
              type: "button",
              class: "plain-button",
              title: "Copy the request as curl (y)",
              onclick: () => this.copyRequest("curl"),
            },
            "curl",
          ),
        row &&
          row.python &&
          h(
            "button",
            {
              type: "button",
              class: "plain-button",
              title: "Copy the request as Python (Y)",
              onclick: () => this.copyRequest("python"),
            },
            "Python",
          ),
      ),
    ]);
  }

  toggleRaw() {
    this.isRaw = !this.isRaw;
    if (this.row) this.paint();
    say(this.isRaw ? "Raw: as it came, every sign shown" : "Rendered");
  }

  copyAnswer() {
    const text = this.row && this.row.answer && this.row.answer.text;
    if (text) copied(text, "Answer copied");
    else say("This row has no answer to copy.");
  }

  copyRequest(kind) {
    if (this.row && this.row[kind])
      copied(
        this.row[kind],
        kind === "curl" ? "Copied as curl; the key stands in its variable" : "Copied as Python; the key stands in its variable",
      );
  }

  unfold() {
    const every = [...this.body.querySelectorAll("details.fold")];
    const open = every.some((one) => !one.open);
    for (const one of every) one.open = open;
  }

  #toFirstHit() {
    const word = here().params.q;
    if (!highlight(this.body, word)) return;
    const [first] = CSS.highlights.get("hit");
    const box = this.body.getBoundingClientRect();
    const at = first.getBoundingClientRect();
    if (at.height && (at.top > box.bottom - 40 || at.top < box.top)) this.body.scrollTop += at.top - box.top - 80;
  }

  /** The keys of a row, for a view that shows one. */
  keys() {
    return [
      { keys: ["r"], does: "raw text, and back", call: () => this.row && this.toggleRaw() },
      { keys: ["c"], does: "copy the answer", call: () => this.copyAnswer() },
      { keys: ["y"], does: "copy the request as curl", call: () => this.copyRequest("curl") },
      { keys: ["Y"], does: "copy the request as Python", call: () => this.copyRequest("python") },
      { keys: ["e"], does: "unfold all, and back", call: () => this.unfold() },
      { keys: [" "], does: "a screen further down", call: () => this.body.scrollBy({ top: this.body.clientHeight * 0.85 }) },
      ...this.label.keys(),
    ];
  }
}

/** Puts a row into the address. */
export function chooseRow(rowId, step) {
  choose({ row: rowId === null ? null : String(rowId) }, { step });
}
