// The running calls of the cluster, as a tree that lives.

import { askToCancel, answerNotice } from "./call-cancel.js";
import { CallDetails } from "./call-details.js";
import { CallRow } from "./call-row.js";
import { Clock, STATES, below, matcher, summaryOf, treeOf, visibleRows } from "./call-tree.js";
import { h, keyed, setAttr, setText } from "./dom.js";
import { count, cut, plural } from "./format.js";
import { VirtualRows } from "./virtual-rows.js";

const TICK_MS = 200;
const MOST_ERRORS = 5;
const MOST_CUT = 3;
const ORDERS = [
  ["oldest", "Oldest first"],
  ["newest", "Newest first"],
  ["deadline", "Deadline soonest"],
];

class Panel {
  constructor(root, app, route) {
    this.app = app;
    this.clock = new Clock();
    this.folded = new Set();
    this.states = new Set();
    this.selected = null;
    this.isHeld = false;
    this.document = { calls: {}, nodes: {}, errors: {}, cut: {} };
    this.#build(root);
    this.update(route);
    this.ends = [app.store.on("cluster", ({ now }) => this.clock.sample(Number.isInteger(now) ? now - 0.5 : now)), app.store.on("calls", (calls) => this.#take(calls))];
    this.timer = setInterval(() => this.#tick(), TICK_MS);
  }

  // ---- what is drawn

  #build(root) {
    this.title = h("h1", null, "Running calls");
    this.filter = h("input", { class: "field call-filter", type: "search", placeholder: "Filter: method, node, id, state", "aria-label": "Filter calls by method, node, id or state", oninput: () => this.#filterChanged() });
    this.order = h("select", { class: "field", "aria-label": "Order", onchange: () => this.draw() }, ...ORDERS.map(([value, text]) => h("option", { value }, text)));
    this.hold = h("button", { type: "button", class: "button", "aria-pressed": "false", title: "Keep what is shown as it is (p)", onclick: () => this.#toggleHold() }, "Hold");
    this.chips = h("div", { class: "call-chips", role: "group", "aria-label": "States" });
    this.notices = h("div", { class: "call-notices" });
    this.answers = h("div", { class: "call-notices" });
    this.empty = h("p", { class: "empty call-empty" });
    this.body = h("div", { role: "rowgroup", class: "call-rows" });
    const names = ["Call", "State", "Node", "Deadline", "Age", "Waits for"];
    this.grid = h(
      "div",
      { role: "treegrid", class: "call-grid", tabindex: "0", "aria-label": "Running calls", onkeydown: (event) => this.#pressed(event), onfocus: () => this.#selectFirst() },
      (this.head = h("div", { role: "rowgroup", class: "call-head" }, h("div", { role: "row", class: "call-row" }, ...names.map((name, place) => h("div", { role: "columnheader", class: `call-cell call-cell-${place}` }, name))))),
      this.body,
    );
    this.details = new CallDetails(this.app, { clock: this.clock, onCancel: (key) => this.cancel(key), onFilter: (text) => this.#filterBy(text), onClose: () => this.#select(null), labelOf: (sid) => this.labelOf(sid) });
    const fold = (text, act) => h("button", { type: "button", class: "button quiet", onclick: act }, text);
    root.append(
      h("div", { class: "panel-head" }, this.title, h("span", { class: "grow" }), h("div", { class: "toolbar" }, this.filter, this.order, fold("Fold all", () => this.#foldAll()), fold("Unfold all", () => this.#unfoldAll()), this.hold)),
      this.chips,
      this.notices,
      this.answers,
      h("div", { class: "call-split" }, h("div", { class: "card call-card" }, this.grid, this.empty), this.details.root),
    );
    this.row = new CallRow({ clock: this.clock, labelOf: (sid) => this.labelOf(sid), onSelect: (key) => this.#select(key), onFold: (key) => this.#toggle(key) });
    this.list = new VirtualRows({
      scroller: this.grid,
      body: this.body,
      measure: () => ({ rowHeight: rowHeight(this.grid), headHeight: this.head.offsetHeight }),
      keyOf: (item) => item.key,
      make: () => this.row.make(),
      update: (element, item, place) => this.row.update(element, item, place, item.key === this.selected),
    });
  }

  update(route) {
    const text = route?.query?.q ?? "";
    if (this.filter.value !== text) this.filter.value = text;
    this.draw();
  }

  labelOf(sid) {
    return this.document.nodes?.[sid] ?? this.app.label(sid);
  }

  #take(calls) {
    if (Number.isFinite(calls.now)) this.clock.sample(calls.now);
    this.came = calls;
    if (this.isHeld) return;
    this.document = calls;
    this.draw();
  }

  draw() {
    if (!this.list) return;
    const { calls } = this.document;
    this.tree = treeOf(calls, this.order.value);
    const matches = matcher(this.filter.value, this.states, (sid) => this.labelOf(sid));
    const rows = visibleRows(this.tree, this.folded, matches);
    if (this.selected !== null && !Object.hasOwn(calls, this.selected)) this.#lost();
    this.list.keep = this.selected;
    setAttr(this.grid, "aria-rowcount", rows.length + 1);
    this.list.show(rows);
    this.#point();
    this.#drawHead(rows.filter((one) => !one.context).length, Boolean(matches));
    this.details.show(this.selected, this.tree);
  }

  #drawHead(shown, isFiltered) {
    const { calls, errors = {}, cut: cuts = {}, total = 0, unseen = 0, turn_s: turn = 1 } = this.document;
    const { counts, nodes } = summaryOf(calls);
    setText(this.title, `${plural(total, "running call")}${nodes ? ` on ${plural(nodes, "node")}` : ""}`);
    keyed(this.chips, STATES.filter((state) => counts[state] || this.states.has(state)), (state) => state, (state) => this.#makeChip(state), (chip, state) => {
      setText(chip.lastChild, count(counts[state]));
      setAttr(chip, "aria-pressed", String(this.states.has(state)));
    });
    const lines = [];
    const missing = Object.entries(errors);
    for (const [sid, text] of missing.slice(0, MOST_ERRORS)) lines.push(`No report of ${this.labelOf(sid)}: ${cut(text, 160)}`);
    if (missing.length > MOST_ERRORS) lines.push(`No report of ${plural(missing.length - MOST_ERRORS, "more node")}.`);
    const cutOnes = Object.entries(cuts);
    if (cutOnes.length > MOST_CUT) lines.push(`The reports of ${plural(cutOnes.length, "node")} are cut: ${plural(cutOnes.reduce((sum, [, omitted]) => sum + omitted, 0), "more call")} there.`);
    else for (const [sid, omitted] of cutOnes) lines.push(`The report of ${this.labelOf(sid)} is cut: ${plural(omitted, "more call")} there.`);
    if (unseen) lines.push(`${plural(unseen, "call")} more than are shown: the oldest come first, and short ones may never be.`);
    if (turn > 1) lines.push(`A large cluster: each node is asked in turn, about every ${plural(turn, "second")}; those with calls more often.`);
    if (this.isHeld) lines.push("Held: what you see stays as it is, and the cluster goes on.");
    keyed(this.notices, lines, (line) => line, (line) => h("p", { class: "notice", "data-kind": line.startsWith("No report") ? "warning" : null }, line));
    this.empty.hidden = shown > 0;
    this.grid.classList.toggle("is-empty", shown === 0);
    setText(this.empty, isFiltered ? "No running call matches the filter." : this.came ? "No call is running. A call is here while its handler waits; a plain function never does." : "Waiting for the first reports …");
  }

  #makeChip(state) {
    const press = () => {
      if (this.states.has(state)) this.states.delete(state);
      else this.states.add(state);
      this.draw();
    };
    return h("button", { type: "button", class: "button call-chip", "aria-pressed": "false", onclick: press }, this.row.badge({ state: state === "running" ? undefined : state }), h("span", { class: "call-chip-count" }));
  }

  #tick() {
    for (const element of this.body.children) this.row.tick(element);
    this.details.tick();
  }

  // ---- selection and folding

  #select(key) {
    this.selected = key;
    this.list.keep = key;
    this.list.draw();
    if (key !== null) this.list.reveal(key);
    this.#point();
    this.details.show(key, this.tree);
  }

  #point() {
    const element = this.selected === null ? null : this.list.elementOf(this.selected);
    setAttr(this.grid, "aria-activedescendant", element?.id ?? null);
  }

  #lost() {
    const before = this.list.items.findIndex((one) => one.key === this.selected);
    const next = this.list.items.slice(before + 1).concat(this.list.items.slice(0, Math.max(0, before)).reverse()).find((one) => Object.hasOwn(this.document.calls, one.key));
    this.selected = this.grid.contains(document.activeElement) && next ? next.key : null;
  }

  #selectFirst() {
    if (this.selected === null && this.list.items.length) this.#select(this.list.items[0].key);
  }

  #toggle(key, fold = !this.folded.has(key)) {
    if (!this.tree.children.has(key)) return;
    if (fold) this.folded.add(key);
    else this.folded.delete(key);
    this.draw();
  }

  #foldAll() {
    this.folded = new Set(this.tree.children.keys());
    this.draw();
  }

  #unfoldAll() {
    this.folded.clear();
    this.draw();
  }

  #toggleHold() {
    this.isHeld = !this.isHeld;
    setAttr(this.hold, "aria-pressed", String(this.isHeld));
    if (this.isHeld) this.document = structuredClone(this.document);
    else if (this.came) this.document = this.came;
    this.draw();
  }

  #filterChanged() {
    this.draw();
    history.replaceState(null, "", this.app.hash("calls", [], { q: this.filter.value }));
  }

