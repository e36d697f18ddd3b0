// What came of a call: a value, an error, or the value and error maps of a group, with the time it took.

import { h, keyed, setAttr, setText } from "./dom.js";
import { count, ms, plural } from "./format.js";
import { stateBadge } from "./states.js";
import { brief, isError, isIndefinite, meaningOf, shown } from "./values.js";

const MOST_ROWS = 200;
const MOST_ITEMS = 500;
const SHORT = 3000;


/** The outcome of a call that has ended. Args: label(sid): a node's address. */
export function outcome({ answer, error, tookMs, label }) {
  const took = h("span", { class: "muted num" }, ms(tookMs));
  if (error) return h("div", { class: "outcome" }, h("div", { class: "outcome-head" }, kindBadge(error), took), errorBox(error));
  const isMap = answer.values !== undefined || answer.errors !== undefined;
  const head = h("div", { class: "outcome-head" }, isMap ? mapBadge(answer) : stateBadge("ok", "value"), took);
  const parts = [];
  if ("value" in answer) parts.push(valueBox(answer.value, isMap ? "All together" : null));
  if (isMap) parts.push(mapTable(answer.values ?? {}, answer.errors ?? {}, label));
  const others = Object.fromEntries(Object.entries(answer).filter(([name]) => !["value", "values", "errors"].includes(name)));
  if (Object.keys(others).length) parts.unshift(valueBox(others));
  return h("div", { class: "outcome" }, head, ...parts);
}

/** What stands for an error: whether the call may have happened all the same. */
export function kindBadge(error) {
  return stateBadge(isIndefinite(error) ? "suspect" : "failed", `${error.name}: ${meaningOf(error)}`);
}

function mapBadge({ values = {}, errors = {} }) {
  const good = Object.keys(values).length;
  const bad = Object.keys(errors).length;
  if (!bad) return stateBadge("ok", plural(good, "value"));
  return h("span", { class: "outcome-counts" }, stateBadge(good ? "ok" : "absent", plural(good, "value")), stateBadge("failed", plural(bad, "error")));
}

/** A value, the rest of a long one behind a button. */
export function valueBox(value, title) {
  const whole = shown(value);
  const text = h("pre", { class: "value-text", tabindex: "0" }, whole.length > SHORT ? `${whole.slice(0, SHORT)}…` : whole);
  const more = whole.length > SHORT ? h("button", { type: "button", class: "button quiet", onclick: () => (setText(text, whole), more.remove()) }, `Show all ${count(whole.length)} characters`) : null;
  return h("div", { class: "value-box" }, title ? h("h3", null, title) : null, text, more);
}

function errorBox(error) {
  const details = error.details ?? error;
  const where = details.node ? h("p", { class: "muted" }, `At ${details.node}`) : null;
  const calls = details.calls ? h("p", { class: "muted" }, brief(details.calls, 400)) : null;
  const trace = details.traceback ? h("details", { class: "trace" }, h("summary", null, "Traceback"), h("pre", { class: "value-text", tabindex: "0" }, details.traceback)) : null;
  return h("div", { class: "error-box", "data-kind": isIndefinite(error) ? "indefinite" : "definite" }, h("p", null, error.text ?? error.message), where, calls, trace);
}

/** The maps by node: errors first, those that may have happened before those that did not. */
export function mapTable(values, errors, label) {
  const rows = [
    ...Object.entries(errors).map(([sid, value]) => ({ sid, error: isError(value) ? value.$error : value })),
    ...Object.entries(values).map(([sid, value]) => ({ sid, value })),
  ];
  rows.sort((a, b) => rank(a) - rank(b) || (a.sid < b.sid ? -1 : 1));
  const body = h("tbody", null, ...rows.slice(0, MOST_ROWS).map((row) => mapRow(row, label)));
  const head = h("tr", null, ...["Node", "Outcome", "Value or error"].map((name) => h("th", { scope: "col" }, name)));
  const left = rows.length - MOST_ROWS;
  const more = left > 0 ? h("p", { class: "empty" }, `and ${plural(left, "node")} more`) : null;
  return h("div", { class: "table-wrap", tabindex: "0", role: "group", "aria-label": "Values and errors by node" }, h("table", { class: "data map-table" }, h("thead", null, head), body), more);
}

function rank(row) {
  return row.error ? (isIndefinite(row.error) ? 0 : 1) : 2;
}

function mapRow({ sid, value, error }, label) {
  const badge = error ? stateBadge(isIndefinite(error) ? "suspect" : "failed", meaningOf(error)) : stateBadge("ok", "value");
  const what = error ? h("div", null, h("strong", null, error.name ?? "Error"), ` ${error.text ?? ""}`, error.traceback ? h("details", { class: "trace" }, h("summary", null, "Traceback"), h("pre", { class: "value-text", tabindex: "0" }, error.traceback)) : null) : valueCell(value);
  return h("tr", { "data-sid": sid, "data-outcome": error ? (isIndefinite(error) ? "indefinite" : "definite") : "value" }, h("th", { scope: "row", class: "mono nowrap" }, label(sid)), h("td", { class: "nowrap" }, badge), h("td", null, what));
}

function valueCell(value) {
  const line = brief(value, 160);
  const whole = shown(value);
  if (line === whole) return h("code", null, line);
  return h("details", { class: "trace" }, h("summary", null, h("code", null, line)), h("pre", { class: "value-text", tabindex: "0" }, whole));
}

/** The outcome of a stream: its items as they come. */
export class ItemList {
  constructor(label) {
    this.label = label;
    this.items = [];
    this.total = 0;
    this.badge = stateBadge("running", "running");
    this.numbers = h("span", { class: "muted num" });
    this.list = h("ol", { class: "items", tabindex: "0", "aria-label": "Items" });
    this.end = h("div");
    this.element = h("div", { class: "outcome" }, h("div", { class: "outcome-head" }, this.badge, this.numbers), this.list, this.end);
  }

  add(item, tookMs, isOfGroup) {
    const [sid, value] = isOfGroup && Array.isArray(item) ? item : [null, item];
    this.items.push({ key: this.total, sid, value, tookMs });
    this.total += 1;
    if (this.items.length > MOST_ITEMS) this.items.shift();
    this.#wait(tookMs);
  }

  #wait(tookMs) {
    this.tookMs = tookMs;
    this.frame ??= requestAnimationFrame(() => this.#show());
  }

  #show() {
    this.frame = undefined;
    const isAtEnd = this.list.scrollTop + this.list.clientHeight >= this.list.scrollHeight - 8;
    keyed(this.list, this.items, (one) => one.key, (one) => this.#row(one));
    setText(this.numbers, `${plural(this.total, "item")}${this.total > MOST_ITEMS ? `, the last ${MOST_ITEMS} of them shown` : ""}, ${ms(this.tookMs)}`);
    if (isAtEnd) this.list.scrollTop = this.list.scrollHeight;
  }

  #row({ key, sid, value, tookMs }) {
    const what = isError(value) ? kindBadge(value.$error) : h("code", null, brief(value, 300));
    const error = isError(value) ? h("span", null, ` ${value.$error.text}`) : null;
    return h("li", null, h("span", { class: "muted num item-number" }, count(key + 1)), h("span", { class: "muted num item-time" }, ms(tookMs)), sid ? h("span", { class: "mono muted" }, this.label(sid)) : null, what, error);
  }

  finish(state, word, tookMs, error) {
    this.#wait(tookMs);
    const badge = stateBadge(state, word);
    this.badge.replaceWith(badge);
    this.badge = badge;
    if (error) this.end.append(errorBox(error));
    setAttr(this.element, "data-state", state);
  }
}
