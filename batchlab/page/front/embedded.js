// The source of a page that has its data within itself: the same questions, answered over the rows it holds.

import { split } from "./router.js";

const SNIPPET = 240;
const SORTS = ["row", "latency_ms", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd", "attempts"];
const AFTER_COLUMN = /^\s*(!=|<=|>=|=|<|>|~)\s?([\s\S]*)$/;
const CONDITION = /^\s*([^=!<>~]+?)\s*(!=|<=|>=|=|<|>|~)\s?([\s\S]*)$/;

/** Answers `get` from a JSON text. */
export class Embedded {
  constructor(text, Failure) {
    this.Failure = Failure;
    this.canWrite = false;
    this.whyNoWrite = "This page is a report; it cannot change the run.";
    this.asked = [];
    this.data = JSON.parse(text);
    this.rows = this.data.rows || [];
    this.byId = new Map(this.rows.map((row) => [row.row_id, row]));
  }

  async get(path, params = {}) {
    const began = performance.now();
    const answer = this.#answer(path, params);
    this.asked = [[path, performance.now() - began], ...this.asked.slice(0, 9)];
    return answer;
  }

  async send() {
    throw new this.Failure("This page is a report; batchlab view can change a run.");
  }

  follow() {
    return () => {};
  }

  #answer(path, params) {
    switch (path) {
      case "runs":
        return { folder: "", runs: this.data.runs || [], notes: [], version: this.data.version || "" };
      case "run":
        return this.data.run;
      case "charts":
        return this.data.charts || {};
      case "labels":
        return this.data.labels || { names: [], counts: {}, share: null };
      case "facets":
        return facetsOf(this.rows);
      case "acts":
        return { acts: [], started: [] };
      case "rows":
        return this.#page(params);
      case "place":
        return this.#place(params);
      case "sample":
        return {
          rows: sampled(
            this.rows.map((row) => row.row_id),
            Number(params.n) || 200,
            Number(params.seed) || 0,
          ),
        };
      case "row": {
        const row = this.byId.get(Number(params.row));
        if (row) return row;
        throw new this.Failure(`Row ${params.row} is not in this report; batchlab view has every row.`);
      }
      default:
        throw new this.Failure("A report does not have this; batchlab view has it.");
    }
  }

  #page(params) {
    const found = sorted(this.rows.filter(filterOf(params, this.data.run)), params);
    const offset = Number(params.offset) || 0;
    const page = found.slice(offset, offset + (Number(params.limit) || 50));
    return {
      total: this.rows.length,
      matched: found.length,
      searched: this.rows.length,
      done: true,
      offset,
      rows: page.map((row) => listed(row, params.q)),
      problems: [],
      everywhere: Boolean(params.q) && params.in !== "answer" && isEverywhere(this.data.run, params.q),
      left_out: this.data.left_out || 0,
      left_out_text: this.data.left_out_text || "",
    };
  }

  #place(params) {
    const found = sorted(this.rows.filter(filterOf(params, this.data.run)), params).map((row) => row.row_id);
    const at = found.indexOf(Number(params.row));
    return {
      position: at < 0 ? null : at + 1,
      matched: found.length,
      previous: at > 0 ? found[at - 1] : null,
      next: at >= 0 && at + 1 < found.length ? found[at + 1] : null,
    };
  }
}

function facetsOf(rows) {
  const counted = (name) => {
    const counts = new Map();
    for (const row of rows) counts.set(row[name] ?? null, (counts.get(row[name] ?? null) || 0) + 1);
    return [...counts].map(([value, many]) => ({ value, rows: many }));
  };
  return Object.fromEntries(["status", "error_class", "finish_reason", "lane", "label"].map((name) => [name, counted(name)]));
}

/** What stands before the names of result columns. */
function prefixOf(run) {
  const { result = [] } = (run && run.columns) || {};
  return result.length ? result[0].name.replace(/row_id$/, "") : "";
}

/** Whether what is said to all rows has a text. */
function isEverywhere(run, text) {
  const { system, template, messages = [] } = (run && run.what) || {};
  const said = [system, template, ...messages.map(([, content]) => content)].filter((one) => typeof one === "string");
  const wanted = text.toLowerCase();
  return said.some((one) => one.split(/\{[^{}]*\}/).some((literal) => literal.toLowerCase().includes(wanted)));
}

function ownText(row) {
  const texts = Object.values(row.inputs || {}).filter((one) => one !== null);
  return texts.map((one) => (typeof one === "string" ? one : JSON.stringify(one))).join("\n");
}

function askedText(row) {
  return (row.asked || []).map((message) => message.text || "").join("\n");
}

function answerText(row) {
  return (row.answer && row.answer.text) || "";
}

