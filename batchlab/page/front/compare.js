// Two runs over the same input, answer beside answer.

import { announce, say } from "./copy.js";
import { differences } from "./diff.js";
import { fill, h, later, show, toggle } from "./dom.js";
import { ago, clipped, count, counted, took, UNKNOWN, usd } from "./format.js";
import { bind, unbind } from "./keys.js";
import { address, choose, here } from "./router.js";
import { setPlace, setRun, trouble } from "./shell.js";
import { preferredOf, sidesOf } from "./sides.js";
import { source } from "./source.js";
import { statusChip } from "./states.js";
import { tamed } from "./text.js";

const PAGE = 25;
const SHOW_COMPARE = "Compare";

export function compareView(root, place) {
  return new Compare(root, place.parts[1], place.parts[3]).view();
}

class Compare {
  constructor(root, a, b) {
    Object.assign(this, { root, a, b, answer: null, asked: "", at: 0 });
    this.body = h("div", { class: "wide compare" });
    fill(root, this.body);
    setPlace({ id: a, view: "compare" });
    source.get("run", { run: a }).then(
      (run) => setRun(a, run),
      () => {},
    );
    this.poll = later(300, () => {
      this.asked = ""; // the same question again: its search went on
      this.update(here());
    });
    bind(SHOW_COMPARE, [
      { keys: ["j"], does: "next pair", call: () => this.step(1) },
      { keys: ["k"], does: "pair before", call: () => this.step(-1) },
      {
        keys: ["d"],
        does: "different answers only, and back",
        call: () => this.onlyDifferent(),
      },
      {
        keys: ["b"],
        does: "blind: hide which run an answer is of",
        call: () => this.hide(),
      },
      { keys: ["1"], does: "the left one is better", call: () => this.prefer("left") },
      { keys: ["2"], does: "the right one is better", call: () => this.prefer("right") },
      { keys: ["3"], does: "they are as good", call: () => this.prefer("same") },
      { keys: ["n"], does: "next page", call: () => this.turn(1) },
      { keys: ["N"], does: "page before", call: () => this.turn(-1) },
    ]);
    this.update(here());
  }

  view() {
    return { update: (place) => this.update(place), close: () => this.close() };
  }

  close() {
    this.asked = null; // what comes now is an answer to nothing, and begins no further question
    this.poll.drop();
    unbind(SHOW_COMPARE);
  }

  async update({ params }) {
    if (!this.b) return this.choice();
    const question = { a: this.a, b: this.b, different: params.different, offset: params.offset || 0, limit: PAGE };
    const asked = JSON.stringify(question);
    if (asked !== this.asked) {
      const isAgain = asked === this.before;
      this.asked = asked;
      this.before = asked;
      try {
        const answer = await source.get("compare", question);
        if (this.asked !== asked) return null;
        this.answer = answer;
        if (answer.done === false) this.poll();
        if (isAgain) return this.paint();
        this.at = 0;
        this.body.replaceChildren();
        window.scrollTo(0, 0);
      } catch (error) {
        if (this.asked !== asked) return null;
        this.asked = "";
        return fill(
          this.body,
          trouble(error, () => this.update(here())),
        );
      }
    }
    return this.paint();
  }

  /** Which run to compare with. */
  async choice() {
    try {
      const listing = await source.get("runs");
      const others = listing.runs.filter((run) => run.id !== this.a && run.state !== "damaged");
      fill(
        this.body,
        h(
          "div",
          { class: "page-head" },
          h("h1", {}, "Compare"),
          h("span", { class: "quiet" }, "with a run over the same input: another prompt, another model"),
        ),
        others.length
          ? h(
              "ul",
              { class: "choices" },
              others.map((run) =>
                h(
                  "li",
                  {},
                  h(
                    "a",
                    { href: address(["run", this.a, "compare", run.id]) },
                    h("b", { dir: "auto" }, run.name),
                    h(
                      "span",
                      { class: "quiet" },
                      [run.model, counted(run.rows, "row"), usd(run.cost_usd), ago(run.at)].filter(Boolean).join(" · "),
                    ),
                  ),
                ),
              ),
            )
          : h("p", { class: "nothing" }, "There is no other run in this folder."),
      );
    } catch (error) {
      fill(
        this.body,
        trouble(error, () => this.choice()),
      );
    }
  }

