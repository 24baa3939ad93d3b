// What can be done to a run from here. Each act is a command; it is shown, and asked for once.

import { copied, say } from "./copy.js";
import { fill, h, later } from "./dom.js";
import { dialog, trouble } from "./shell.js";
import { source } from "./source.js";

/** Shows the acts there are for a run, or for the rows of a filter. */
export async function openActs(id, filter) {
  if (!source.canWrite) return say("This page is a report; it cannot change the run.");
  const body = h("div", { class: "acts" }, h("p", { class: "quiet", role: "status" }, "asking…"));
  const box = dialog("Act on this run", "act-dialog", body);
  const load = async () => {
    try {
      const acts = await source.get("acts", { ...filter, run: id });
      if (!acts.length) fill(body, h("p", { class: "quiet" }, "Nothing to do: the run needs nothing, or another process has it in hand."));
      else fill(body, acts.map((act) => choice(box, id, filter, act)));
      const first = body.querySelector("button");
      if (first) first.focus();
    } catch (error) {
      fill(body, trouble(error, load));
    }
  };
  await load();
}

function choice(box, id, filter, act) {
  const place = h("div", { class: "act-more" });
  const button = h("button", { type: "button", class: "act-name", "aria-expanded": "false", onclick: () => {
    const open = button.getAttribute("aria-expanded") === "true";
    for (const other of box.querySelectorAll(".act-name")) other.setAttribute("aria-expanded", "false");
    for (const other of box.querySelectorAll(".act-more")) other.replaceChildren();
    if (open) return;
    button.setAttribute("aria-expanded", "true");
    question(box, place, id, filter, act);
  } }, act.title);
  return h("div", { class: "act" }, button, place);
}

function question(box, place, id, filter, act) {
  const command = h("code", { class: "command" }, act.command);
  const values = act.field ? { [act.field.name]: String(act.field.value ?? "") } : {};
  const problem = h("p", { class: "bad-words", role: "alert" });
  const recount = later(250, async () => {
    try {
      const acts = await source.get("acts", { ...filter, run: id, ...values });
      const same = acts.find((one) => one.name === act.name);
      if (same) command.textContent = same.command;
      problem.textContent = "";
    } catch (error) {
      problem.textContent = error.message;
    }
  });
  const field = act.field && h("label", { class: "act-field" }, act.field.title, h("input", { type: "text", value: values[act.field.name],
    oninput: (event) => ((values[act.field.name] = event.target.value), recount()) }));
  const sure = h("button", { type: "button", class: "sure", onclick: async () => {
    sure.disabled = true;
    recount.now();
    try {
      const answer = await source.send("act", { run: id, name: act.name, values, filter });
      box.close();
      say(answer.log ? `Started; what it says goes to ${answer.log}` : "Started");
    } catch (error) {
      sure.disabled = false;
      problem.textContent = error.message;
    }
  } }, act.title);
  fill(place, act.asks && h("p", { dir: "auto" }, act.asks), field,
    h("p", { class: "quiet" }, "This runs, on the machine of this server:"),
    h("div", { class: "command-line" }, command, h("button", { type: "button", class: "small", onclick: () => copied(command.textContent) }, "copy")),
    problem,
    h("div", { class: "act-buttons" }, sure, h("button", { type: "button", onclick: () => box.close() }, "Leave it")));
  sure.focus();
}
