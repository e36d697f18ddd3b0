// The table of methods: pure functions of the document `methods` of the stream, and the histories kept on the page.

export const HISTORY_S = 120;
const GAP_S = 5; // a longer one is drawn as a gap

export const COLUMNS = [
  { id: "name", title: "Method", of: (row) => row.name, isText: true },
  { id: "per_s", title: "Calls/s", of: (row) => row.per_s },
  { id: "p50", title: "p50", of: (row) => row.p50_ms },
  { id: "p99", title: "p99", of: (row) => row.p99_ms },
  { id: "errors", title: "Errors/s", of: (row) => row.errors_per_s },
  { id: "total", title: "Total", of: (row) => row.total },
];

/**
 * The rows of one side, "served" or "made": {name, per_s, p50_ms, p99_ms, errors, errors_per_s, total}.
 *
 * Without rates so far (hasRates), the rates are undefined, and not 0.
 */
export function rowsOf(methods, side, hasRates = true) {
  return Object.entries(methods ?? {})
    .filter(([, row]) => row[side])
    .map(([name, row]) => {
      const { per_s = hasRates ? 0 : undefined, p50_ms, p99_ms, errors = {}, total = 0 } = row[side];
      const errors_per_s = per_s === undefined ? undefined : Object.entries(errors).reduce((sum, [outcome, rate]) => (outcome === "cancelled" ? sum : sum + rate), 0);
      return { name, per_s, p50_ms, p99_ms, errors, errors_per_s, total };
    });
}

const OTHERS = "_OTHER/_OTHER"; // as in the metrics

/** The name of a row for people. */
export function nameOf(row) {
  return row.name === OTHERS ? "all others, not registered" : row.name;
}

/** The rows whose names have all the words, in order; those without a value come last, either way. */
export function sorted(rows, { by = "per_s", descending = true } = {}, text = "") {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const { of } = COLUMNS.find((column) => column.id === by) ?? COLUMNS[1];
  const sign = descending ? -1 : 1;
  return rows
    .filter((row) => words.every((word) => nameOf(row).toLowerCase().includes(word)))
    .sort((a, b) => {
      const [left, right] = [of(a), of(b)];
      if (left === right) return a.name < b.name ? -1 : 1;
      if (left === undefined || right === undefined) return left === undefined ? 1 : -1;
      return left < right ? -sign : sign;
    });
}

/** The values of the last two minutes, by name. */
export class Histories {
  #kept = new Map();

  add(name, time, values) {
    const kept = this.#kept.get(name) ?? [];
    this.#kept.set(name, kept);
    kept.push({ time, ...values });
    while (kept.length && kept[0].time < time - HISTORY_S) kept.shift();
  }

  of(name) {
    return this.#kept.get(name) ?? [];
  }

  /** Forget what is older than the history, of names that are no more. */
  trim(now) {
    for (const [name, kept] of this.#kept) if (!kept.length || kept.at(-1).time < now - HISTORY_S) this.#kept.delete(name);
  }
}

/**
 * The path of a history, as the "d" of an SVG path in a box of width and height: the newest at the right, 0 at the
 * bottom, the greatest value at the top; with gaps where nobody looked.
 */
export function pathOf(points, field, now, width, height) {
  const most = Math.max(...points.map((point) => point[field] ?? 0), 0);
  if (!(most > 0)) return "";
  const parts = [];
  let before = null;
  for (const point of points) {
    const value = point[field];
    if (value === undefined) {
      before = null;
      continue;
    }
    const x = width * (1 - (now - point.time) / HISTORY_S);
    const y = height - 1 - (height - 2) * (value / most);
    parts.push(`${before === null || point.time - before > GAP_S ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`);
    before = point.time;
  }
  return parts.join("");
}

/** The errors of a row in words: "error 0.9/s, timeout 0.1/s". */
export function errorsText(errors, rate) {
  return Object.entries(errors)
    .sort(([, a], [, b]) => b - a)
    .map(([outcome, perSecond]) => `${outcome} ${rate(perSecond)}/s`)
    .join(", ");
}