  onlyDifferent() {
    choose({ different: here().params.different ? null : 1, offset: null });
  }

  /** Begins to hide which run an answer is of, by another coin each time, or ends it. */
  hide() {
    choose({ blind: this.blind ? null : 1 + Math.floor(Math.random() * 9999) });
  }

  get blind() {
    return Number(here().params.blind) || 0;
  }

  /** Whether b stands on the left: as a coin falls, the same each time, when it is blind. */
  swapped(pair) {
    if (!this.blind) return false;
    let mixed = Math.imul((pair.row + 1) ^ (this.blind * 2654435761), 0x45d9f3b);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d);
    return ((mixed ^ (mixed >>> 13)) & 1) === 1;
  }

  paint() {
    const { answer } = this;
    const { params } = here();
    const offset = answer.offset || 0;
    const filled = [
      h(
        "div",
        { class: "page-head" },
        h("h1", {}, "Compare"),
        this.blind
          ? h("span", { class: "quiet" }, "blind: which run an answer is of stays hidden")
          : h("span", { class: "quiet" }, answer.joined_by === "custom_id" ? "rows of the same id" : "rows of the same number"),
      ),
      (answer.problems || []).length > 0 &&
        h(
          "ul",
          { class: "callouts" },
          answer.problems.map((text) => h("li", { class: "bad", dir: "auto" }, text)),
        ),
      !this.blind && sidesOf(answer),
      h(
        "div",
        { class: "compare-bar" },
        h(
          "span",
          {},
          h("b", {}, count(answer.different)),
          ` of ${counted(answer.total, "pair")} differ`,
          answer.done === false && h("span", { class: "quiet", role: "status" }, ` so far, ${count(answer.searched)} compared`),
          answer.only_a > 0 && h("span", { class: "quiet" }, ` · ${count(answer.only_a)} only in the first`),
          answer.only_b > 0 && h("span", { class: "quiet" }, ` · ${count(answer.only_b)} only in the second`),
        ),
        toggle("different only", params.different, "Different answers only (d)", () => this.onlyDifferent()),
        toggle("blind", this.blind, "Hide which run an answer is of (b)", () => this.hide()),
        !this.blind && preferredOf(answer),
      ),
      answer.pairs.length
        ? answer.pairs.map((pair, index) => this.pair(pair, index))
        : h("p", { class: "nothing" }, params.different ? "No answers differ." : "The two runs have no row in common."),
      answer.matched > PAGE &&
        h(
          "nav",
          { class: "pager", "aria-label": "Pages" },
          h("button", { type: "button", disabled: offset <= 0, onclick: () => this.turn(-1) }, "← before"),
          h("span", {}, `${count(offset + 1)} to ${count(Math.min(answer.matched, offset + PAGE))} of ${count(answer.matched)}`),
          h("button", { type: "button", disabled: offset + PAGE >= answer.matched, onclick: () => this.turn(1) }, "next →"),
        ),
    ];
    show(this.body, filled);
  }

  pair(pair, index) {
    const swapped = this.swapped(pair);
    const [left, right] = swapped ? [pair.b, pair.a] : [pair.a, pair.b];
    const [leftId, rightId] = swapped ? ["b", "a"] : ["a", "b"];
    const [leftText, rightText] = [left.text || "", right.text || ""];
    const found = pair.same || !leftText || !rightText ? null : differences(leftText, rightText);
    const [x, y] = found || [[[leftText, false]], [[rightText, false]]];
    const isOther = !pair.same && !found && leftText && rightText;
    const verdict = pair.choice === "same" ? "same" : pair.choice === leftId ? "left" : pair.choice === rightId ? "right" : null;
    return h(
      "section",
      {
        class: `pair ${index === this.at ? "at" : ""}`,
        id: `pair-${index}`,
        "aria-label": `Row ${pair.row}`,
        onclick: () => index !== this.at && ((this.at = index), this.paint()),
      },
      h(
        "header",
        {},
        h(
          "h2",
          {},
          this.blind
            ? `row ${count(pair.row)}`
            : h("a", { href: address(["run", this.a, "rows"], { row: pair.row }) }, `row ${count(pair.row)}`),
          pair.custom_id !== null &&
            String(pair.custom_id) !== String(pair.row) &&
            h("span", { class: "own-id", dir: "auto" }, tamed(clipped(String(pair.custom_id), 40))),
        ),
        (pair.same || isOther) && h("span", { class: "tag l-other" }, pair.same ? "the same" : "different throughout"),
        h("p", { class: "asked-line", dir: "auto" }, clipped(pair.asked || "", 240)),
      ),
      h("div", { class: "halves" }, this.half(left, x, "left", verdict, leftId), this.half(right, y, "right", verdict, rightId)),
      source.canWrite &&
        h(
          "div",
          { class: "verdict", role: "group", "aria-label": "Which is better" },
          [
            ["left", "1", "left better"],
            ["right", "2", "right better"],
            ["same", "3", "as good"],
          ].map(([which, key, words]) =>
            h(
              "button",
              {
                type: "button",
                class: "label-name",
                "aria-pressed": String(verdict === which),
                onclick: (event) => (event.stopPropagation(), (this.at = index), this.prefer(which)),
              },
              h("kbd", { "aria-hidden": "true" }, key),
              words,
            ),
          ),
        ),
    );
  }

  half(half, parts, where, verdict, of) {
    const better = verdict === where;
    return h(
      "div",
      { class: `half ${better ? "better" : ""}` },
      h(
        "div",
        { class: "half-head" },
        this.blind ? h("b", {}, where) : h("b", { dir: "auto", class: "cut" }, this.answer[of].id),
        half.status !== "ok" && statusChip(half.status),
        !this.blind &&
          h(
            "span",
            { class: "quiet" },
            [took(half.latency_ms), `${count(half.completion_tokens)} tok`, usd(half.cost_usd)]
              .filter((one) => !one.startsWith(UNKNOWN))
              .join(" · "),
          ),
      ),
      half.text
        ? h(
            "div",
            { class: "verbatim", dir: "auto" },
            parts.map(([text, differs]) => (differs ? h(this.blind ? "mark" : of === "a" ? "del" : "ins", {}, text) : text)),
          )
        : h(
            "p",
            { class: "quiet", dir: "auto" },
            half.error_class ? `${half.error_class}: ${clipped(half.error_message || "", 300)}` : "no answer",
          ),
      half.cut && h("p", { class: "quiet" }, "the text goes on; open the row for all of it"),
    );
  }

  step(by) {
    if (!this.answer) return;
    const next = this.at + by;
    if (next >= this.answer.pairs.length) return this.turn(1);
    if (next < 0) return this.turn(-1);
    this.at = next;
    this.paint();
    const element = document.getElementById(`pair-${next}`);
    if (element) element.scrollIntoView({ block: "nearest" });
    announce(`Row ${this.answer.pairs[next].row}`);
  }

  turn(by) {
    const next = (this.answer.offset || 0) + by * PAGE;
    if (next < 0 && by < 0 && !this.answer.offset) return say("This is the first page.");
    if (next >= this.answer.matched) return say("This is the last page.");
    choose({ offset: Math.max(0, next) || null }, { step: true });
  }

  async prefer(which) {
    const pair = this.answer && this.answer.pairs[this.at];
    if (!pair || !source.canWrite) return;
    const swapped = this.swapped(pair);
    const wanted = which === "same" ? "same" : (which === "left") !== swapped ? "a" : "b";
    const before = pair.choice;
    pair.choice = before === wanted ? null : wanted;
    this.paint();
    try {
      const told = await source.send("prefer", { a: this.a, b: this.b, row: pair.row, choice: pair.choice, seen: before });
      Object.assign(this.answer, { choices: told.choices, share: told.share });
      if (pair.choice && this.at + 1 < this.answer.pairs.length) this.step(1);
    } catch (error) {
      pair.choice = before;
      this.asked = ""; // what another has said since
      this.update(here());
      say(error.message, { bad: true });
    }
  }
}
