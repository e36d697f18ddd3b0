// The tree of running calls: pure functions of the document `calls` of the stream.

export const STATES = ["running", "sent", "queued", "connecting", "cancelling", "cancelled", "orphan"];

const WORDS = {
  running: "running",
  sent: "sent",
  queued: "queued",
  connecting: "connecting",
  cancelling: "cancel sent",
  cancelled: "cancelled",
  orphan: "orphan",
};
const MEANINGS = {
  running: "Its handler runs.",
  sent: "It is sent, and its node does not report it: it has not arrived yet, or a plain function answers it.",
  queued: "It waits for its turn: its node accepts no more calls of this caller at present.",
  connecting: "Its caller has no connection to its node yet.",
  cancelling: "Its caller has cancelled it. Its node did not know that when it was asked.",
  cancelled: "It is cancelled, and has not ended yet: its handler cleans up, shields itself, or waits for a thread.",
  orphan: "Its caller has cancelled it and waits no longer, because its end was not confirmed in time.",
};
const ENDS = {
  done: "ended",
  ok: "returned",
  error: "raised",
  cancelled: "was cancelled",
  timeout: "deadline over",
  node: "node is gone",
};
const GLYPHS = { sent: "left", queued: "waiting", connecting: "joining", cancelling: "warning" };
const ENDED_GLYPHS = { error: "error", cancelled: "cancelled", timeout: "warning", node: "failed" };
const ENDED_MEANINGS = {
  done: "It has ended. How, is not known: its node has ended several calls of the method since it was asked before.",
  ok: "It has returned a value.",
  error: "Its handler has raised an error.",
  cancelled: "It was cancelled, and has ended.",
  timeout: "Its deadline was over, and it has ended.",
  node: "The node that ran it is no member any more.",
};

/** The state of a row: one of STATES, or "ended". */
export function stateOf(row) {
  return row.ended ? "ended" : row.state ?? "running";
}

/** The word of a row's state. */
export function wordOf(row) {
  return row.ended ? ENDS[row.ended] ?? "ended" : WORDS[stateOf(row)] ?? String(row.state);
}

/** What a row's state means, in a sentence. */
export function meaningOf(row) {
  const meaning = row.ended ? ENDED_MEANINGS[row.ended] : MEANINGS[stateOf(row)];
  return row.silent && !row.ended ? `${meaning ?? ""} This is from its node's last report: it gives none now.` : meaning ?? "";
}

/** The state whose glyph stands for a row. */
export function glyphOf(row) {
  if (row.ended) return ENDED_GLYPHS[row.ended] ?? "left";
  return GLYPHS[row.state] ?? stateOf(row);
}

/** The name of a row's method, with its gid if that is not "local". */
export function nameOf(row) {
  return `${row.gid ? `${row.gid}/` : ""}${row.service}/${row.method}`;
}

