// All that a person has chosen stands in the address, behind its `#`: it can be kept and passed on.

/** `#/run/night%201/rows?status=failed&where=a%3D1&where=b%3D2` as
 * `{parts: ["run", "night 1", "rows"], params: {status: "failed", where: ["a=1", "b=2"]}}`. */
function parsed(hash) {
  const text = hash.replace(/^#\/?/, "");
  const cut = text.indexOf("?");
  const path = cut < 0 ? text : text.slice(0, cut);
  const params = {};
  for (const [name, value] of new URLSearchParams(cut < 0 ? "" : text.slice(cut + 1))) {
    if (name === "where") (params.where ||= []).push(value);
    else params[name] = value;
  }
  return { parts: path.split("/").filter(Boolean).map(decoded), params };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a lone % that somebody typed
  }
}

/** The address of a place. Empty values are left out. */
export function address(parts, params = {}) {
  const query = queryOf(params);
  return `#/${parts.map(encodeURIComponent).join("/")}${query ? `?${query}` : ""}`;
}

/** Parameters as a query string; a list repeats its name. */
export function queryOf(params) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of [value].flat()) {
      if (one !== null && one !== undefined && one !== "" && one !== false) query.append(name, String(one));
    }
  }
  return query.toString();
}

/** Where the page is now. */
export function here() {
  return parsed(location.hash);
}

/** Goes to a place: a step that Back undoes. */
export function go(parts, params = {}) {
  location.hash = address(parts, params);
}

/** Changes some parameters of this place; null takes one out. With `step`, Back undoes it. */
export function choose(changes, { step = false } = {}) {
  const { parts, params } = here();
  const next = address(parts, { ...params, ...changes });
  if (next === location.hash) return;
  if (step) location.hash = next;
  else {
    history.replaceState(null, "", next);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  }
}

/** Several values in one parameter: joined by commas, a comma within a value escaped. No value (null) is the
 * word `none`; a value that is this word has its first letter escaped. */
export function joined(values) {
  const word = (value) =>
    value
      .replace(/%/g, "%25")
      .replace(/,/g, "%2C")
      .replace(/^none$/, "%6Eone");
  return values.map((value) => (value === null ? "none" : word(value))).join(",");
}

/** And back. */
export function split(text) {
  return text ? text.split(",").map((word) => (word === "none" ? null : decoded(word))) : [];
}
