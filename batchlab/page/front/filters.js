// The bar above the rows: search, statuses, every other filter, order; all of it in the address.

import { fill, h, later, show, toggle } from "./dom.js";
import { clipped, count, counted, plain } from "./format.js";
import { choose, here, joined, split } from "./router.js";
import { dialog } from "./shell.js";
import { source } from "./source.js";
import { colorOf, STATUSES } from "./states.js";

const FILTERS = ["status", "error", "finish", "lane", "label", "where", "q", "in", "sort", "first", "rows", "odd"];
const FACETS = [
  ["error", "error_class", "error"],
  ["finish", "finish_reason", "finish reason"],
  ["lane", "lane", "lane"],
  ["label", "label", "label"],
];
const SORTED = [
  ["", "input order"],
  ["-row", "last first"],
  ["-latency_ms", "slowest"],
  ["latency_ms", "fastest"],
  ["-cost_usd", "dearest"],
  ["cost_usd", "cheapest"],
  ["-completion_tokens", "longest answers"],
  ["completion_tokens", "shortest answers"],
  ["-prompt_tokens", "longest prompts"],
  ["-total_tokens", "most tokens"],
  ["-attempts", "most attempts"],
];
const SIGNS_OF = ["=", "!=", "~", "<", "<=", ">", ">="];
const SIGN_WORDS = {
  "=": "is",
  "!=": "is not",
  "~": "has the text",
  "<": "less than",
  "<=": "at most",
  ">": "more than",
  ">=": "at least",
};

/** The parameters of the address that choose rows. */
export function filterOfPlace(params) {
  return Object.fromEntries(
    FILTERS.filter((name) => params[name] !== undefined && params[name] !== "").map((name) => [name, params[name]]),
  );
}

/** Whether anything but the order is chosen. */
export function isFiltered(params) {
  return FILTERS.some((name) => !["sort", "odd", "in"].includes(name) && params[name]);
}

export class FilterBar {
  /** `onLeave()` when Enter ends the writing of a search. */
  constructor(id, onLeave) {
    this.id = id;
    this.facets = null;
    this.columns = null;
    const searched = later(180, () => choose({ q: this.search.value || null, row: null }));
    this.close = searched.drop; // a search that is still being written is not for the view that comes next
    this.search = h("input", {
      type: "search",
      class: "search",
      placeholder: "search prompts and answers",
      "aria-label": "Search prompts and answers",
      "aria-keyshortcuts": "/",
      oninput: searched,
      onkeydown: (event) => event.key === "Enter" && (event.preventDefault(), searched.now(), onLeave()),
    });
    this.chips = h("div", { class: "status-chips", role: "group", "aria-label": "Status" });
    this.right = h("div", { class: "bar-right" });
    this.pills = h("div", { class: "pills" });
    this.element = h(
      "div",
      { class: "filter-bar" },
      h("div", { class: "bar-line" }, this.search, this.chips, this.right),
      this.pills,
    );
  }

  async load() {
    const mine = (this.loads = (this.loads || 0) + 1);
    const [facets, run] = await Promise.allSettled([
      source.get("facets", { run: this.id }),
      this.columns ? null : source.get("run", { run: this.id }),
    ]);
    if (facets.status === "fulfilled" && mine === this.loads) this.facets = facets.value; // not an older one's
    if (run.status === "fulfilled" && run.value) this.columns = run.value.columns;
    this.paint();
  }