/** The id of the call of a key: "SID:ID", or "SID:ID#2" for a second one with the same id. */
export function idOf(key) {
  return key.slice(key.indexOf(":") + 1).replace(/#\d+$/, "");
}

const ORDERS = {
  oldest: (row) => row.begun ?? Infinity,
  newest: (row) => -(row.begun ?? Infinity),
  deadline: (row) => row.deadline ?? Infinity,
};

/** The tree of rows: {rows, roots: [key], children: Map of key to [key]}; every row is in it once, whatever parents say. */
export function treeOf(rows, order = "oldest") {
  const rank = ORDERS[order] ?? ORDERS.oldest;
  const children = new Map();
  const roots = [];
  for (const [key, row] of Object.entries(rows)) {
    const parent = row.parent !== undefined && row.parent !== key && Object.hasOwn(rows, row.parent) ? row.parent : null;
    if (parent === null) roots.push(key);
    else if (children.has(parent)) children.get(parent).push(key);
    else children.set(parent, [key]);
  }
  const tree = { rows, roots, children };
  const reached = new Set(walk(tree, roots));
  for (const key of Object.keys(rows)) {
    if (reached.has(key)) continue; // a circle of parents, of patches that came in parts
    cutOff(children, rows[key].parent, key);
    roots.push(key);
    for (const one of walk(tree, [key])) reached.add(one);
  }
  const sorted = (keys) => keys.sort((a, b) => (rank(rows[a]) === rank(rows[b]) ? (a < b ? -1 : 1) : rank(rows[a]) < rank(rows[b]) ? -1 : 1));
  sorted(roots);
  for (const keys of children.values()) sorted(keys);
  return tree;
}

function cutOff(children, parent, key) {
  const left = (children.get(parent) ?? []).filter((one) => one !== key);
  if (left.length) children.set(parent, left);
  else children.delete(parent);
}

function* walk(tree, keys) {
  const pending = [...keys].reverse();
  while (pending.length) {
    const key = pending.pop();
    yield key;
    const below = tree.children.get(key);
    for (let place = (below?.length ?? 0) - 1; place >= 0; place -= 1) pending.push(below[place]);
  }
}

/** A call and all below it: its own key first. */
export function below(tree, key) {
  return [...walk(tree, [key])];
}

/**
 * What a reader looks for, as a function of (key, row); null for everything.
 *
 * Each word of `text` is in the row's name, its node, its id, its state, or in whose name it is; `states` are the states
 * to show, of which none stands for all.
 */
export function matcher(text, states, labelOf) {
  const words = String(text ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length && !states.size) return null;
  return (key, row) => {
    if (states.size && !states.has(stateOf(row))) return false;
    const whole = `${nameOf(row)} ${labelOf(row.node)} ${key} ${wordOf(row)} ${row.by ?? ""}`.toLowerCase();
    return words.every((word) => whole.includes(word));
  };
}

/**
 * The rows to draw, in order: {key, row, level, size, position, folded, inner, context}.
 *
 * inner is how many rows are below; folded whether they are hidden; context is true for the rows that are there only
 * because a row below them matches.
 */
export function visibleRows(tree, folded, matches) {
  const kept = matches && keptBy(tree, matches);
  const inner = innerCounts(tree);
  const found = [];
  const pending = [];
  const push = (keys, level) => {
    const shown = kept ? keys.filter((key) => kept.has(key)) : keys;
    for (let place = shown.length - 1; place >= 0; place -= 1) pending.push([shown[place], level, shown.length, place + 1]);
  };
  push(tree.roots, 0);
  while (pending.length) {
    const [key, level, size, position] = pending.pop();
    const children = tree.children.get(key);
    const isFolded = Boolean(children) && !kept && folded.has(key);
    found.push({ key, row: tree.rows[key], level, size, position, folded: isFolded, inner: inner.get(key), context: Boolean(kept) && !kept.get(key) });
    if (children && !isFolded) push(children, level + 1);
  }
  return found;
}

/** The keys of matching rows, and of those above them; the value is whether it matches by itself. */
function keptBy(tree, matches) {
  const kept = new Map();
  for (const [key, row] of Object.entries(tree.rows)) {
    if (!matches(key, row)) continue;
    kept.set(key, true);
    for (let above = row.parent; above !== undefined && !kept.has(above) && Object.hasOwn(tree.rows, above); above = tree.rows[above].parent) kept.set(above, false);
  }
  return kept;
}

function innerCounts(tree) {
  const counts = new Map();
  const order = [...walk(tree, tree.roots)];
  for (let place = order.length - 1; place >= 0; place -= 1) {
    let count = 0;
    for (const child of tree.children.get(order[place]) ?? []) count += 1 + counts.get(child);
    counts.set(order[place], count);
  }
  return counts;
}

/** How many rows there are in each state, and on how many nodes: {nodes, ended, running, ...}. */
export function summaryOf(rows) {
  const counts = { ended: 0 };
  const nodes = new Set();
  for (const state of STATES) counts[state] = 0;
  for (const row of Object.values(rows)) {
    const state = stateOf(row);
    counts[state] = (counts[state] ?? 0) + 1;
    if (state !== "ended") nodes.add(row.node);
  }
  return { counts, nodes: nodes.size };
}

/** The time left until a deadline: {text, share of it that is left, isOver}. */
export function leftOf(row, now) {
  if (row.deadline === undefined) return { text: "no deadline", share: null, isOver: false };
  const left = row.deadline - now;
  if (left < 0) return { text: `over by ${short(-left)}`, share: 0, isOver: true };
  const whole = row.deadline - (row.begun ?? now);
  return { text: `${short(left)} left`, share: whole > 0 ? Math.min(1, left / whole) : 0, isOver: false };
}

/** A duration in one unit: 0.4 s, 12 s, 3 min, 5 h. */
export function short(seconds) {
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}

/**
 * The node's clock, from what its documents say of it: the later a document comes, the more it lags, so that the
 * greatest difference to the clock of the page is the best.
 */
export class Clock {
  #differences = [];
  #local;

  constructor(local = () => Date.now() / 1000) {
    this.#local = local;
  }

  /** Take a time that a document has; it is not more than the node's present time. */
  sample(time) {
    if (!Number.isFinite(time)) return;
    this.#differences.push(time - this.#local());
    if (this.#differences.length > 30) this.#differences.shift();
  }

  now() {
    return this.#local() + (this.#differences.length ? Math.max(...this.#differences) : 0);
  }
}
