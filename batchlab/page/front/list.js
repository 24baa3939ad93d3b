// A list of any length: only the lines that can be seen are elements, only the blocks around them are asked for.

import { h } from "./dom.js";

const BLOCK = 50; // lines asked for at once
const KEPT = 80; // blocks kept
const TALLEST = 6_000_000; // px; browsers end an element at 17 to 33 million
const SPARE = 8; // lines drawn beyond what is seen
const STILL_MS = 70; // a jump asks at once, and those that follow so soon when they have stood still so long

/** Lines of one height in a box that scrolls.
 * fetch(offset, limit) → {rows, matched}, and asked again, more of the rows whose `read` is false; draw(row, index) →
 * element with role=row; onOpen(index, row) at a click; onCount(answer) after each answer; onProblem(error, whether there is nothing to show now). */
export class VirtualList {
  constructor({ label, lineHeight, head, fetch, draw, onOpen, onCount, onProblem }) {
    Object.assign(this, { lineHeight, fetch, draw, onOpen, onCount, onProblem });
    this.total = 0;
    this.cursor = -1;
    this.generation = 0;
    this.blocks = new Map(); // number → rows
    this.wanted = new Set(); // numbers asked for
    this.lines = new Map(); // index → {element, row}
    this.top = 0; // px from the first line to the upper edge, as if the box were as tall as it should be
    this.space = h("div", { class: "list-space", role: "presentation" });
    this.body = h("div", { class: "list-body", role: "rowgroup" }, this.space);
    this.box = h(
      "div",
      { class: "list", role: "grid", tabindex: "0", "aria-label": label, onscroll: () => this.#scrolled() },
      head,
      this.body,
    );
    this.head = head;
    this.seen = 0; // scrollTop as this list knows it
    this.reading = 0; // the generation whose texts are asked for now
    this.missedAt = -Infinity; // when lines were last seen missing
    this.resizes = new ResizeObserver(() => this.paint());
    this.resizes.observe(this.box);
  }

  close() {
    this.generation++;
    this.paint = () => {}; // nothing is drawn any more, and so nothing is asked for
    this.resizes.disconnect();
    clearTimeout(this.timer);
    clearTimeout(this.settling);
  }

  /** Begins anew: another filter, another order. */
  async reset() {
    const mine = ++this.generation;
    this.wanted.clear();
    this.box.setAttribute("aria-busy", "true");
    const first = await this.#asked(0, BLOCK, mine, true);
    if (mine !== this.generation) return false;
    this.box.removeAttribute("aria-busy");
    if (!first) this.total = 0;
    this.blocks = new Map([[0, first || []]]);
    this.cursor = -1;
    this.#toTop(0);
    this.forget();
    this.paint();
    return first !== null;
  }

  /** Asks again for what is seen, and keeps its place. */
  async refresh() {
    const mine = this.generation;
    const [from, to] = this.#range();
    const first = Math.floor(from / BLOCK);
    const count = Math.floor(Math.max(from, to - 1) / BLOCK) - first + 1;
    const rows = await this.#asked(first * BLOCK, count * BLOCK, mine);
    if (mine !== this.generation) return;
    if (rows) {
      this.blocks.clear(); // what is not seen may be another by now
      this.#keep(first, rows);
    }
    this.paint();
  }

  setHeight(lineHeight) {
    if (lineHeight === this.lineHeight) return;
    const index = this.top / this.lineHeight;
    this.lineHeight = lineHeight;
    this.forget();
    this.#toTop(index * lineHeight);
    this.paint();
  }

  row(index) {
    const rows = this.blocks.get(Math.floor(index / BLOCK));
    return rows ? rows[index % BLOCK] || null : null;
  }

  /** The row at a place, asked for if it must be. */
  async rowAt(index) {
    const known = this.row(index);
    if (known) return known;
    const mine = this.generation;
    const number = Math.floor(index / BLOCK);
    const rows = await this.#asked(number * BLOCK, BLOCK, mine);
    if (mine !== this.generation || !rows) return null;
    this.#keep(number, rows);
    return rows[index % BLOCK] || null;
  }

  /** Puts the cursor on a line, and the line in sight. */
  select(index, { center = false } = {}) {
    this.cursor = index;
    if (index >= 0) {
      const top = index * this.lineHeight;
      const room = this.#room();
      if (center && (top < this.top || top > this.top + room - this.lineHeight)) this.#toTop(top - room / 2 + this.lineHeight);
      else if (top < this.top) this.#toTop(top);
      else if (top + this.lineHeight > this.top + room) this.#toTop(top + this.lineHeight - room);
    }
    this.paint();
  }

  /** Moves the cursor by so many lines; null when there is nowhere to go. */
  moved(by) {
    if (!this.total) return null;
    const next =
      this.cursor < 0
        ? Math.min(this.total - 1, Math.ceil(this.top / this.lineHeight))
        : Math.max(0, Math.min(this.total - 1, this.cursor + by));
    if (next === this.cursor) return null;
    this.select(next);
    return next;
  }

  /** Puts the cursor on a line by its number; null when it is there already. */
  jumped(index) {
    const next = Math.max(0, Math.min(this.total - 1, index));
    if (!this.total || next === this.cursor) return null;
    this.select(next);
    return next;
  }

  get page() {
    return Math.max(1, Math.floor(this.#room() / this.lineHeight) - 1);
  }

  /** Draws what is seen. */
  paint() {
    const whole = this.total * this.lineHeight;
    this.space.style.height = `${Math.min(whole, TALLEST)}px`;
    this.box.setAttribute("aria-rowcount", String(this.total + 1));
    const [from, to] = this.#range();
    for (const [index, line] of this.lines) {
      if (index < from || index >= to) {
        line.element.remove();
        this.lines.delete(index);
      }
    }
    const shift = this.seen - this.top;
    const missing = new Set();
    let unread = false;
    for (let index = from; index < to; index++) {
      const row = this.row(index);
      if (!row) missing.add(Math.floor(index / BLOCK));
      else if (row.read === false) unread = true;
      let line = this.lines.get(index);
      if (!line || line.row !== row) {
        const element = row
          ? this.draw(row, index)
          : h("div", { class: "line waiting", role: "row" }, h("span", { role: "gridcell" }, " "));
        element.id = `line-${index}`;
        element.setAttribute("aria-rowindex", String(index + 2));
        element.style.height = `${this.lineHeight}px`;
        if (row) element.onclick = (event) => event.target.closest("a, button") || this.onOpen(index, this.row(index));
        if (line) line.element.replaceWith(element);
        else this.body.append(element);
        line = { element, row };
        this.lines.set(index, line);
      }
      line.element.style.transform = `translateY(${Math.round(index * this.lineHeight + shift)}px)`;
      line.element.classList.toggle("at", index === this.cursor);
      line.element.setAttribute("aria-selected", String(index === this.cursor));
    }
    if (this.lines.has(this.cursor)) this.box.setAttribute("aria-activedescendant", `line-${this.cursor}`);
    else this.box.removeAttribute("aria-activedescendant");
    clearTimeout(this.timer);
    if (!missing.size && !unread) return;
    const now = performance.now();
    const isFirst = now - this.missedAt > STILL_MS || !missing.size;
    if (missing.size) this.missedAt = now;
    const ask = () => (missing.size ? this.#fetchBlocks(missing) : this.#readSeen());
    if (isFirst) ask();
    else this.timer = setTimeout(ask, STILL_MS);
  }

  /** Asks for blocks of a row, all at once. */
  async #fetchBlocks(numbers) {
    const left = [...numbers].filter((number) => !this.wanted.has(number));
    if (!left.length) return;
    const mine = this.generation;
    const first = Math.min(...left);
    const count = Math.max(...left) - first + 1;
    left.forEach((number) => this.wanted.add(number));
    const rows = await this.#asked(first * BLOCK, count * BLOCK, mine);
    if (mine !== this.generation) return;
    left.forEach((number) => this.wanted.delete(number));
    if (!rows) return;
    this.#keep(first, rows);
    this.paint();
  }

  /** Has the texts read of the lines that are seen: each answer has some more, and what is drawn asks for the rest. */
  async #readSeen() {
    const mine = this.generation;
    if (this.reading === mine) return;
    this.reading = mine;
    const [from, to] = this.#range();
    const rows = await this.#asked(from, to - from, mine);
    if (this.reading === mine) this.reading = 0;
    if (mine !== this.generation || !rows) return;
    rows.forEach((row, at) => {
      const block = this.blocks.get(Math.floor((from + at) / BLOCK));
      const place = (from + at) % BLOCK;
      const old = block && block[place];
      if (old && (old.row_id !== row.row_id || (old.read === false && row.read !== false))) block[place] = row;
    });
    this.paint();
  }

  async #asked(offset, limit, mine, isNew = false) {
    try {
      const answer = await this.fetch(offset, limit);
      if (mine !== this.generation) return null;
      this.total = answer.matched;
      this.onCount(answer);
      return answer.rows;
    } catch (error) {
      if (mine === this.generation) this.onProblem(error, isNew);
      return null;
    }
  }

  /** Keeps rows from a block's first on. */
  #keep(first, rows) {
    for (let at = 0; at < rows.length || !at; at += BLOCK) {
      const number = first + at / BLOCK;
      this.blocks.delete(number);
      this.blocks.set(number, rows.slice(at, at + BLOCK));
    }
    while (this.blocks.size > KEPT) this.blocks.delete(this.blocks.keys().next().value);
  }

