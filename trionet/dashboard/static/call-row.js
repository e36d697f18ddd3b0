// One row of the tree of calls. Times run by the page's clock; all else changes with the document.

import { glyphOf, leftOf, nameOf, short, stateOf, wordOf } from "./call-tree.js";
import { h, setAttr, setStyle, setText } from "./dom.js";
import { count } from "./format.js";
import { setState, stateBadge } from "./states.js";

const DEEPEST = 24; // deeper rows are drawn at this level
const QUICK_MS = 8000; // a shorter time left is animated by the browser, a longer one moves with the ticks
let number = 0;

export class CallRow {
  #parts = new WeakMap();

  constructor({ clock, labelOf, onSelect, onFold }) {
    Object.assign(this, { clock, labelOf, onSelect, onFold });
  }

  badge(row) {
    return setState(stateBadge("running"), glyphOf(row), wordOf(row));
  }

  /** Make the element of a row, which may become that of other rows later. */
  make() {
    number += 1;
    const parts = {
      indent: h("span", { class: "call-indent", "aria-hidden": "true" }),
      fold: h("span", { class: "call-fold", "aria-hidden": "true", onclick: (event) => this.#fold(event) }),
      name: h("span", { class: "call-name mono" }),
      inner: h("span", { class: "call-inner muted" }),
      state: this.badge({}),
      node: h("span", { class: "mono" }),
      bar: h("span", { class: "call-bar", "aria-hidden": "true" }),
      left: h("span", { class: "call-left" }),
      age: h("span"),
      waits: h("span", { class: "muted" }),
    };
    parts.fill = h("span", { class: "call-fill" });
    parts.bar.append(parts.fill);
    const cell = (place, ...children) => h("div", { role: "gridcell", class: `call-cell call-cell-${place}` }, ...children);
    const element = h(
      "div",
      { role: "row", class: "call-row", id: `call-${number}`, onclick: () => this.onSelect(element.dataset.key), ondblclick: () => this.onFold(element.dataset.key) },
      cell(0, parts.indent, parts.fold, parts.name, parts.inner),
      cell(1, parts.state),
      cell(2, parts.node),
      cell(3, parts.bar, parts.left),
      cell(4, parts.age),
      cell(5, parts.waits),
    );
    this.#parts.set(element, parts);
    return element;
  }

  #fold(event) {
    event.stopPropagation();
    this.onFold(event.target.closest("[role=row]").dataset.key);
  }

  update(element, item, place, isSelected) {
    const parts = this.#parts.get(element);
    const { row } = item;
    parts.row = row;
    setAttr(element, "data-key", item.key);
    setAttr(element, "aria-level", item.level + 1);
    setAttr(element, "aria-posinset", item.position);
    setAttr(element, "aria-setsize", item.size);
    setAttr(element, "aria-rowindex", place + 2);
    setAttr(element, "aria-expanded", item.inner ? String(!item.folded) : null);
    setAttr(element, "aria-selected", String(isSelected));
    setAttr(element, "data-state", stateOf(row));
    element.classList.toggle("is-context", item.context);
    element.classList.toggle("is-silent", Boolean(row.silent));
    setStyle(parts.indent, "--level", Math.min(item.level, DEEPEST));
    setText(parts.fold, item.inner ? (item.folded ? "▸" : "▾") : "");
    setText(parts.name, nameOf(row));
    setText(parts.inner, item.folded ? `+${count(item.inner)}` : "");
    setState(parts.state, glyphOf(row), row.silent && !row.ended ? `${wordOf(row)}, no report` : wordOf(row));
    setText(parts.node, this.labelOf(row.node));
    setText(parts.waits, (row.waits ?? []).join(", "));
    setAttr(parts.waits, "title", row.waits?.length ? row.waits.join("\n") : null);
    this.#animate(parts, row);
    this.tick(element);
  }

  /** Bring the times of a row up to date. */
  tick(element) {
    const parts = this.#parts.get(element);
    const { row } = parts;
    if (row.ended) {
      setText(parts.left, "ended");
      return;
    }
    const now = this.clock.now();
    const left = leftOf(row, now);
    setText(parts.left, left.text);
    parts.left.classList.toggle("muted", row.deadline === undefined);
    parts.left.classList.toggle("is-over", left.isOver);
    setAttr(parts.bar, "data-soon", left.share !== null && left.share < 0.2 ? "" : null);
    if (!parts.animation && left.share !== null) setStyle(parts.fill, "transform", `scaleX(${left.share.toFixed(3)})`);
    setText(parts.age, row.begun === undefined ? "" : short(now - row.begun));
  }

  /** Let the bar of a short time left run down by itself: the browser moves it, not the page. */
  #animate(parts, row) {
    const isOn = row.deadline !== undefined && row.begun !== undefined && !row.ended;
    parts.bar.hidden = !isOn;
    const wanted = isOn ? `${row.begun} ${row.deadline}` : "";
    if (parts.animated === wanted) return;
    parts.animated = wanted;
    parts.animation?.cancel();
    parts.animation = null;
    const whole = (row.deadline - row.begun) * 1000;
    if (!isOn || !(whole > 0 && whole < QUICK_MS) || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    parts.animation = parts.fill.animate([{ transform: "scaleX(1)" }, { transform: "scaleX(0)" }], { duration: whole, fill: "both" });
    parts.animation.currentTime = Math.min(whole, Math.max(0, (this.clock.now() - row.begun) * 1000));
  }
}
