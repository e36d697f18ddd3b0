// A long list of rows of one height, of which only those in sight are elements.

import { setStyle } from "./dom.js";

const AROUND = 8; // so many rows more above and below, for a fast scroll

/** The places of the rows to make: {first, last}, last not included. */
export function rangeOf({ top, height, rowHeight, count, around = AROUND }) {
  const first = Math.max(0, Math.min(count, Math.floor(top / rowHeight) - around));
  const last = Math.min(count, Math.ceil((top + height) / rowHeight) + around);
  return { first, last: Math.max(first, last) };
}

/** Where to scroll so that a row is in sight; null if it is. */
export function scrollFor({ place, top, height, rowHeight }) {
  const start = place * rowHeight;
  if (start < top) return start;
  return start + rowHeight > top + height ? start + rowHeight - height : null;
}

export class VirtualRows {
  #items = [];
  #frame = 0;
  #height = 0; // of the scroller; to read it again and again would make the browser lay the page out each time
  #placeOf = new Map();
  #elements = new Map();

  /**
   * Args:
   *   scroller: the element that scrolls. body: the one in it that has the rows.
   *   measure() returns {rowHeight, headHeight}: of one row, and how much of the scroller a head covers. Asked again
   *     when the scroller's size changes, because the rows of a narrow page are higher.
   *   keyOf(item); make() returns an element; update(element, item, place) makes it show an item, now this one, later
   *     another.
   *   keep: the key of a row that is there wherever it is, or null: the one with the focus.
   */
  constructor({ scroller, body, measure, keyOf, make, update }) {
    Object.assign(this, { scroller, body, measure, keyOf, make, update, keep: null }, measure());
    this.onScroll = () => this.#later();
    scroller.addEventListener("scroll", this.onScroll, { passive: true });
    this.resized = new ResizeObserver(() => this.#measured());
    this.resized.observe(scroller);
  }

  show(items) {
    this.#items = items;
    this.#placeOf = new Map(items.map((item, place) => [this.keyOf(item), place]));
    this.#extend();
    this.draw();
  }

  #measured() {
    this.#height = 0;
    Object.assign(this, this.measure());
    this.#extend();
    this.#later();
  }

  #extend() {
    setStyle(this.body, "height", `${this.#items.length * this.rowHeight}px`);
  }

  get items() {
    return this.#items;
  }

  placeOf(key) {
    return this.#placeOf.get(key) ?? -1;
  }

  elementOf(key) {
    return this.#elements.get(key);
  }

  get pageSize() {
    return Math.max(1, Math.floor((this.scroller.clientHeight - this.headHeight) / this.rowHeight) - 1);
  }

  reveal(key) {
    const place = this.placeOf(key);
    if (place < 0) return;
    const height = this.scroller.clientHeight - this.headHeight;
    const top = scrollFor({ place, top: this.scroller.scrollTop, height, rowHeight: this.rowHeight });
    if (top !== null) this.scroller.scrollTop = top;
    this.draw();
  }

  draw() {
    const { scroller, rowHeight } = this;
    this.#height ||= scroller.clientHeight;
    const { first, last } = rangeOf({ top: scroller.scrollTop, height: this.#height, rowHeight, count: this.#items.length });
    const places = [];
    const kept = this.keep === null ? -1 : this.placeOf(this.keep);
    if (kept >= 0 && kept < first) places.push(kept);
    for (let place = first; place < last; place += 1) places.push(place);
    if (kept >= last) places.push(kept);
    this.#place(places);
  }

  /** Give each place an element: its own, if it has one; else one that is out of sight, moved; else a new one. */
  #place(places) {
    const { body, rowHeight } = this;
    const wanted = new Set(places.map((place) => this.keyOf(this.#items[place])));
    const free = [];
    for (const [key, row] of this.#elements) {
      if (wanted.has(key)) continue;
      this.#elements.delete(key);
      free.push(row);
    }
    let next = body.firstChild;
    for (const place of places) {
      const item = this.#items[place];
      const key = this.keyOf(item);
      let row = this.#elements.get(key);
      if (!row) {
        row = free.pop() ?? this.make();
        this.#elements.set(key, row);
      }
      if (row === next) next = next.nextSibling;
      else body.insertBefore(row, next);
      setStyle(row, "transform", `translateY(${place * rowHeight}px)`);
      this.update(row, item, place);
    }
    for (const row of free) row.remove();
  }

  #later() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.draw();
    });
  }

  close() {
    cancelAnimationFrame(this.#frame);
    this.resized.disconnect();
    this.scroller.removeEventListener("scroll", this.onScroll);
  }
}
