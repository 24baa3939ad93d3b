// What can be done to a run from here. Each act is a command; it is shown, asked for once, and followed.

import { copied, say } from "./copy.js";
import { fill, h, later } from "./dom.js";
import { dialog, trouble } from "./shell.js";
import { source } from "./source.js";
import { openly } from "./text.js";

/** Opens what can be done; where nothing can be, it is not to be pressed, and says why. */
export function actButton(run) {
  const why = source.whyNoWrite || (run.cannot_act && sentence(run.cannot_act));
  return h(
    "button",
    {
      type: "button",
      class: "act-button",
      title: why || "Act on this run (a)",
      "aria-disabled": why ? "true" : null,
      onclick: () => (why ? say(why) : openActs(run.id, {})),
    },
    "Act…",
  );
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

/** Shows the acts there are for a run, or for the rows of a filter; and what was started before. */
export async function openActs(id, filter) {
  if (source.whyNoWrite) return say(source.whyNoWrite);
  const body = h("div", { class: "acts" }, h("p", { class: "quiet", role: "status" }, "asking…"));
  const box = dialog(Object.keys(filter).length ? "Act on these rows" : "Act on this run", "act-dialog", body);
  const load = async () => {
    try {
      const { acts, started, cannot_act: why } = await source.get("acts", { ...filter, run: id });
      fill(
        body,
        acts.length
          ? acts.map((act) => choice(body, id, filter, act))
          : h(
              "p",
              { class: "quiet", dir: "auto" },
              why
                ? `Nothing can be done from here: ${why}`
                : "Nothing to do: the run needs nothing, or another process has it in hand.",
            ),
        started.length > 0 &&
          h(
            "details",
            { class: "fold" },
            h("summary", {}, "started from this page before"),
            h(
              "ul",
              { class: "started" },
              started.map((one) =>
                h(
                  "li",
                  {},
                  h("code", {}, openly(one.command)),
                  h("span", { class: "quiet" }, endWords(one)),
                  h(
                    "button",
                    { type: "button", class: "small", onclick: () => watch(body, one.id, one.command) },
                    "what it says",
                  ),
                ),
              ),
            ),
          ),
      );
      const first = body.querySelector("button");
      if (first) first.focus();
    } catch (error) {
      fill(body, trouble(error, load));
    }
  };
  await load();
  return box;
}

function endWords({ running, exit_code: code }) {
  if (running) return " runs";
  return code === 0 ? " done" : ` ended with ${code ?? "no exit code"}`;
}

function choice(body, id, filter, act) {
  const place = h("div", { class: "act-more" });
  const button = h(
    "button",
    {
      type: "button",
      class: "act-name",
      "aria-expanded": "false",
      onclick: () => {
        const open = button.getAttribute("aria-expanded") === "true";
        for (const other of body.querySelectorAll(".act-name")) other.setAttribute("aria-expanded", "false");
        for (const other of body.querySelectorAll(".act-more")) other.replaceChildren();
        if (open) return;
        button.setAttribute("aria-expanded", "true");
        question(body, place, id, filter, act);
      },
    },
    act.title,
  );
  return h("div", { class: "act" }, button, place);
}

function question(body, place, id, filter, act) {
  let command = act.command;
  const shown = h("code", { class: "command", dir: "ltr" }, openly(command));
  const values = act.field ? { [act.field.name]: String(act.field.value ?? "") } : {};
  const problem = h("p", { class: "bad-words", role: "alert" });
  let asks = 0;
  const asked = async () => {
    const mine = ++asks;
    try {
      const { acts } = await source.get("acts", { ...filter, run: id, ...values });
      if (mine !== asks) return; // of a value that was typed before
      const same = acts.find((one) => one.name === act.name);
      if (same) {
        command = same.command;
        fill(shown, openly(command));
      }
      problem.textContent = "";
    } catch (error) {
      if (mine !== asks) return;
      problem.textContent = error.message;
    }
    sure.disabled = problem.textContent !== "";
  };
  const recount = later(250, asked);
  const field =
    act.field &&
    h(
      "label",
      { class: "act-field" },
      act.field.title,
      h("input", {
        type: "text",
        value: values[act.field.name],
        oninput: (event) => {
          values[act.field.name] = event.target.value;
          asks++;
          sure.disabled = true; // until the command that is shown is the one of this value
          recount();
        },
      }),
    );
  const sure = h(
    "button",
    {
      type: "button",
      class: "sure",
      onclick: async () => {
        sure.disabled = true;
        try {
          const answer = await source.send("act", { run: id, name: act.name, command, values, filter });
          watch(body, answer.started, command);
        } catch (error) {
          sure.disabled = false;
          problem.textContent = error.message;
          if (error.status === 409) await asked();
        }
      },
    },
    act.title,
  );
  fill(
    place,
    act.asks && h("p", { dir: "auto" }, openly(act.asks)),
    field,
    h(
      "p",
      { class: "quiet" },
      act.folder ? ["This runs, in ", openly(act.folder), ":"] : "This runs, on the machine of this server:",
    ),
    h(
      "div",
      { class: "command-line" },
      shown,
      h("button", { type: "button", class: "small", onclick: () => copied(command) }, "copy"),
    ),
    problem,
    h(
      "div",
      { class: "act-buttons" },
      sure,
      h("button", { type: "button", onclick: () => body.closest("dialog").close() }, "Leave it"),
    ),
  );
  sure.focus();
}

/** Shows what a command that was started says, as it says it. */
function watch(body, key, command) {
  const box = body.closest("dialog");
  if (!box.isConnected) return; // closed while it was begun: nobody would end the stream
  const state = h("p", { role: "status" }, "Started.");
  const log = h("pre", { class: "raw", tabindex: "0", role: "region", "aria-label": "What it says" });
  fill(body, h("div", { class: "command-line" }, h("code", { class: "command", dir: "ltr" }, openly(command))), state, log);
  const stop = source.follow("act", { started: key }, (told) => {
    state.textContent = told.running
      ? "It runs. This may be closed; it goes on."
      : told.exit_code === 0
        ? "Done."
        : `It ended with exit code ${told.exit_code ?? "unknown"}.`;
    log.textContent = told.log || "";
    log.scrollTop = log.scrollHeight;
    if (!told.running) stop();
  });
  box.addEventListener("close", stop);
}
