// What is shown of a row: figures, what was asked, what came, and every column.

import { h } from "./dom.js";
import { clipped, count, digits, exactly, isNumber, plain, took, usd } from "./format.js";
import { code, image, json, markdown, raw, tamed, verbatim } from "./text.js";

const SHOWN_ABOVE = new Set([
  "reasoning",
  "tool_calls",
  "parsed",
  "inputs",
  "asked",
  "shared",
  "answer",
  "curl",
  "python",
  "attempts_list",
  "attempts_note",
  "as_sent",
  "params",
  "choices",
  "vectors",
  "problem",
  "label",
  "note",
]);

/** Draws the parts of a row, its texts rendered or raw. */
export class RowParts {
  constructor(isRaw) {
    this.isRaw = isRaw;
  }

  of(row) {
    return [
      row.problem && h("p", { class: "callout bad-words", dir: "auto" }, tamed(row.problem)),
      this.#facts(row),
      this.#error(row),
      this.#asked(row),
      this.#answer(row),
      this.#others(row),
      this.#reasoning(row),
      this.#tools(row),
      this.#attempts(row),
      this.#inputs(row),
      this.#columns(row),
    ];
  }

  #facts(row) {
    const facts = [
      ["latency", took(row.latency_ms)],
      isNumber(row.ttft_ms) && ["first token", took(row.ttft_ms)],
      isNumber(row.queue_ms) && row.queue_ms >= 1 && ["queued", took(row.queue_ms)],
      ["prompt", `${count(row.prompt_tokens)} tok`, row.cached_tokens > 0 && `${count(row.cached_tokens)} cached`],
      [
        "completion",
        `${count(row.completion_tokens)} tok`,
        row.reasoning_tokens > 0 && `${count(row.reasoning_tokens)} reasoning`,
      ],
      ["cost", usd(row.cost_usd), row.cost_wasted_usd > 0 && `${usd(row.cost_wasted_usd)} wasted`],
      row.finish_reason && ["finish", clipped(row.finish_reason, 40)],
      row.lane && ["lane", clipped(row.lane, 40)],
      row.model && ["model", clipped(row.model, 60)],
      row.attempts > 1 && ["attempts", count(row.attempts)],
      timeOf(row.finished_at) && ["finished", timeOf(row.finished_at)],
    ].filter(Boolean);
    return h(
      "dl",
      { class: "row-facts" },
      facts.map(([name, value, more]) =>
        h("div", {}, h("dt", {}, name), h("dd", {}, value, more && h("span", { class: "quiet" }, ` ${more}`))),
      ),
    );
  }

  #error(row) {
    if (!row.error_class && !row.error_message && !row.parsed_note) return null;
    return h(
      "section",
      { class: "row-error" },
      h("h3", {}, row.error_class || "note", isNumber(row.error_code) && h("span", { class: "quiet" }, ` ${row.error_code}`)),
      this.#text(row.error_message || row.parsed_note || ""),
      row.error_raw && h("details", { class: "fold" }, h("summary", {}, "as the service said it"), raw(String(row.error_raw))),
    );
  }

  #asked(row) {
    const shared = row.shared && Object.keys(row.shared).length ? row.shared : null;
    const messages = row.asked || [];
    const own = row.params && Object.keys(row.params).length ? row.params : null;
    if (!messages.length && !shared && !own) return null;
    return h(
      "section",
      { class: "asked" },
      h("h3", {}, "Asked", row.as_sent === false && h("span", { class: "quiet" }, " as the job makes it now")),
      shared && this.#shared(shared),
      messages.map((one) => this.#message(one)),
      own && h("div", { class: "message" }, h("div", { class: "role" }, "parameters of this row"), json(own)),
    );
  }

  #shared(shared) {
    const { messages = [], ...rest } = shared;
    const characters = messages.reduce((sum, one) => sum + (one.text || "").length, 0);
    const params = rest.params && typeof rest.params === "object" ? { ...rest, ...rest.params, params: undefined } : rest;
    const words = [
      messages.length && `${messages.map((one) => one.role).join(", ")} ${count(characters)} characters`,
      Object.keys(params)
        .filter((key) => params[key] !== undefined)
        .join(", "),
    ]
      .filter(Boolean)
      .join(" · ");
    return h(
      "details",
      { class: "fold shared" },
      h("summary", {}, "same in every row", h("span", { class: "quiet" }, ` ${clipped(words, 120)}`)),
      messages.map((one) => this.#message(one)),
      Object.values(params).some((one) => one !== undefined) && json(JSON.parse(JSON.stringify(params))),
    );
  }

  #message(message) {
    const parts = message.parts || [];
    const isText = !parts.some((part) => part.type !== "text"); // else its text has a word in place of each other part
    return h(
      "div",
      { class: "message" },
      h("div", { class: "role" }, message.role || "text"),
      isText && message.text ? this.#text(message.text) : parts.map((part) => this.#part(part)),
      message.tool_calls && this.#calls(message.tool_calls),
      cutWords(message),
    );
  }

  #part(part) {
    if (part.type === "text") return this.#text(part.text || "");
    if (part.type === "image") return image(part);
    if (part.type === "audio")
      return h(
        "p",
        { class: "quiet" },
        `audio${part.format ? `, ${part.format}` : ""}${isNumber(part.bytes) ? `, ${count(part.bytes)} bytes` : ""}`,
      );
    return h("details", { class: "fold" }, h("summary", {}, plain(part.type)), json(part.json ?? part));
  }

  #text(text) {
    return this.isRaw ? raw(text) : verbatim(text);
  }

  #answer(row) {
    const { answer } = row;
    if (!answer || (!answer.text && !answer.json)) {
      const isOther = row.vectors || row.tool_calls; // what was answered stands below
      const words = row.status === "pending" ? "No answer yet." : row.status === "ok" && !isOther ? "The answer is empty." : null;
      return [
        row.refusal && h("section", {}, h("h3", {}, "Refusal"), this.#text(row.refusal)),
        words && h("section", { class: "answer" }, h("h3", {}, "Answer"), h("p", { class: "quiet" }, words)),
      ];
    }
    const text = answer.text || "";
    return [
      h(
        "section",
        { class: "answer" },
        h(
          "h3",
          {},
          "Answer",
          h("span", { class: "quiet" }, ` ${count(isNumber(answer.cut) ? answer.cut : text.length)} characters`),
        ),
        this.#seen(answer),
        cutWords(answer),
      ),
      row.refusal && h("section", {}, h("h3", {}, "Refusal"), this.#text(row.refusal)),
    ];
  }

  #seen(answer) {
    const text = answer.text || "";
    if (this.isRaw) return raw(text);
    if (answer.json !== null && answer.json !== undefined && typeof answer.json === "object") return json(answer.json);
    return answer.tree ? markdown(answer.tree) : verbatim(text);
  }

  /** The other answers of a request for several, and vectors. */
  #others(row) {
    const choices = Array.isArray(row.choices) ? row.choices.slice(1) : [];
    const { vectors } = row;
    return [
      choices.map((one, index) =>
        h(
          "section",
          { class: "answer" },
          h(
            "h3",
            {},
            `Answer ${index + 2}`,
            one.finish_reason && h("span", { class: "quiet" }, ` ${clipped(one.finish_reason, 40)}`),
          ),
          this.#seen(one),
          cutWords(one),
        ),
      ),
      vectors &&
        h(
          "section",
          {},
          h("h3", {}, "Vectors"),
          h("p", { class: "quiet" }, `${count(vectors.count)} of ${count(vectors.dimensions)} dimensions; the first begins with`),
          h("div", { class: "raw" }, clipped(plain(vectors.first), 2000)),
        ),
    ];
  }

  #reasoning(row) {
    const { reasoning } = row;
    if (!reasoning || !reasoning.text) return null;
    return h(
      "details",
      { class: "fold reasoning" },
      h("summary", {}, "reasoning", h("span", { class: "quiet" }, ` ${count(reasoning.text.length)} characters`)),
      this.isRaw || !reasoning.tree ? this.#text(reasoning.text) : markdown(reasoning.tree),
      cutWords(reasoning),
    );
  }

  #tools(row) {
    const calls = asList(row.tool_calls);
    return calls && calls.length ? h("section", {}, h("h3", {}, "Tool calls"), this.#calls(calls)) : null;
  }

  #calls(calls) {
    return asList(calls).map((call) => {
      const of = call.function || call;
      const given = parsedJson(of.arguments);
      return h(
        "div",
        { class: "call" },
        h(
          "div",
          { class: "role" },
          h("code", {}, plain(of.name)),
          call.id && h("span", { class: "quiet" }, ` ${clipped(String(call.id), 40)}`),
        ),
        given !== null && typeof given === "object" && !this.isRaw ? json(given) : raw(plain(of.arguments ?? "")),
      );
    });
  }

  #attempts(row) {
    const list = row.attempts_list || [];
    if (!list.length && !row.attempts_note) return null;
    const many = Math.max(row.attempts || 0, 1);
    return h(
      "details",
      { class: "fold", open: true },
      h("summary", {}, many === 1 ? "the attempt" : `${count(many)} attempts`),
      row.attempts_note && h("p", { class: "quiet", dir: "auto" }, row.attempts_note),
      h(
        "div",
        { class: "scroll" },
        h(
          "table",
          { class: "plain" },
          h(
            "tbody",
            {},
            list.map((one) =>
              h(
                "tr",
                {},
                h("th", { scope: "row" }, plain(one.what ?? "")),
                h("td", {}, isNumber(one.at) ? exactly(one.at) : ""),
                h("td", { class: "num" }, isNumber(one.ms) ? took(one.ms) : ""),
                h("td", { class: "num" }, isNumber(one.cost_usd) ? usd(one.cost_usd) : ""),
                h("td", { dir: "auto", class: "words" }, clipped(one.message || "", 300)),
              ),
            ),
          ),
        ),
      ),
    );
  }

  #inputs(row) {
    const entries = Object.entries(row.inputs || {});
    if (!entries.length) return null;
    return h(
      "details",
      { class: "fold", open: entries.length <= 8 && JSON.stringify(row.inputs).length < 1200 },
      h("summary", {}, `input: ${count(entries.length)} ${entries.length === 1 ? "column" : "columns"}`),
      pairs(entries),
    );
  }

  #columns(row) {
    const entries = Object.entries(row).filter(
      ([name, value]) => !SHOWN_ABOVE.has(name) && value !== null && value !== undefined,
    );
    return h(
      "details",
      { class: "fold" },
      h("summary", {}, "every column of the result"),
      pairs(entries),
      ["curl", "python"]
        .filter((name) => row[name])
        .map((name) =>
          h(
            "details",
            { class: "fold" },
            h("summary", {}, `this request as ${name === "curl" ? "curl" : "Python"}`),
            code(row[name], name === "curl" ? "sh" : "python"),
          ),
        ),
    );
  }
}

function pairs(entries) {
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      { class: "pairs left" },
      h(
        "tbody",
        {},
        entries.map(([name, value]) =>
          h(
            "tr",
            {},
            h("th", { scope: "row", dir: "auto" }, name),
            h(
              "td",
              { class: "words", dir: "auto" },
              isNumber(value) && /_at$/.test(name)
                ? exactly(value)
                : typeof value === "object"
                  ? h("code", {}, clipped(plain(value), 2000))
                  : isNumber(value) && !Number.isInteger(value)
                    ? digits(value, 6)
                    : verbatim(plain(value)),
            ),
          ),
        ),
      ),
    ),
  );
}

function timeOf(value) {
  return isNumber(value) ? exactly(value) : value ? String(value) : null;
}

function cutWords(one) {
  return isNumber(one.cut)
    ? h("p", { class: "quiet" }, `cut here: the whole text has ${count(one.cut)} characters; batchlab show has it`)
    : null;
}

function asList(value) {
  const read = parsedJson(value);
  return read === null || read === undefined ? null : Array.isArray(read) ? read : [read];
}

function parsedJson(value) {
  if (typeof value !== "string") return value ?? null;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}
