// What differs between two texts, word by word.

const MOST = 4000; // words on a side; beyond that only what is the same at both ends is found
const FURTHEST = 1500; // edits
const SHARED = 0.3; // of the words; with fewer in common, what is the same is chance, and marks would only be noise

function words(text) {
  return text.match(/[\p{L}\p{N}_]+|\s+|[^\p{L}\p{N}_\s]/gu) || [];
}

/** Two texts as lists of [text, whether it differs], by the shortest edit (Myers, 1986); null if hardly a word of
 * one is in the other. */
export function differences(left, right) {
  const a = words(left);
  const b = words(right);
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const [x, y] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  const keptX = new Set();
  const keptY = new Set();
  if (x.length <= MOST && y.length <= MOST) {
    for (const [i, j] of common(x, y)) {
      keptX.add(i);
      keptY.add(j);
    }
  }
  const same = [...keptX].filter((index) => /[\p{L}\p{N}]/u.test(x[index])).length + start + end;
  if (same < SHARED * Math.min(a.length, b.length) * 0.5) return null;
  const side = (all, middle, kept) =>
    runs([
      ...all.slice(0, start).map((word) => [word, false]),
      ...middle.map((word, index) => [word, !kept.has(index)]),
      ...all.slice(all.length - end).map((word) => [word, false]),
    ]);
  return [side(a, x, keptX), side(b, y, keptY)];
}

/** Pairs of places that stay, in order. */
function common(a, b) {
  const n = a.length;
  const m = b.length;
  const far = Math.min(n + m, FURTHEST);
  let ends = new Map([[1, 0]]);
  const trace = [];
  for (let d = 0; d <= far; d++) {
    const next = new Map();
    for (let k = -d; k <= d; k += 2) {
      let x =
        k === -d || (k !== d && (ends.get(k - 1) ?? -1) < (ends.get(k + 1) ?? -1)) ? ends.get(k + 1) : (ends.get(k - 1) ?? 0) + 1;
      let y = x - k;
      while (x < n && y < m && a[x] === b[y]) {
        x++;
        y++;
      }
      next.set(k, x);
      if (x >= n && y >= m) return walked([...trace, next], n, m);
    }
    trace.push(next);
    ends = next;
  }
  return []; // too far apart: nothing of it is called the same
}

function walked(trace, n, m) {
  const pairs = [];
  let [x, y] = [n, m];
  for (let d = trace.length - 1; d > 0; d--) {
    const before = trace[d - 1];
    const k = x - y;
    const down = k === -d || (k !== d && (before.get(k - 1) ?? -1) < (before.get(k + 1) ?? -1));
    const from = down ? k + 1 : k - 1;
    const startX = before.get(from) ?? 0;
    const startY = startX - from;
    while (x > startX && y > startY && x > 0 && y > 0) pairs.push([--x, --y]);
    [x, y] = [startX, startY];
  }
  while (x > 0 && y > 0) pairs.push([--x, --y]);
  return pairs.reverse();
}

function runs(list) {
  const out = [];
  for (const [word, differs] of list) {
    const last = out[out.length - 1];
    if (last && last[1] === differs) last[0] += word;
    else out.push([word, differs]);
  }
  return out;
}
