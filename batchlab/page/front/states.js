// What rows and runs can be, in words, colours and signs: never by colour alone.

import { h } from "./dom.js";

export const STATUSES = ["ok", "truncated", "filtered", "invalid", "failed", "pending", "empty", "unreadable"];

const SIGNS = { ok: "✓", truncated: "⇥", filtered: "⊘", invalid: "≠", failed: "✕", pending: "·", empty: "∅", unreadable: "?" };
const MEANINGS = {
  ok: "answered",
  truncated: "the answer was cut at its token limit",
  filtered: "a content filter kept the answer back",
  invalid: "the answer is not what the job asked for",
  failed: "no answer",
  pending: "no answer yet",
  empty: "answered with nothing",
  unreadable: "its part is damaged or lost",
};
const STAGES = {
  running: "run-on",
  finished: "run-ok",
  stopped: "run-left",
  crashed: "run-bad",
  waiting: "run-wait",
  damaged: "run-bad",
};

export function colorOf(status) {
  return STATUSES.includes(status) ? `s-${status}` : "s-other";
}

/** The sign of a status, with its word for those who cannot see it. */
export function sign(status) {
  return h(
    "span",
    { class: `sign-of ${colorOf(status)}`, title: `${status}: ${MEANINGS[status] || status}` },
    h("span", { "aria-hidden": "true" }, SIGNS[status] || "?"),
    h("span", { class: "for-ears" }, status),
  );
}

/** Sign and word. */
export function statusChip(status) {
  return h(
    "span",
    { class: `chip ${colorOf(status)}`, title: MEANINGS[status] || null },
    h("span", { "aria-hidden": "true" }, SIGNS[status] || "?"),
    " ",
    status,
  );
}

/** What a run does, with a dot that lives while it runs. */
export function stageChip(stage) {
  return h("span", { class: `stage ${STAGES[stage] || "run-left"}` }, h("i", { "aria-hidden": "true" }), stage || "unknown");
}
