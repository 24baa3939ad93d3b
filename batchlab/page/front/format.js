// Numbers, money and times as a person reads them. What is not known is a dash, never 0.

export const UNKNOWN = "–";

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const DAY_YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const FULL = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/** 1234567 → "1,234,567". */
export function count(value) {
  return isNumber(value) ? WHOLE.format(value) : UNKNOWN;
}

/** "1 row", "2 rows". */
export function counted(value, word, many = `${word}s`) {
  return `${count(value)} ${value === 1 ? word : many}`;
}

/** 1234567 → "1.23 M": where there is no room. */
export function short(value) {
  if (!isNumber(value)) return UNKNOWN;
  const size = Math.abs(value);
  for (const [unit, letter] of [
    [1e15, "P"],
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ]) {
    if (size >= unit * 0.9995) return `${digits(value / unit, 3)} ${letter}`;
  }
  return digits(value, 3);
}

/** A number by its significant digits, without a tail of zeros: 0.30000000000000004 → "0.3". */
export function digits(value, many = 3) {
  if (!isNumber(value)) return UNKNOWN;
  if (value === 0) return "0";
  if (Math.abs(value) >= 10 ** many) return WHOLE.format(value);
  const text = value.toPrecision(many);
  if (text.includes("e")) return Number(text).toExponential();
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** Dollars, as many digits as matter. */
export function usd(value) {
  if (!isNumber(value)) return UNKNOWN;
  const sign = value < 0 ? "−" : "";
  const size = Math.abs(value);
  if (size === 0) return "$0";
  if (size < 0.0000005) return `${sign}<$0.000001`;
  if (size < 1) {
    const places = Math.min(6, Math.max(2, 1 - Math.floor(Math.log10(size))));
    return `${sign}$${size.toFixed(places).replace(/(\.\d\d\d*?)0+$/, "$1")}`;
  }
  if (size < 10_000) return `${sign}$${size.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
  return size < 1e9 ? `${sign}$${WHOLE.format(size)}` : `${sign}$${short(size)}`;
}

/** 0.1234 → "12.3 %". */
export function share(value) {
  if (!isNumber(value)) return UNKNOWN;
  if (value === 0 || value === 1) return `${value * 100} %`;
  if (value < 0.001) return "<0.1 %";
  if (value > 0.999) return ">99.9 %";
  return `${(value * 100).toFixed(value > 0.0995 && value < 0.985 ? 0 : 1)} %`;
}

/** Milliseconds: "840 ms", "1.84 s", "2 min 5 s". */
export function took(ms) {
  if (!isNumber(ms)) return UNKNOWN;
  if (ms < 999.5) return `${digits(ms, ms < 10 ? 2 : 3)} ms`;
  if (ms < 59_950) return `${digits(ms / 1000, 3)} s`;
  return lasted(ms / 1000);
}

/** Seconds: "45 s", "12 min", "7 h 40 min", "3 d 4 h". */
export function lasted(seconds) {
  if (!isNumber(seconds)) return UNKNOWN;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 600 && whole % 60) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const nearest = Math.round(minutes / 60);
  const days = Math.floor(nearest / 24);
  return days < 1000 && nearest % 24 ? `${count(days)} d ${nearest % 24} h` : `${count(days)} d`;
}

/** So many a second, or a minute where that is easier to think of. */
export function rate(perSecond, word) {
  if (!isNumber(perSecond)) return UNKNOWN;
  return perSecond >= 1 || perSecond === 0 ? `${digits(perSecond, 3)} ${word}/s` : `${digits(perSecond * 60, 3)} ${word}/min`;
}

/** A moment, as near as it needs: "14:05", "27 Nov 14:05", "27 Nov 2025". */
export function moment(seconds, now = Date.now()) {
  const date = dateOf(seconds);
  if (!date) return UNKNOWN;
  const today = new Date(now);
  if (date.toDateString() === today.toDateString()) return CLOCK.format(date);
  if (date.getFullYear() !== today.getFullYear()) return DAY_YEAR.format(date);
  return `${DAY.format(date)} ${CLOCK.format(date)}`;
}

/** How long ago, for a moment not far away; else the moment. */
export function ago(seconds, now = Date.now()) {
  if (!isNumber(seconds)) return UNKNOWN;
  const past = now / 1000 - seconds;
  if (past < -60 || past > 86_400) return moment(seconds, now);
  if (past < 45) return "just now";
  if (past < 3570) return `${Math.max(1, Math.round(past / 60))} min ago`;
  return `${Math.round(past / 3600)} h ago`;
}

/** A moment with its date and second. */
export function exactly(seconds) {
  const date = dateOf(seconds);
  return date ? FULL.format(date) : UNKNOWN;
}

export function clock(seconds) {
  const date = dateOf(seconds);
  return date ? CLOCK.format(date) : UNKNOWN;
}

function dateOf(seconds) {
  if (!isNumber(seconds)) return null;
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? null : date;
}

/** A text on one line, cut to so many characters; never in the middle of a surrogate pair. */
export function clipped(text, many) {
  const line = String(text).replace(/\s+/g, " ").trim();
  if (line.length <= many) return line;
  const cut = line.slice(0, many).replace(/[\uD800-\uDBFF]$/, "");
  return `${cut}…`;
}

/** A value of any column as text. */
export function plain(value) {
  if (value === null || value === undefined) return UNKNOWN;
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  return JSON.stringify(value);
}
