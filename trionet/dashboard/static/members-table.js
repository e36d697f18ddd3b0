// Members as a table: sorted, by pages. What is measured is asked for the rows in sight alone.

import { h, keyed, setAttr, setText } from "./dom.js";
import { age, bytes, count, ms, rate, short } from "./format.js";
import { pageOf, sorted, tagTexts } from "./members.js";
import { setState, stateBadge } from "./states.js";

export const ALL_MEASURED = 60; // up to so many members, all are measured, and the table sorts by what is measured
const SIZES = [ALL_MEASURED, 120];
const IN_SIGHT = 64;

const COLUMNS = [
  { id: "status", title: "State" },
  { id: "address", title: "Address" },
  { id: "sid", title: "Node" },
  { id: "since", title: "For", num: true, text: (row, now) => age(now - row.since), hint: "How long it has been in this state" },
  { id: "incarnation", title: "Incarnation", num: true, text: (row) => String(row.incarnation ?? "–"), hint: "Incarnation: rises when it starts again, and with each suspicion that it refutes" },
  { id: "differ", title: "Views", num: true, text: (row) => (row.differ ? `${row.differ} differ` : "agreed"), hint: "How many members see it in another state" },
  { id: "rtt_ms", title: "Round trip", num: true, measured: true, text: (row) => ms(row.rtt_ms), hint: "From the node that serves this page" },
  { id: "lag_ms", title: "Lag", num: true, measured: true, text: (row) => ms(row.lag_ms), hint: "How late its event loop wakes" },
  { id: "health", title: "Health", num: true, measured: true, text: (row) => healthText(row), hint: "Local health: 0 is good; each point makes it slower to suspect others" },
  { id: "calls_per_s", title: "Calls/s", num: true, measured: true, text: (row) => rate(row.calls_per_s) },
  { id: "running", title: "Running", num: true, measured: true, text: (row) => count(row.running), hint: "Calls that it is handling now" },
  { id: "links", title: "Links", num: true, measured: true, text: (row) => count(row.links) },
  { id: "heap_used", title: "Heap", num: true, measured: true, text: (row) => bytes(row.heap_used) },
  { id: "version", title: "Version", text: (row) => row.version ?? "–" },
  { id: "tags", title: "Tags", fixed: true },
];

export function healthText(row) {
  return typeof row.health === "number" ? (row.health === 0 ? "0 good" : `${row.health} slow`) : "–";
}