  paint() {
    const { params } = here();
    if (document.activeElement !== this.search) this.search.value = params.q || "";
    const chosen = split(params.status);
    const counts = Object.fromEntries(this.#facet("status"));
    const known = [...new Set([...STATUSES.filter((one) => counts[one]), ...Object.keys(counts), ...chosen])];
    show(
      this.chips,
      known.map((status) =>
        h(
          "button",
          {
            type: "button",
            class: `status-chip ${colorOf(status)}`,
            "aria-pressed": String(chosen.includes(status)),
            onclick: () => this.#toggle("status", status),
          },
          h("i", { class: `key dot ${colorOf(status)}`, "aria-hidden": "true" }),
          status,
          " ",
          h("span", { class: "many" }, count(counts[status] || 0)),
        ),
      ),
    );
    const others = FACETS.filter(([name]) => params[name]).length + (params.where || []).length;
    show(this.right, [
      toggle("problems first", params.odd, "Problem rows first (p)", () => choose({ odd: params.odd ? null : 1, row: null })),
      h(
        "button",
        {
          type: "button",
          class: "plain-button",
          title: "Filter by error, lane, label, any column (f)",
          "aria-haspopup": "dialog",
          onclick: () => this.openFilter(),
        },
        others ? `filter · ${others}` : "filter",
      ),
      h(
        "label",
        { class: "order" },
        h("span", { class: "for-ears" }, "Order"),
        h(
          "select",
          { value: params.sort || "", onchange: (event) => choose({ sort: event.target.value || null, row: null }) },
          SORTED.map(([value, words]) => h("option", { value, selected: value === (params.sort || "") }, words)),
        ),
      ),
    ]);
    show(this.pills, this.#pills(params));
    this.pills.hidden = !this.pills.childElementCount;
  }

  /** Values of a facet with how many rows have each: [value, rows]; null is no value. */
  #facet(key) {
    return ((this.facets && this.facets[key]) || []).map((one) => [one.value === null ? null : String(one.value), one.rows]);
  }

  #pills(params) {
    const pill = (words, changes) =>
      h(
        "button",
        { type: "button", class: "pill", title: "Take this filter away", onclick: () => choose({ ...changes, row: null }) },
        h("span", { dir: "auto" }, words),
        h("span", { "aria-hidden": "true" }, " ✕"),
        h("span", { class: "for-ears" }, ", take away"),
      );
    const list = [];
    for (const [name, , words] of FACETS)
      for (const value of split(params[name]))
        list.push(
          pill(`${words}: ${clipped(value ?? "none", 60)}`, {
            [name]: joined(split(params[name]).filter((one) => one !== value)) || null,
          }),
        );
    (params.where || []).forEach((one, index) =>
      list.push(pill(clipped(one, 80), { where: params.where.filter((_, other) => other !== index) })),
    );
    if (params.rows) list.push(pill(`rows ${clipped(params.rows, 40)}`, { rows: null }));
    if (params.first) list.push(pill(`first ${params.first}`, { first: null }));
    if (params.in && params.q) list.push(pill(`only in ${params.in}s`, { in: null }));
    if (list.length > 1 || (list.length && isFiltered(params)))
      list.push(h("button", { type: "button", class: "plain-button", onclick: () => this.clear() }, "clear all"));
    return list;
  }

  clear() {
    const { params } = here();
    this.search.value = "";
    choose(Object.fromEntries(FILTERS.filter((name) => name !== "sort" && params[name]).map((name) => [name, null])), {
      step: true,
    });
  }

