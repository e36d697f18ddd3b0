// What is known of the selected call, in sentences, and what can be done with it.

import { below, idOf, leftOf, meaningOf, nameOf, short, stateOf, wordOf, glyphOf } from "./call-tree.js";
import { h, keyed, setAttr, setText } from "./dom.js";
import { clock as timeOfDay, count, plural } from "./format.js";
import { setState, stateBadge } from "./states.js";

const HOW = "Each line is a call; below it are the calls that its handler makes, on whatever node. The end of a call ends all below it. Bars run down to the deadline.";

export class CallDetails {
  constructor(app, { clock, onCancel, onFilter, onClose, labelOf }) {
    Object.assign(this, { app, clock, onCancel, onFilter, onClose, labelOf });
    this.name = h("h2", { class: "mono" });
    this.state = stateBadge("running");
    this.meaning = h("p");
    this.pairs = h("dl", { class: "pairs call-pairs" });
    this.waits = h("ul", { class: "call-waits mono" });
    this.cancel = h("button", { type: "button", class: "button danger", "aria-keyshortcuts": "x", onclick: () => this.onCancel(this.key) });
    this.why = h("p", { class: "muted" });
    this.only = h("button", { type: "button", class: "button", onclick: () => this.onFilter(nameOf(this.row)) }, "Show only this method");
    this.onlyNode = h("button", { type: "button", class: "button", onclick: () => this.onFilter(this.labelOf(this.row.node)) }, "Show only this node");
    const close = h("button", { type: "button", class: "button quiet icon", "aria-label": "Close the details", onclick: () => this.onClose() }, "×");
    this.shown = h("div", { class: "call-shown" }, h("div", { class: "card-head" }, this.name, h("span", { class: "grow" }), close), h("div", { class: "card-body stack" }, this.state, this.meaning, this.pairs, this.waits, h("div", { class: "toolbar" }, this.cancel, this.only, this.onlyNode), this.why));
    this.none = h("div", { class: "card-body stack" }, h("p", { class: "muted" }, HOW), h("p", { class: "muted" }, "Keys: ↑ ↓ select, ← → fold and unfold, Enter details, p hold, x cancel, / filter."));
    this.root = h("aside", { class: "card call-details", "aria-label": "The selected call", tabindex: "-1" }, this.shown, this.none);
    this.shown.hidden = true;
  }

  show(key, tree) {
    this.key = key;
    this.row = key === null ? null : tree.rows[key];
    this.shown.hidden = !this.row;
    this.none.hidden = Boolean(this.row);
    if (!this.row) return;
    const { row } = this;
    setText(this.name, nameOf(row));
    setState(this.state, glyphOf(row), wordOf(row));
    setText(this.meaning, meaningOf(row));
    const inner = below(tree, key).filter((one) => !tree.rows[one].ended).length - 1;
    setText(this.cancel, inner > 0 ? `Cancel with the ${count(inner)} below` : "Cancel this call");
    const reason = this.app.reason("admin");
    this.cancel.disabled = Boolean(row.ended) || Boolean(reason);
    setText(this.why, row.ended ? "" : reason ? `${reason}.` : "");
    this.why.hidden = !this.why.textContent;
    this.#pairs(tree, inner);
    this.waits.hidden = !row.waits?.length;
    keyed(this.waits, row.waits ?? [], (text) => text, (text) => h("li", null, text));
    this.tick();
  }

  #pairs(tree, inner) {
    const { row, key } = this;
    const pairs = [
      ["Node", h("a", { href: this.app.hash("node", [row.node]), class: "mono" }, this.labelOf(row.node))],
      ["Id", h("span", { class: "mono" }, idOf(key))],
      ["Made", this.#origin(tree)],
      ["Began", row.begun === undefined ? "not yet" : timeOfDay(row.begun)],
      ["Runs for", h("span", { "data-live": "age" })],
      ["Deadline", h("span", { "data-live": "left" })],
      ["Whose", row.deadline === undefined ? null : this.#whose(tree)],
      ["For", row.by ?? null],
      ["Below it", inner > 0 ? plural(inner, "call") : "none"],
    ].filter(([, value]) => value !== null);
    const wanted = JSON.stringify(pairs.map(([name, value]) => [name, value.textContent ?? value]));
    if (wanted === this.drawn) return;
    this.drawn = wanted;
    this.pairs.replaceChildren(...pairs.flatMap(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
  }

  #origin(tree) {
    const { row } = this;
    const parent = row.parent === undefined ? undefined : tree.rows[row.parent];
    if (parent) return `in ${nameOf(parent)} at ${this.labelOf(parent.node)}`;
    const who = row.caller ? this.labelOf(row.caller) : "a client that is no node";
    if (row.root === "ended") return `by ${who}, in the call ${row.within}, which has ended`;
    if (row.root === "unknown") return `by ${who}, in the call ${row.within}, of which there is no report`;
    return `by ${who}, outside of any call`;
  }

  #whose(tree) {
    let key = this.key;
    for (let up = 0; up < (this.row.of ?? 0); up += 1) key = tree.rows[key]?.parent;
    const row = key === undefined ? undefined : tree.rows[key];
    return key === this.key || !row ? "set by its caller" : `that of ${nameOf(row)}, ${plural(this.row.of, "level")} above`;
  }

  tick() {
    if (!this.row) return;
    const now = this.clock.now();
    const { row } = this;
    const set = (name, text) => {
      const element = this.pairs.querySelector(`[data-live=${name}]`);
      if (element) setText(element, text);
    };
    const isPast = stateOf(row) === "ended";
    set("age", isPast ? "ended" : row.begun === undefined ? "–" : short(now - row.begun));
    set("left", row.deadline === undefined ? "none" : `${timeOfDay(row.deadline)}${isPast ? "" : `, ${leftOf(row, now).text}`}`);
  }

  focus() {
    if (this.row) this.root.focus();
    setAttr(this.root, "data-open", "");
  }
}
