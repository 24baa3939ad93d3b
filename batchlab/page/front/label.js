// Labels by a key, a note, undo.

import { say } from "./copy.js";
import { h, show } from "./dom.js";
import { clipped, count, share } from "./format.js";
import { interval } from "./charts.js";
import { dialog } from "./shell.js";
import { source } from "./source.js";

const COLORS = { pass: "l-pass", fail: "l-fail", better: "l-pass", worse: "l-fail" };

function saidOf({ label, note }) {
  return { label: label ?? null, note: note ?? null };
}

export function labelColor(name) {
  return COLORS[name] || "l-other";
}

/** The bar below a row; `onLabel({row, label, note})` after a label was stored. */
export class LabelBar {
  constructor(id, onLabel) {
    Object.assign(this, { id, onLabel });
    this.names = []; // of the keys, from 1 on
    this.share = null;
    this.loads = 0; // how often all this was asked for
    this.counted = ""; // the label whose share it is
    this.row = null;
    this.due = null; // the row that is shown, or on its way
    this.undos = []; // tokens, the last one last
    this.last = Promise.resolve(); // what is on its way; the next goes when it is there: two requests may overtake each other
    this.stored = new WeakMap(); // row → what the source has of it, and how many changes of it are on their way
    this.element = h("footer", { class: "label-bar", role: "group", "aria-label": "Label" });
    if (source.canWrite) this.load();
    else this.element.hidden = true;
  }

  async load() {
    const mine = ++this.loads;
    try {
      const labels = await source.get("labels", { run: this.id });
      if (mine !== this.loads) return; // a later answer is there, or will be
      this.#take(labels);
    } catch {
      this.paint(); // labels that cannot be read keep nobody from reading rows
    }
  }