  #toggle(name, value) {
    const now = split(here().params[name]);
    const next = now.includes(value) ? now.filter((one) => one !== value) : [...now, value];
    choose({ [name]: joined(next) || null, row: null });
  }

  /** Every filter that is no status: what rows have, and any column. */
  openFilter() {
    const body = h("div", { class: "filter-body" });
    const paint = () => {
      fill(body, this.#facetParts(), this.#whereForm(), this.#searchIn());
      const first = body.querySelector("button, select, input");
      if (first) first.focus();
    };
    const box = dialog(
      "Filter rows",
      "filter-dialog",
      body,
      h("p", { class: "dialog-end" }, h("button", { type: "button", class: "sure", onclick: () => box.close() }, "Show rows")),
    );
    paint();
    if (!this.columns || !this.facets) this.load().then(() => box.isConnected && paint());
  }

  #facetParts() {
    const { params } = here();
    return FACETS.map(([name, key, words]) => {
      const counts = this.#facet(key).sort((a, b) => (a[0] === null) - (b[0] === null) || b[1] - a[1]);
      const chosen = split(params[name]);
      if (!chosen.length && !counts.some(([value]) => value !== null)) return null;
      return h(
        "fieldset",
        {},
        h("legend", {}, words),
        h(
          "div",
          { class: "options" },
          counts.slice(0, 40).map(([value, many]) => {
            const box = h("input", {
              type: "checkbox",
              checked: chosen.includes(value),
              onchange: () => this.#toggle(name, value),
            });
            return h(
              "label",
              { class: "option" },
              box,
              h("span", { class: value === null ? "cut quiet" : "cut", dir: "auto" }, value ?? "none"),
              h("span", { class: "quiet num" }, count(many)),
            );
          }),
          counts.length > 40 && h("p", { class: "quiet" }, `${counted(counts.length - 40, "value")} more: use a condition below`),
        ),
      );
    }).filter(Boolean);
  }

  #whereForm() {
    const groups = [
      ["input", (this.columns && this.columns.input) || []],
      ["result", (this.columns && this.columns.result) || []],
    ];
    const every = groups.flatMap(([, list]) => list);
    const values = h("datalist", { id: "few-values" });
    const value = h("input", { type: "text", list: "few-values", "aria-label": "Value", placeholder: "value" });
    const sign = h(
      "select",
      { "aria-label": "Comparison" },
      SIGNS_OF.map((one) => h("option", { value: one }, SIGN_WORDS[one])),
    );
    const column = h(
      "select",
      { "aria-label": "Column", onchange: () => known() },
      groups
        .filter(([, list]) => list.length)
        .map(([name, list]) =>
          h(
            "optgroup",
            { label: name === "input" ? "the input's columns" : "columns of the result" },
            list.map((one) => h("option", { value: one.name }, one.name)),
          ),
        ),
    );
    const known = () => {
      const found = every.find((one) => one.name === column.value);
      fill(
        values,
        ((found && found.few) || []).slice(0, 100).map((one) => h("option", { value: plain(one) })),
      );
      if (found && (found.kind === "other" || (found.kind === "text" && !found.few))) sign.value = "~";
      else if (found) sign.value = found.kind === "number" ? ">=" : "=";
    };
    known();
    const form = h(
      "form",
      {
        class: "where",
        onsubmit: (event) => {
          event.preventDefault();
          const text = `${column.value}${sign.value}${value.value}`;
          choose({ where: [...(here().params.where || []), text], row: null });
          value.value = "";
          paintPills();
        },
      },
      column,
      sign,
      value,
      values,
      h("button", { type: "submit" }, "add"),
    );
    const pills = h("div", { class: "pills" });
    const paintPills = () =>
      fill(
        pills,
        (here().params.where || []).map((one, index, all) =>
          h(
            "button",
            {
              type: "button",
              class: "pill",
              onclick: () => (choose({ where: all.filter((_, other) => other !== index), row: null }), paintPills()),
            },
            clipped(one, 80),
            " ✕",
          ),
        ),
      );
    paintPills();
    return h(
      "fieldset",
      {},
      h("legend", {}, "any column"),
      every.length ? form : h("p", { class: "quiet" }, "the columns are not known yet"),
      pills,
    );
  }

  #searchIn() {
    const now = here().params.in || "";
    return h(
      "fieldset",
      {},
      h("legend", {}, "search in"),
      h(
        "div",
        { class: "options" },
        [
          ["", "prompts and answers"],
          ["prompt", "prompts"],
          ["answer", "answers"],
        ].map(([value, words]) =>
          h(
            "label",
            { class: "option" },
            h("input", {
              type: "radio",
              name: "search-in",
              checked: value === now,
              onchange: () => choose({ in: value || null }),
            }),
            h("span", {}, words),
          ),
        ),
      ),
    );
  }
}