  /** Everything is drawn anew the next time. */
  forget() {
    for (const { element } of this.lines.values()) element.remove();
    this.lines.clear();
  }

  #room() {
    return Math.max(this.lineHeight, this.box.clientHeight - (this.head ? this.head.offsetHeight : 0));
  }

  #range() {
    const first = Math.floor(this.top / this.lineHeight);
    const many = Math.ceil(this.#room() / this.lineHeight) + 1;
    return [Math.max(0, first - SPARE), Math.min(this.total, first + many + SPARE)];
  }

  /** How far the box can scroll, and how far the list would go at its true height. */
  #ends() {
    const whole = this.total * this.lineHeight;
    const room = this.#room();
    return [Math.max(0, Math.min(whole, TALLEST) - room), Math.max(0, whole - room)];
  }

  /** Goes to a place, and sets the scroll bar where that place is. */
  #toTop(top) {
    const [real, whole] = this.#ends();
    this.top = Math.max(0, Math.min(whole, top));
    this.space.style.height = `${Math.min(this.total * this.lineHeight, TALLEST)}px`;
    this.seen = whole > real ? Math.round((this.top / whole) * real) : this.top;
    this.box.scrollTop = this.seen;
    this.seen = this.box.scrollTop;
  }

  #scrolled() {
    const now = this.box.scrollTop;
    const by = now - this.seen;
    if (!by) return;
    const [real, whole] = this.#ends();
    this.seen = now;
    if (whole <= real) this.top = now;
    else if (Math.abs(by) > this.#room() * 3) this.top = real ? (now / real) * whole : 0;
    else {
      // by wheel or finger: px for px; the bar, which has far fewer px than the list, follows when all is still
      this.top = Math.max(0, Math.min(whole, this.top + by));
      const atEdge = (now <= 0 && this.top > 0) || (now >= real - 1 && this.top < whole);
      if (atEdge) this.#toTop(this.top);
      clearTimeout(this.settling);
      this.settling = setTimeout(() => this.#toTop(this.top), 160);
    }
    this.paint();
  }
}