  #take({ names, share: found, label }) {
    this.loads++; // what is asked for now is older
    [this.names, this.share, this.counted] = [names, found, label];
    this.paint();
  }

  show(row) {
    this.row = row;
    this.paint();
  }

  paint() {
    const row = this.row;
    show(this.element, [
      h(
        "div",
        { class: "label-names" },
        this.names.map((name, index) =>
          h(
            "button",
            {
              type: "button",
              class: `label-name ${labelColor(name)}`,
              "aria-pressed": String(Boolean(row && row.label === name)),
              disabled: !row,
              title: `${name} (${index + 1})`,
              onclick: () => this.set(name),
            },
            h("kbd", { "aria-hidden": "true" }, String(index + 1)),
            h("span", { class: "cut", dir: "auto" }, name),
          ),
        ),
        h(
          "button",
          { type: "button", class: "plain-button", onclick: () => this.write(), disabled: !row, title: "Note (n)" },
          row && row.note && typeof row.note === "string" ? `note: ${clipped(row.note, 40)}` : "note",
        ),
        h(
          "button",
          { type: "button", class: "plain-button", onclick: () => this.undo(), disabled: !this.undos.length, title: "Undo (u)" },
          "undo",
        ),
        h(
          "button",
          { type: "button", class: "plain-button", onclick: () => this.rename(), title: "Choose the labels' names" },
          "names…",
        ),
      ),
      this.share &&
        this.share.n > 0 &&
        h(
          "div",
          { class: "label-share" },
          interval(this.share, this.counted),
          h(
            "span",
            {},
            h("b", {}, share(this.share.p)),
            ` ${this.counted} `,
            h("span", { class: "quiet" }, `${share(this.share.low)} to ${share(this.share.high)}, of ${count(this.share.n)}`),
          ),
        ),
    ]);
  }

  /** Labels the row; the same label again takes it away, but not while it is still on its way: a store may be slow, and
   * who reviews is then a row ahead of the page. */
  set(name) {
    if (!this.row || this.row.row_id !== this.due) return; // nothing is said of a row that was not seen, nor of the one before
    const isAgain = this.row.label === name;
    if (isAgain && this.stored.get(this.row)?.waiting) return;
    if (isAgain) this.#send({ label: null }, { label: name });
    else this.#send({ label: name });
  }

  /** Sends what changes, and nothing else: others may label the same row. It is refused where `seen` is no
   * longer what is there; returns whether it was kept. */
  #send(change, seen = {}) {
    const row = this.row;
    const stored = this.stored.get(row) || { waiting: 0 };
    this.stored.set(row, stored);
    if (!stored.waiting) Object.assign(stored, saidOf(row));
    Object.assign(row, change); // at once; should it be refused, it is as it was
    this.paint();
    stored.waiting++;
    const kept = this.last.then(() => this.#keep(row, change, seen, stored));
    this.last = kept;
    return kept;
  }

  async #keep(row, change, seen, stored) {
    let kept = false;
    try {
      const told = await source.send("label", { run: this.id, row: row.row_id, ...change, seen });
      if (told.undo) this.undos.push(told.undo);
      Object.assign(stored, saidOf(told));
      kept = true;
      this.onLabel({ row: row.row_id, label: told.label, note: told.note });
    } catch (error) {
      say(error.message, { bad: true });
      Object.assign(stored, await this.#seen(row));
    }
    stored.waiting--;
    if (!stored.waiting) Object.assign(row, saidOf(stored));
    this.paint();
    this.load();
    return kept;
  }

  /** What is said of a row by now, where another was faster; nothing where that cannot be known. */
  async #seen(row) {
    try {
      const said = saidOf(await source.get("row", { run: this.id, row: row.row_id }));
      this.onLabel({ row: row.row_id, ...said, theirs: true });
      return said;
    } catch {
      return {}; // a server that does not answer has said so
    }
  }

  undo() {
    this.last = this.last.then(() => this.#undone());
  }

  async #undone() {
    const token = this.undos.pop();
    if (!token) return say("Nothing to undo.");
    try {
      const told = await source.send("label", { run: this.id, undo: token });
      if (this.row && this.row.row_id === told.row) {
        Object.assign(this.row, saidOf(told));
      }
      say(`Row ${count(told.row)}: ${told.label ? `${told.label} again` : "no label again"}`);
      this.onLabel({ row: told.row, label: told.label, note: told.note, undone: true });
    } catch (error) {
      say(error.message, { bad: true });
    }
    this.paint();
    this.load();
  }

  /** Asks for a note; `draft` is what was written and not kept. */
  write(draft = null) {
    if (!this.row || this.row.row_id !== this.due || !source.canWrite) return;
    const row = this.row;
    const note = typeof row.note === "string" ? row.note : null;
    const text = h("textarea", {
      rows: "4",
      "aria-label": "Note",
      value: draft ?? note ?? "",
      onkeydown: (event) => {
        if (event.key === "Enter" && !event.shiftKey && !event.isComposing) (event.preventDefault(), keep());
      },
    });
    const keep = async () => {
      box.close();
      const written = text.value.trim();
      const kept = await this.#send({ note: written || null }, { note });
      if (!kept && written && this.row === row) this.write(written); // beside what another has written
    };
    const box = dialog(
      `Note on row ${count(row.row_id)}`,
      "note-dialog",
      draft !== null && note !== null && h("p", { class: "quiet", dir: "auto" }, `there is by now: ${clipped(note, 400)}`),
      text,
      h(
        "p",
        { class: "dialog-end" },
        h("span", { class: "quiet" }, "Enter keeps it, Shift+Enter begins a line "),
        h("button", { type: "button", class: "sure", onclick: keep }, "Keep"),
      ),
    );
    text.focus();
  }

  rename() {
    const inputs = Array.from({ length: 9 }, (_, index) =>
      h("input", { type: "text", value: this.names[index] || "", "aria-label": `Label of key ${index + 1}`, maxlength: "40" }),
    );
    const keep = async () => {
      const names = inputs.map((one) => one.value.trim()).filter(Boolean);
      try {
        this.#take(await source.send("labels", { run: this.id, names }));
        box.close();
      } catch (error) {
        say(error.message, { bad: true });
      }
    };
    const box = dialog(
      "Labels by key",
      "names-dialog",
      h(
        "ol",
        { class: "names" },
        inputs.map((one, index) => h("li", {}, h("kbd", {}, String(index + 1)), one)),
      ),
      h("p", { class: "dialog-end" }, h("button", { type: "button", class: "sure", onclick: keep }, "Keep")),
    );
    inputs[0].focus();
  }

  keys() {
    if (!source.canWrite) return [];
    return [
      {
        keys: [..."123456789"],
        caps: ["1", "9"],
        does: "label the row; the same key again takes it away",
        call: (event) => !event.repeat && this.names[event.key - 1] && this.set(this.names[event.key - 1]),
      },
      { keys: ["n"], does: "a note on the row", call: () => this.write() },
      { keys: ["u"], does: "undo the last label", call: () => this.undo() },
    ];
  }
}