function filterOf(params, run) {
  const prefix = prefixOf(run);
  const tests = [];
  for (const [name, column] of [
    ["status", "status"],
    ["error", "error_class"],
    ["finish", "finish_reason"],
    ["lane", "lane"],
    ["label", "label"],
  ]) {
    const wanted = split(params[name]);
    if (wanted.length)
      tests.push((row) => wanted.includes(row[column] === null || row[column] === undefined ? null : String(row[column])));
  }
  for (const text of [params.where || []].flat()) {
    tests.push((row) => {
      const [column, sign, wanted] = partsOf(text, row, prefix);
      return holds(valueOf(row, column, prefix), sign, wanted);
    });
  }
  if (params.rows) {
    const ranges = params.rows.split(",").map((one) => one.split("-").map(Number));
    tests.push((row) => ranges.some(([low, high = low]) => row.row_id >= low && row.row_id <= high));
  }
  if (params.q) {
    const asked = isEverywhere(run, params.q) ? ownText : askedText; // what all rows have tells none from another
    const wanted = params.q.toLowerCase();
    const places = params.in ? params.in.split(",") : ["prompt", "answer"];
    tests.push(
      (row) =>
        (places.includes("prompt") && asked(row).toLowerCase().includes(wanted)) ||
        (places.includes("answer") && answerText(row).toLowerCase().includes(wanted)),
    );
  }
  return (row) => tests.every((test) => test(row));
}

/** Column, sign and value of a condition; of the columns with which it begins, the longest is meant. */
function partsOf(text, row, prefix) {
  const columns = [...Object.keys(row).map((name) => prefix + name), ...Object.keys(row.inputs || {})];
  const names = columns.filter((name) => text.startsWith(name));
  for (const name of names.sort((a, b) => b.length - a.length)) {
    const found = AFTER_COLUMN.exec(text.slice(name.length));
    if (found) return [name, found[1], found[2]];
  }
  return (CONDITION.exec(text) || ["", "", "", ""]).slice(1);
}

function valueOf(row, column, prefix) {
  if (row.inputs && Object.hasOwn(row.inputs, column)) return row.inputs[column];
  const name = column.startsWith(prefix) ? column.slice(prefix.length) : column;
  if (name === "completion") return answerText(row) || null;
  const value = Object.hasOwn(row, name) ? row[name] : null;
  return value !== null && typeof value === "object" && typeof value.text === "string" ? value.text : value;
}

function holds(value, sign, wanted) {
  const missing = value === null || value === undefined;
  if (missing) return (sign === "=" && wanted === "") || (sign === "!=" && wanted !== "");
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (sign === "~") return text.toLowerCase().includes(wanted.toLowerCase());
  const numbers = typeof value === "number" && wanted.trim() !== "" && Number.isFinite(Number(wanted));
  const [a, b] = numbers ? [value, Number(wanted)] : [text, wanted];
  return { "=": a === b, "!=": a !== b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b }[sign];
}

function isOdd(row) {
  if (typeof row.problem === "boolean") return row.problem;
  return row.status !== "ok" || (row.finish_reason && row.finish_reason !== "stop") || !answerText(row);
}

function sorted(rows, params) {
  const down = (params.sort || "").startsWith("-");
  const key = (params.sort || "row").replace(/^-/, "");
  if (SORTS.includes(key) && (key !== "row" || down)) {
    const of = (row) => (key === "row" ? row.row_id : row[key]);
    rows = [...rows].sort((a, b) => {
      const [x, y] = [of(a), of(b)];
      if (x === null || x === undefined) return y === null || y === undefined ? a.row_id - b.row_id : 1;
      if (y === null || y === undefined) return -1;
      return (down ? y - x : x - y) || a.row_id - b.row_id;
    });
  }
  return params.odd ? [...rows.filter(isOdd), ...rows.filter((row) => !isOdd(row))] : rows;
}

function listed(row, q) {
  return {
    ...row,
    asked: snippet(askedText(row), q),
    answer: row.answer ? snippet(answerText(row), q) : null,
    note: Boolean(row.note),
    hits: null,
  };
}

function snippet(text, q) {
  const at = q ? text.toLowerCase().indexOf(q.toLowerCase()) : -1;
  const from = at > 60 ? at - 60 : 0;
  return (from ? "…" : "") + text.slice(from, from + SNIPPET);
}

/** A random sample, the same for the same seed, in order. */
function sampled(ids, many, seed) {
  let state = (seed >>> 0) + 0x9e3779b9;
  const random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  const pool = [...ids];
  for (let index = 0; index < Math.min(many, pool.length); index++) {
    const other = index + Math.floor(random() * (pool.length - index));
    [pool[index], pool[other]] = [pool[other], pool[index]];
  }
  return pool.slice(0, many);
}