  #filterBy(text) {
    this.filter.value = text;
    this.#filterChanged();
  }

  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const items = this.list.items;
    const place = this.list.placeOf(this.selected);
    const go = (to) => items.length && this.#select(items[Math.max(0, Math.min(items.length - 1, to))].key);
    const acts = {
      ArrowDown: () => go(place + 1),
      ArrowUp: () => go(Math.max(0, place - 1)),
      PageDown: () => go(place + this.list.pageSize),
      PageUp: () => go(Math.max(0, place - this.list.pageSize)),
      Home: () => go(0),
      End: () => go(items.length - 1),
      ArrowRight: () => this.#inward(place),
      ArrowLeft: () => this.#outward(place),
      Enter: () => this.details.focus(),
      " ": () => this.selected !== null && this.#toggle(this.selected),
      "*": () => this.#unfoldAll(),
      p: () => this.#toggleHold(),
      x: () => this.cancel(this.selected),
      Delete: () => this.cancel(this.selected),
      Escape: () => this.#select(null),
    };
    const act = Object.hasOwn(acts, event.key) ? acts[event.key] : null;
    if (!act) return;
    event.preventDefault();
    act();
  }

  #inward(place) {
    const item = this.list.items[place];
    if (!item) return;
    if (item.folded) this.#toggle(item.key, false);
    else if (this.list.items[place + 1]?.level > item.level) this.#select(this.list.items[place + 1].key);
  }

  #outward(place) {
    const item = this.list.items[place];
    if (!item) return;
    if (!item.folded && this.list.items[place + 1]?.level > item.level) this.#toggle(item.key, true);
    else for (let above = place - 1; above >= 0; above -= 1) if (this.list.items[above].level < item.level) return this.#select(this.list.items[above].key);
  }

  // ---- cancelling

  async cancel(key) {
    const row = key === null ? null : this.document.calls[key];
    if (!row || row.ended) return;
    if (!this.app.can("admin")) {
      this.app.say(`${this.app.reason("admin")}.`);
      return;
    }
    const keys = below(this.tree, key).filter((one) => !this.tree.rows[one].ended);
    const answer = await askToCancel(this.app, { key, keys, rows: this.document.calls, labelOf: (sid) => this.labelOf(sid), onSure: (text) => this.answers.replaceChildren(h("p", { class: "notice" }, text)) });
    if (answer === null) return;
    const notice = answerNotice(answer, (sid) => this.labelOf(sid), () => notice.remove());
    this.answers.replaceChildren(notice);
    this.app.say(notice.dataset.said);
    this.grid.focus();
  }

  unmount() {
    clearInterval(this.timer);
    for (const end of this.ends) end();
    this.list.close();
  }
}

function rowHeight(element) {
  return parseFloat(getComputedStyle(element).getPropertyValue("--call-row")) || 30;
}

function mount(root, app, route) {
  const panel = new Panel(root, app, route);
  return { update: (state) => panel.update(state), unmount: () => panel.unmount() };
}

export default { id: "calls", title: "Calls", topics: () => ["calls"], mount };
