// Where the page gets what it shows: a server, or data within the page itself (`report`).

import { Embedded } from "./embedded.js";
import { queryOf } from "./router.js";

const TOKEN = "batchlab-token";
const AGAIN_MS = 3000;

let token = ""; // for as long as the page is open, where a browser keeps nothing

/** What went wrong, in one line for a person. */
class SourceError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** Asks a server, on the page's own origin. */
class Served {
  constructor() {
    this.canWrite = true;
    this.asked = []; // the last answers: [path, ms], for the footer of ?debug
  }

  /** Why nothing can be changed from this tab; "" where it can. */
  get whyNoWrite() {
    const has = sessionStorage.getItem(TOKEN);
    return has ? "" : "This tab only shows: to act, open the address that batchlab view printed, which has the page's token.";
  }

  async get(path, params = {}, signal = undefined) {
    const query = queryOf(params);
    return this.#fetched(path, `/api/${path}${query ? `?${query}` : ""}`, { signal });
  }

  async send(path, body) {
    return this.#fetched(path, `/api/${path}`, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "Content-Type": "application/json" },
    });
  }

  async #fetched(path, url, options) {
    const began = performance.now();
    const known = token || storedToken();
    const headers = { ...options.headers, ...(known ? { "X-Batchlab-Token": known } : {}) };
    let response;
    try {
      response = await fetch(url, { ...options, headers, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new SourceError("The server does not answer. Is batchlab view still running?");
    }
    let answer = null;
    try {
      answer = await response.json();
    } catch (error) {
      if (error.name === "AbortError") throw error;
    }
    this.asked = [[path, performance.now() - began], ...this.asked.slice(0, 9)];
    if (!response.ok) {
      const said = answer && typeof answer.error === "string" ? answer.error : `The server answered ${response.status}.`;
      throw new SourceError(said, response.status);
    }
    if (answer === null) throw new SourceError("The server's answer was cut off.");
    return answer;
  }

  /** Calls `onEvent(object)` at each change, `onState(true|false, why)` as the line stands or breaks. */
  follow(path, params, onEvent, onState = () => {}) {
    let stream = null; // a browser has six lines to a server, for all its tabs: one that nobody looks at holds none
    let timer = 0;
    let stopped = false;
    const open = () => {
      stream = new EventSource(`/api/${path}/events?${queryOf(params)}`);
      stream.onopen = () => onState(true);
      stream.onmessage = (message) => {
        let told;
        try {
          told = JSON.parse(message.data);
        } catch {
          return; // half a message of a server that ended
        }
        if (told && typeof told.error === "string" && Object.keys(told).length === 1) return onState(false, told.error);
        onState(true);
        onEvent(told);
      };
      stream.onerror = () => {
        onState(false);
        if (stopped || stream.readyState !== EventSource.CLOSED) return; // it tries again by itself
        clearTimeout(timer);
        timer = setTimeout(open, AGAIN_MS);
      };
    };
    const shut = () => {
      clearTimeout(timer);
      if (stream) stream.close();
    };
    const seen = () => {
      shut();
      if (!document.hidden) open();
    };
    document.addEventListener("visibilitychange", seen);
    seen();
    return () => {
      stopped = true;
      document.removeEventListener("visibilitychange", seen);
      shut();
    };
  }
}

function made() {
  const data = document.getElementById("data");
  return data ? new Embedded(data.textContent, SourceError) : new Served();
}

export const source = made();

/** Keeps the token of the address that was opened first, and takes it out of the address. */
export function keepToken() {
  const found = /^#token=([^&]+)(?:&(.*))?$/.exec(location.hash);
  if (!found) return;
  token = found[1]; // URL-safe Base64: nothing in it is escaped
  try {
    sessionStorage.setItem(TOKEN, token);
  } catch {
    // until it is loaded again
  }
  history.replaceState(null, "", `${location.pathname}${location.search}#${found[2] || "/"}`);
}

function storedToken() {
  try {
    return sessionStorage.getItem(TOKEN);
  } catch {
    return null;
  }
}
