// One line of the list of rows.

import { h } from "./dom.js";
import { clipped, count, isNumber, short, took, usd } from "./format.js";
import { labelColor } from "./label.js";
import { sign } from "./states.js";
import { marked, tamed } from "./text.js";

/** A line; `word` is marked in it, and what was asked begins after `common`. */
export function lineOf(row, word, common) {
  const hits = row.hits || {};
  const own =
    row.custom_id !== null && row.custom_id !== undefined && String(row.custom_id) !== String(row.row_id)
      ? String(row.custom_id)
      : "";
  const answer = row.answer
    ? marked(row.answer, hits.answer, word)
    : row.error_class
      ? h(
          "span",
          { class: "line-error" },
          row.error_class,
          row.error_message && [": ", marked(row.error_message, hits.error_message, word)],
        )
      : h("span", { class: "quiet" }, row.problem || (row.status === "ok" && row.answer === "" ? "(empty)" : ""));
  const tokens =
    isNumber(row.prompt_tokens) || isNumber(row.completion_tokens)
      ? (row.prompt_tokens || 0) + (row.completion_tokens || 0)
      : null;
  return h(
    "div",
    { class: "line", role: "row" },
    h("span", { class: "cell c-sign", role: "gridcell" }, sign(row.status)),
    h("span", { class: "cell c-row num", role: "gridcell" }, count(row.row_id)),
    h(
      "span",
      { class: "cell c-asked", role: "gridcell", dir: "auto" },
      own && h("span", { class: "own-id" }, tamed(clipped(own, 32)), " "),
      row.asked ? askedOf(row, hits.asked, word, common) : "",
    ),
    h("span", { class: "cell c-answer", role: "gridcell", dir: "auto" }, answer),
    h(
      "span",
      { class: "cell c-label", role: "gridcell" },
      row.label && h("span", { class: `tag ${labelColor(row.label)}` }, clipped(row.label, 24)),
      row.note && h("span", { class: "has-note", title: "has a note" }, "✎"),
    ),
    h("span", { class: "cell c-latency num", role: "gridcell" }, isNumber(row.latency_ms) ? took(row.latency_ms) : ""),
    h(
      "span",
      { class: "cell c-tokens num", role: "gridcell" },
      tokens === null ? "" : tokens < 100_000 ? count(tokens) : short(tokens),
    ),
    h("span", { class: "cell c-cost num", role: "gridcell" }, isNumber(row.cost_usd) ? usd(row.cost_usd) : ""),
  );
}

/** What was asked, without the words with which every prompt of a template begins. */
function askedOf(row, hits, word, common) {
  const own = common && row.asked.length > common.length && row.asked.startsWith(common);
  return own ? [h("span", { title: common }, "…"), tamed(row.asked.slice(common.length))] : marked(row.asked, hits, word);
}

/** The words with which all of some texts begin; "" if they are few, or too few texts. */
export function commonBeginning(texts) {
  const known = texts.filter((text) => typeof text === "string");
  if (known.length < 8) return "";
  let common = known[0];
  for (const text of known) {
    let at = 0;
    while (at < common.length && common[at] === text[at]) at++;
    common = common.slice(0, at);
  }
  const words = common.replace(/\S*$/, "");
  return words.length >= 12 ? words : "";
}
