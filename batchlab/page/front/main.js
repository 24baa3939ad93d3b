// Which view is shown, by the address.

import { compareView } from "./compare.js";
import { debugFoot } from "./debug.js";
import { fill, h } from "./dom.js";
import { bind, listen } from "./keys.js";
import { newSeed, reviewView } from "./review.js";
import { address, go, here } from "./router.js";
import { rowsView } from "./rows.js";
import { runsView } from "./runs.js";
import { runView } from "./run.js";
import { frame, nextTheme, openHelp, setPlace, trouble } from "./shell.js";
import { keepToken, source } from "./source.js";

const EVERYWHERE = "Everywhere";
const VIEWS = { "": runsView, run: runView, rows: rowsView, review: reviewView, compare: compareView };

let view = null;
let shown = "";

function nameOf({ parts }) {
  if (!parts.length) return "";
  if (parts[0] !== "run" || !parts[1]) return null;
  return parts[2] === undefined ? "run" : Object.hasOwn(VIEWS, parts[2]) ? parts[2] : null;
}

function route(root) {
  let place = here();
  if (place.parts[2] === "rows" && place.params.review) {
    const { review, ...filter } = place.params; // how `view --review 200` opens the page
    history.replaceState(null, "", address(["run", place.parts[1], "review"], { ...filter, n: review, seed: newSeed(), at: 1 }));
    place = here();
  }
  const name = nameOf(place);
  const wanted = [name, ...place.parts].join("\n");
  if (view && wanted === shown) return view.update(place);
  if (view) view.close();
  view = null;
  shown = wanted;
  for (const box of document.querySelectorAll("dialog[open]")) box.close();
  document.body.classList.remove("row-open");
  window.scrollTo(0, 0);
  if (name === null) {
    setPlace({ id: null, name: "", view: "" });
    fill(
      root,
      trouble(new Error("There is no such place on this page."), null),
      h("p", { class: "nothing" }, h("a", { href: "#/" }, "to the runs")),
    );
    return;
  }
  view = VIEWS[name](root, place);
}

async function begin() {
  keepToken();
  listen();
  const root = frame();
  debugFoot();
  if (!source.canWrite && !here().parts.length) {
    const { runs } = await source.get("runs");
    history.replaceState(null, "", address(["run", runs.length ? runs[0].id : "run"]));
  }
  bind(EVERYWHERE, [
    { keys: ["?"], does: "these keys", call: openHelp },
    { keys: ["t"], does: "theme: as the system, light, dark", call: nextTheme },
    { keys: ["g h"], does: "all runs", call: () => source.canWrite && go([]) },
    { keys: ["g o"], does: "the run's overview", call: () => to() },
    { keys: ["g r"], does: "its rows", call: () => to("rows") },
    { keys: ["g v"], does: "review a sample of them", call: () => to("review") },
    { keys: ["g c"], does: "compare with another run", call: () => to("compare") },
  ]);
  window.addEventListener("hashchange", () => {
    keepToken(); // a new address of the same page, opened where the old one stands, changes only what is behind the #
    route(root);
  });
  route(root);
}

function to(...rest) {
  const [kind, id] = here().parts;
  if (kind === "run" && id) go(["run", id, ...rest]);
}

begin();
