// Rates, latencies and errors by method, over the cluster or at one node.

import { h, keyed, setAttr, setText, svg } from "./dom.js";
import { count, cut, ms, plural, rate } from "./format.js";
import { COLUMNS, Histories, errorsText, nameOf, pathOf, rowsOf, sorted } from "./method-table.js";

const TICK_MS = 1000;
const MOST_SHOWN = 200;
const MOST_ERRORS = 5;
const [WIDTH, HEIGHT] = [96, 22];
const SIDES = [
  ["served", "Served"],
  ["made", "Made"],
];

const histories = new Histories(); // as long as the page is open, over all visits of the panel

class Panel {
  constructor(root, app, route) {
    this.app = app;
    this.side = "served";
    this.order = { by: "per_s", descending: true };
    this.#build(root);
    this.update(route);
    this.end = app.store.on("methods", (methods) => this.#take(methods));
    this.timer = setInterval(() => this.#tick(), TICK_MS);
  }

  #build(root) {
    this.title = h("h1", null, "Methods");
    this.filter = h("input", { class: "field", type: "search", placeholder: "Filter by name", "aria-label": "Filter methods by name", oninput: () => this.draw() });
    this.node = h("select", { class: "field", "aria-label": "Node", onchange: () => this.#go() });
    this.sides = h("div", { class: "segmented", role: "group", "aria-label": "Side" }, ...SIDES.map(([side, text]) => h("button", { type: "button", class: "button", "data-side": side, onclick: () => this.#showSide(side) }, text)));
    this.notices = h("div", { class: "method-notices" });
    this.empty = h("p", { class: "empty" });
    this.heads = new Map(COLUMNS.map((column) => [column.id, h("th", { scope: "col", class: column.isText ? null : "num" }, h("button", { type: "button", class: "sort", onclick: () => this.#sortBy(column) }, column.title))]));
    const plain = (text) => h("th", { scope: "col" }, text);
    const { heads } = this;
    this.body = h("tbody");
    this.table = h(
      "table",
      { class: "data method-table" },
      h("thead", null, h("tr", null, heads.get("name"), heads.get("per_s"), plain("Last 2 min"), heads.get("p50"), heads.get("p99"), plain("p99, last 2 min"), heads.get("errors"), plain("Errors by outcome"), heads.get("total"))),
      this.body,
    );
    root.append(
      h("div", { class: "panel-head" }, this.title, h("span", { class: "grow" }), h("div", { class: "toolbar" }, this.filter, this.sides, this.node)),
      this.notices,
      h("div", { class: "card table-wrap", tabindex: "0", role: "region", "aria-label": "Methods" }, this.table, this.empty),
      h("p", { class: "muted method-note" }, "Rates are those of the last 5 seconds. Half of the calls took no longer than p50, 99 of 100 no longer than p99. What the dashboard itself asks is left out."),
    );
  }

  update(route) {
    this.sid = route?.query?.node ?? "";
    this.draw();
  }

  #go() {
    this.app.go(this.app.hash("methods", [], { node: this.node.value }));
  }

  #showSide(side) {
    this.side = side;
    this.draw();
  }

  #sortBy(column) {
    const isSame = this.order.by === column.id;
    this.order = { by: column.id, descending: isSame ? !this.order.descending : !column.isText };
    this.draw();
  }

  #take(methods) {
    this.document = methods;
    this.#noteHistory();
    this.draw();
  }

  #tick() {
    this.#noteHistory();
    this.draw();
  }

  get methods() {
    if (!this.sid) return this.document?.methods ?? {};
    return this.document?.node?.sid === this.sid ? this.document.node.methods : {};
  }

  #noteHistory() {
    const now = this.app.now();
    if (!this.document?.has_rates || document.body.classList.contains("stale") || now - (this.notedAt ?? 0) < 0.8) return;
    this.notedAt = now;
    for (const [side] of SIDES) for (const row of rowsOf(this.methods, side)) histories.add(`${this.sid} ${side} ${row.name}`, now, { per_s: row.per_s, p99_ms: row.p99_ms });
    histories.trim(now);
  }

  draw() {
    for (const button of this.sides.children) setAttr(button, "aria-pressed", String(button.dataset.side === this.side));
    for (const [id, head] of this.heads) setAttr(head, "aria-sort", id === this.order.by ? (this.order.descending ? "descending" : "ascending") : null);
    const all = rowsOf(this.methods, this.side, this.document?.has_rates);
    const rows = sorted(all, this.order, this.filter.value);
    const shown = rows.slice(0, MOST_SHOWN);
    const now = this.app.now();
    keyed(this.body, shown, (row) => row.name, makeRow, (element, row) => this.#updateRow(element, row, now));
    this.table.hidden = !shown.length;
    this.empty.hidden = shown.length > 0;
    setText(this.empty, !this.document ? "Waiting for the first figures …" : this.sid && this.document.node?.sid !== this.sid ? "Waiting for the figures of this node …" : all.length ? "No method has such a name." : `No calls were ${this.side} yet.`);
    setText(this.title, `${plural(all.length, "method")} ${this.side}`);
    this.#drawNotices(rows.length);
    this.#drawNodes();
  }

  #updateRow(element, row, now) {
    const [name, perSecond, rates, p50, p99, latencies, errors, outcomes, total] = element.cells;
    const history = histories.of(`${this.sid} ${this.side} ${row.name}`);
    setText(name, nameOf(row));
    setText(perSecond, rate(row.per_s));
    setAttr(rates.firstChild.firstChild, "d", pathOf(history, "per_s", now, WIDTH, HEIGHT));
    setText(p50, ms(row.p50_ms));
    setText(p99, ms(row.p99_ms));
    setAttr(latencies.firstChild.firstChild, "d", pathOf(history, "p99_ms", now, WIDTH, HEIGHT));
    setText(errors, rate(row.errors_per_s));
    errors.classList.toggle("method-bad", row.errors_per_s > 0);
    setText(outcomes, errorsText(row.errors, rate));
    setText(total, count(row.total));
  }

  #drawNotices(matching) {
    const errors = Object.entries(this.document?.errors ?? {});
    const lines = errors.slice(0, MOST_ERRORS).map(([sid, text]) => `No figures of ${this.app.label(sid)}: ${cut(text, 160)}`);
    if (errors.length > MOST_ERRORS) lines.push(`No figures of ${plural(errors.length - MOST_ERRORS, "more node")}.`);
    if (matching > MOST_SHOWN) lines.push(`The first ${MOST_SHOWN} of ${count(matching)} methods are shown: filter to see others.`);
    keyed(this.notices, lines, (line) => line, (line) => h("p", { class: "notice", "data-kind": line.startsWith("No figures") ? "warning" : null }, line));
  }

  #drawNodes() {
    const nodes = Object.entries(this.document?.nodes ?? {}).sort(([, a], [, b]) => (a < b ? -1 : 1));
    const wanted = [["", "All nodes"], ...nodes];
    if (this.sid && !wanted.some(([sid]) => sid === this.sid)) wanted.push([this.sid, this.app.label(this.sid)]);
    keyed(this.node, wanted, ([sid]) => sid, ([sid]) => makeOption(sid), (option, [, address]) => setText(option, address));
    if (this.node.value !== this.sid) this.node.value = this.sid;
  }

  unmount() {
    clearInterval(this.timer);
    this.end();
  }
}

function makeOption(value) {
  const option = h("option");
  option.setAttribute("value", value); // as a property, an empty one would not be set, and its text would be the value
  return option;
}

function makeRow() {
  const line = (kind) => h("td", null, svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, class: `method-line method-line-${kind}`, "aria-hidden": "true" }, svg("path", { d: "" })));
  const number = () => h("td", { class: "num" });
  return h("tr", null, h("th", { scope: "row", class: "mono method-name" }), number(), line("rate"), number(), number(), line("latency"), number(), h("td", { class: "muted method-outcomes" }), number());
}

function mount(root, app, route) {
  const panel = new Panel(root, app, route);
  return { update: (state) => panel.update(state), unmount: () => panel.unmount() };
}

function topics(state) {
  const node = state.query.node;
  return node ? { topics: ["methods"], node } : { topics: ["methods"] };
}

export default { id: "methods", title: "Methods", topics, mount };
