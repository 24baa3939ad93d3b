// Where numbers come to lie on a chart: no element is made here.

import { clock, digits, isNumber, moment, short } from "./format.js";

const STEPS_S = [1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800];
const BREAK = 26; // px that a long time without work takes

/** Round values from 0 to at least `most`: [0, 20, 40]. */
export function ticksTo(most, many = 3) {
  if (!isNumber(most) || most <= 0) return [0, 1];
  const rough = most / many;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999);
  const ticks = [];
  for (let value = 0; value < most + step * 0.001 || ticks.length < 2; value += step) ticks.push(Number(value.toPrecision(12)));
  if (ticks[ticks.length - 1] < most) ticks.push(Number((ticks[ticks.length - 1] + step).toPrecision(12)));
  return ticks;
}

/** Stretches of time in which something ran, as [first, last] places in `at`. */
export function stretches(at, isOn, bucket) {
  const found = [];
  for (let index = 0; index < at.length; index++) {
    if (!isOn(index)) continue;
    const last = found[found.length - 1];
    if (last && last[1] === index - 1 && at[index] - at[index - 1] <= bucket * 1.6) last[1] = index;
    else found.push([index, index]);
  }
  return found;
}

/** Time on a line of `width` px. A time in which nothing ran is a gap; one longer than all the work around it
 * is cut short, so that a night that was continued a week later is still two nights. */
export class TimeScale {
  constructor(at, isOn, bucket, width) {
    this.bucket = bucket;
    const parts = stretches(at, isOn, bucket).map(([a, b]) => ({ from: at[a], to: at[b] + bucket }));
    if (!parts.length) parts.push({ from: at[0] || 0, to: (at[at.length - 1] || 0) + bucket });
    const worked = parts.reduce((sum, one) => sum + one.to - one.from, 0);
    this.pieces = [];
    for (const part of parts) {
      const last = this.pieces[this.pieces.length - 1];
      if (last) {
        const away = part.from - last.to;
        this.pieces.push({ from: last.to, to: part.from, idle: true, cut: away > worked * 0.3 });
      }
      this.pieces.push({ ...part, idle: false, cut: false });
    }
    const cuts = this.pieces.filter((one) => one.cut).length;
    const wide = Math.min(BREAK, (width * 0.4) / Math.max(1, cuts));
    const whole = this.pieces.reduce((sum, one) => sum + (one.cut ? 0 : one.to - one.from), 0) || 1;
    let x = 0;
    for (const one of this.pieces) {
      one.x = x;
      one.wide = one.cut ? wide : ((one.to - one.from) / whole) * (width - cuts * wide);
      x += one.wide;
    }
    this.width = width;
  }

  x(time) {
    const piece = this.pieces.find((one) => time <= one.to) || this.pieces[this.pieces.length - 1];
    const share = piece.to > piece.from ? (time - piece.from) / (piece.to - piece.from) : 0;
    return piece.x + Math.max(0, Math.min(1, share)) * piece.wide;
  }

  time(x) {
    const piece = this.pieces.find((one) => x <= one.x + one.wide) || this.pieces[this.pieces.length - 1];
    return piece.from + (piece.wide ? (x - piece.x) / piece.wide : 0) * (piece.to - piece.from);
  }

  get idle() {
    return this.pieces.filter((one) => one.idle);
  }

  /** Moments to write below: [{x, words}], none over another. */
  ticks() {
    const spans = this.pieces.filter((one) => !one.cut);
    const perPx = Math.max(...spans.map((one) => (one.to - one.from) / Math.max(1, one.wide)));
    const step = STEPS_S.find((one) => one >= perPx * 90) || Math.ceil((perPx * 90) / 604_800) * 604_800;
    const ticks = [];
    let day = "";
    for (const piece of spans) {
      const offset = new Date(piece.from * 1000).getTimezoneOffset() * 60;
      for (let time = Math.ceil((piece.from - offset) / step) * step + offset; time <= piece.to; time += step) {
        const x = this.x(time);
        const edge = x < 18 || x > this.width - 18;
        if (edge || (ticks.length && x - ticks[ticks.length - 1].x < 70)) continue;
        const date = new Date(time * 1000);
        const today = date.toDateString();
        const seconds = step < 60 ? `:${String(date.getSeconds()).padStart(2, "0")}` : "";
        const words = step >= 86_400 ? moment(time).replace(/ \d\d:\d\d$/, "") : clock(time) + seconds;
        ticks.push({ x, words: today === day || step >= 86_400 ? words : ((day = today), dayed(date, words)) });
      }
    }
    return ticks;
  }
}

function dayed(date, words) {
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? words : `${date.getDate()} ${date.toLocaleString("en-GB", { month: "short" })} ${words}`;
}

/** A value with its unit, as short as an axis wants it. */
export function withUnit(value, unit) {
  if (!isNumber(value)) return short(value);
  if (unit === "ms") return value >= 1000 ? `${digits(value / 1000, 3)} s` : `${digits(value, value < 1 ? 1 : 3)} ms`;
  if (unit === "USD" || unit === "usd" || unit === "$")
    return `$${value === 0 ? 0 : value < 0.01 ? digits(value, 2) : digits(value, 3)}`;
  if (unit === "s") return value >= 120 ? `${digits(value / 60, 3)} min` : `${digits(value, 3)} s`;
  return short(value);
}

/** Where a value lies among bins of equal width, from 0 to their number. */
export function amongBins(edges, value) {
  for (let index = 0; index + 1 < edges.length; index++) {
    if (value <= edges[index + 1]) {
      const wide = edges[index + 1] - edges[index];
      return index + (wide > 0 ? Math.max(0, Math.min(1, (value - edges[index]) / wide)) : 0.5);
    }
  }
  return edges.length - 1;
}