export class MembersTable {
  /** Args: onSight(sids): the rows in sight have changed. onChange(): order or page have. placeOf(sid): the hash that chooses it. */
  constructor({ app, onSight, onChange, placeOf }) {
    Object.assign(this, { app, onSight, onChange, placeOf, column: "status", descending: false, index: 0, size: SIZES[0] });
    this.heads = new Map(COLUMNS.map((column) => [column.id, this.#head(column)]));
    this.body = h("tbody");
    this.caption = h("caption", { class: "sr-only" }, "Members of the cluster");
    const table = h("table", { class: "data members" }, this.caption, h("thead", null, h("tr", null, ...this.heads.values())), this.body);
    this.range = h("span", { class: "muted nowrap" });
    this.back = h("button", { type: "button", class: "button", onclick: () => this.#turn(-1) }, "Previous");
    this.on = h("button", { type: "button", class: "button", onclick: () => this.#turn(1) }, "Next");
    this.sizes = h("select", { class: "field", "aria-label": "Rows per page", onchange: (event) => this.#resize(Number(event.target.value)) }, ...SIZES.map((size) => h("option", { value: size }, `${count(size)} rows`)));
    this.pager = h("div", { class: "pager toolbar" }, this.range, h("span", { class: "grow" }), this.sizes, this.back, this.on);
    this.none = h("p", { class: "empty", hidden: true }, "No member fits the filter.");
    this.scroller = h("div", { class: "table-wrap", tabindex: 0, role: "region", "aria-label": "Members" }, table);
    this.element = h("div", { class: "card members-card" }, this.scroller, this.none, this.pager);
    this.inSight = new Set();
    this.observer = new IntersectionObserver((entries) => this.#sighted(entries), { rootMargin: "60px" });
  }

  end() {
    this.observer.disconnect();
  }

  #head(column) {
    const sort = column.fixed ? column.title : h("button", { type: "button", class: "sort", onclick: () => this.#sortBy(column) }, column.title);
    return h("th", { scope: "col", class: column.num ? "num" : null, title: column.hint }, sort);
  }

  #sortBy(column) {
    this.descending = this.column === column.id ? !this.descending : Boolean(column.num && column.id !== "since");
    this.column = column.id;
    this.index = 0;
    this.frozen = undefined;
    this.onChange();
  }

  #turn(step) {
    this.index += step;
    this.onChange();
    this.element.scrollIntoView({ block: "start" });
  }

  #resize(size) {
    this.size = size;
    this.index = 0;
    this.onChange();
  }

  show({ cluster, rows, total, picked }) {
    const measurable = total <= ALL_MEASURED;
    for (const column of COLUMNS) {
      const head = this.heads.get(column.id);
      setAttr(head, "aria-sort", this.column === column.id ? (this.descending ? "descending" : "ascending") : null);
      if (!column.measured) continue;
      head.firstChild.disabled = !measurable;
      setAttr(head, "title", measurable ? column.hint : `Measured for the rows in sight alone: no order by it above ${ALL_MEASURED} members`);
    }
    const page = pageOf(this.#ordered(rows), this.size, this.index);
    this.index = page.index;
    keyed(this.body, page.rows, (row) => row.sid, (row) => this.#makeRow(row), (element, row) => updateRow(element, row, { now: this.app.now(), self: row.sid === cluster.self, picked: row.sid === picked, place: this.placeOf(row.sid === picked ? undefined : row.sid) }));
    for (const sid of [...this.inSight]) if (!page.rows.some((row) => row.sid === sid)) this.inSight.delete(sid);
    this.none.hidden = rows.length > 0;
    this.pager.hidden = rows.length <= SIZES[0];
    setText(this.range, `${count(page.first)}–${count(page.last)} of ${count(rows.length)}${rows.length === total ? "" : `, of ${count(total)} members`}`);
    this.back.disabled = page.index === 0;
    this.on.disabled = page.index === page.pages - 1;
  }

  /** Rows that jump under the pointer are no use: while it is on them, what is measured doesn't move them. */
  #ordered(rows) {
    const busy = this.body.matches(":hover") || this.body.contains(document.activeElement);
    const measured = COLUMNS.find((column) => column.id === this.column)?.measured;
    if (!busy || !measured || !this.frozen) {
      const ordered = sorted(rows, this.column, this.descending);
      this.frozen = new Map(ordered.map((row, index) => [row.sid, index]));
      return ordered;
    }
    return [...rows].sort((one, other) => (this.frozen.get(one.sid) ?? rows.length) - (this.frozen.get(other.sid) ?? rows.length));
  }

  #makeRow(row) {
    const link = h("a", { class: "mono", href: this.app.hash("node", [row.sid]) }, short(row.sid));
    const cells = COLUMNS.map((column) => h(column.id === "address" ? "th" : "td", { class: [column.num ? "num" : "", column.id === "address" ? "mono" : ""].join(" ").trim() || null, scope: column.id === "address" ? "row" : null }));
    cells[0].append(stateBadge(row.status));
    cells[1].append(h("a", { class: "choose" }), h("span", { class: "here", hidden: true }, "here"));
    cells[2].append(link);
    const element = h("tr", { "data-sid": row.sid }, ...cells);
    this.observer.observe(element);
    return element;
  }

  #sighted(entries) {
    for (const entry of entries) {
      const { sid } = entry.target.dataset;
      if (entry.isIntersecting) this.inSight.add(sid);
      else {
        this.inSight.delete(sid);
        if (!entry.target.isConnected) this.observer.unobserve(entry.target);
      }
    }
    this.onSight([...this.inSight].slice(0, IN_SIGHT));
  }
}

function updateRow(element, row, { now, self, picked, place }) {
  const cells = element.cells;
  setState(cells[0].firstChild, row.status);
  setText(cells[1].firstChild, row.address);
  setAttr(cells[1].firstChild, "href", place);
  cells[1].lastChild.hidden = !self;
  setAttr(element, "data-state", row.status);
  setAttr(element, "data-differ", row.differ > 0 || null);
  setAttr(element, "aria-current", picked ? "true" : null);
  COLUMNS.forEach((column, index) => {
    if (!column.text) return;
    setText(cells[index], column.measured && row.error ? "?" : column.text(row, now));
    if (column.measured) setAttr(cells[index], "title", row.error ?? null);
    if (column.id === "health") setAttr(cells[index], "data-bad", row.health > 0 || null);
  });
  keyed(cells[COLUMNS.length - 1], tagTexts(row.tags).slice(0, 8), (text) => text, (text) => h("span", { class: "tag", title: text }, text));
}
