// What the page makes of one node's document: settings, tasks in the order of their tree, log lines, rates. Pure.

import { cut } from "./format.js";

const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
const DEPTH = 40;

/** A value of a setting as one line. */
export function valueText(value, length = 200) {
  if (value === undefined || value === null) return "none";
  return cut(typeof value === "string" ? value : JSON.stringify(value), length);
}

/** The settings by name: [{name, text, usual, changed}]; `changed` where the value is not the default. */
export function settingsOf(config) {
  return Object.entries(config ?? {})
    .map(([name, { value, default: usual } = {}]) => ({ name, text: valueText(value), usual: valueText(usual), changed: !same(value, usual) }))
    .sort((one, other) => (one.name < other.name ? -1 : 1));
}

/** Whether two values are equal; nothing, and an empty text, list or object, are the same. */
function same(value, usual) {
  const texts = [value, usual].map((one) => JSON.stringify(one ?? null)).map((text) => (text === "[]" || text === "{}" || text === '""' ? "null" : text));
  return texts[0] === texts[1];
}

/** Tasks with each parent before its children: [{id, name, at, depth}]. A task without a known parent is a root. */
export function tasksOf(tasks) {
  const children = new Map();
  for (const [id, task] of Object.entries(tasks ?? {})) {
    const parent = task.parent !== undefined && Object.hasOwn(tasks, task.parent) && task.parent !== id ? task.parent : "";
    children.set(parent, [...(children.get(parent) ?? []), id]);
  }
  const ordered = [];
  const visit = (id, depth) => {
    ordered.push({ id, ...tasks[id], depth });
    if (depth < DEPTH) for (const child of children.get(id) ?? []) visit(child, depth + 1);
  };
  for (const id of children.get("") ?? []) visit(id, 0);
  return ordered;
}

/** Log records in order, those of a level and above, with all words: [{number, time, level, logger, text}]. */
export function linesOfLog(log, least = "DEBUG", words = []) {
  return Object.entries(log ?? {})
    .map(([number, record]) => ({ number, ...record }))
    .filter((record) => rank(record.level) >= rank(least) && words.every((word) => `${record.logger} ${record.text}`.toLowerCase().includes(word)))
    .sort((one, other) => Number(one.number) - Number(other.number));
}

function rank(level) {
  return Math.max(0, LEVELS.indexOf(level));
}

/** The state that stands for a level of the log. */
export function stateOfLevel(level) {
  if (level === "ERROR" || level === "CRITICAL") return "error";
  return level === "WARNING" ? "warning" : "left";
}

/** How fast counters grow: remembers the last figures, and gives the growth per second for those that only grow. */
export class Growth {
  #before = null;

  of(figures, now) {
    const before = this.#before;
    if (!before || now - before.now >= 0.8) this.#before = { figures: { ...figures }, now, rates: before ? ratesOf(before, figures, now) : {} };
    return this.#before.rates;
  }
}

function ratesOf(before, figures, now) {
  const rates = {};
  for (const [name, value] of Object.entries(figures)) {
    const earlier = before.figures[name];
    if (typeof value === "number" && value > earlier) rates[name] = (value - earlier) / (now - before.now);
  }
  return rates;
}
