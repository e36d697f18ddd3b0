// Members as a ring: a glyph each, bars for the round trip, and lines for who suspects whom.

import { h, keyed, setAttr, setText, svg } from "./dom.js";
import { cut, ms, seconds } from "./format.js";
import { labelsOf, linesOf, sorted, suspectersOf } from "./members.js";
import { BAR_START, barOf, chordOf, labelAt, placeOf, pointAt } from "./ring-layout.js";
import { glyph, setGlyph } from "./states.js";

const SCALE_MS = [1, 10, 100, 1000];
const ARROWS = ["suspect", "failed", "absent"];

export class Ring {
  /** Args: onPick(sid): a member was clicked, or chosen by Enter. */
  constructor({ app, onPick }) {
    Object.assign(this, { app, onPick });
    this.scale = svg("g", { class: "ring-scale", "aria-hidden": "true" });
    this.bars = svg("g", { class: "ring-bars", "aria-hidden": "true" });
    this.lines = svg("g", { class: "ring-lines" });
    this.nodes = svg("g", { class: "ring-nodes" });
    this.sum = svg("text", { class: "ring-sum", y: 2 });
    this.under = svg("text", { class: "ring-under", y: 22 });
    this.picture = svg(
      "svg",
      { class: "ring", role: "group" },
      svg("defs", null, ...ARROWS.map((state) => svg("marker", { id: `arrow-${state}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, svg("path", { d: "M0 0.5L8 4L0 7.5Z", class: `arrow arrow-${state}` })))),
      this.scale,
      this.bars,
      this.lines,
      svg("g", { "aria-hidden": "true" }, this.sum, this.under),
      this.nodes,
    );
    // On the box, not on the picture: an <svg> that hears of the focus gets it, too.
    const heard = { onkeydown: (event) => this.#move(event), onpointerover: (event) => this.#point(event), onpointerleave: () => this.#emphasize(null), onfocusin: (event) => this.#point(event), onfocusout: () => this.#emphasize(null) };
    this.element = h("div", { class: "ring-box", ...heard }, this.picture);
    for (const value of SCALE_MS) this.#ringOfScale(value);
  }

  #ringOfScale(value) {
    const radius = BAR_START - barOf(value);
    this.scale.append(svg("circle", { r: radius }), svg("text", { y: -radius + 3.5 }, ms(value).replace(".0", "")));
  }

  show({ cluster, rows, opinions, picked, counts }) {
    const ordered = sorted(rows, "address");
    const labels = labelsOf(ordered.map((row) => row.address));
    const count = ordered.length;
    const size = count <= 24 ? [-300, -236, 600, 472] : [-286, -286, 572, 572];
    setAttr(this.picture, "viewBox", size.join(" "));
    setAttr(this.picture, "aria-label", `Ring of ${count} members. The table has the same as text.`);
    const places = new Map();
    this.order = ordered.map((row) => row.sid);
    const stop = picked && places && this.order.includes(picked) ? picked : this.order.includes(this.stop) ? this.stop : this.order[0];
    this.stop = stop;
    const items = ordered.map((row, index) => {
      const place = placeOf(index + 0.5, count);
      places.set(row.sid, place);
      return { row, place, label: labels[index], count, picked: row.sid === picked, stop: row.sid === stop, self: row.sid === cluster.self, suspected: suspectersOf(cluster, opinions, row.sid).length };
    });
    const sidOf = (item) => item.row.sid;
    keyed(this.bars, items, sidOf, () => svg("line", null), updateBar);
    keyed(this.nodes, items, sidOf, (item, sid) => this.#makeNode(sid), (node, item) => this.#updateNode(node, item));
    const drawn = linesOf(cluster, opinions).filter((line) => places.has(line.from) && places.has(line.to));
    keyed(this.lines, drawn, (line) => `${line.from} ${line.to} ${line.state}`, makeLine, (node, line) => updateLine(node, line, places, this.app));
    setAttr(this.picture, "data-lines", drawn.length > 30 ? "many" : "few");
    setText(this.sum, `${counts.alive}`);
    setText(this.under, counts.alive === count ? "all alive" : `of ${count} alive`);
    if (this.pointed) this.#emphasize(this.pointed);
  }

  #makeNode(sid) {
    const pick = (event) => {
      event.preventDefault();
      this.onPick(sid);
    };
    return svg(
      "a",
      { class: "ring-node", "data-sid": sid, href: `#/cluster/${encodeURIComponent(sid)}`, onclick: pick },
      svg("title", null),
      svg("circle", { class: "ring-target", r: 15 }),
      svg("circle", { class: "ring-halo", r: 11 }),
      glyph("joining"),
      svg("text", { class: "ring-label" }),
    );
  }

  #updateNode(node, { row, place, label, count, picked, stop, self, suspected }) {
    const [title, target, halo, mark, text] = node.children;
    const at = `translate(${place.x} ${place.y})`;
    for (const one of [target, halo]) setAttr(one, "transform", at);
    setGlyph(mark, row.status);
    setAttr(mark, "transform", `${at} scale(1.3)`);
    const stand = labelAt(place.angle, count);
    setAttr(text, "text-anchor", stand.anchor);
    setAttr(text, "transform", `translate(${stand.x} ${stand.y})${stand.turn ? ` rotate(${stand.turn})` : ""}`);
    setAttr(text, "dy", stand.turn ? 4 : null);
    setText(text, cut(label, 24));
    setAttr(node, "data-self", self || null);
    setAttr(node, "tabindex", stop ? 0 : -1);
    setAttr(node, "data-state", row.status);
    setAttr(node, "data-differ", row.differ > 0 || null);
    setAttr(node, "aria-current", picked ? "true" : null);
    const described = describe(row, this.app.now(), suspected, self);
    setAttr(node, "aria-label", described);
    setText(title, described);
  }

  #move(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const here = this.order.indexOf(event.target.dataset?.sid);
    if (here < 0 || !(step || event.key === "Home" || event.key === "End")) return;
    event.preventDefault();
    const count = this.order.length;
    const next = event.key === "Home" ? 0 : event.key === "End" ? count - 1 : (here + step + count) % count;
    this.stop = this.order[next];
    for (const node of this.nodes.children) setAttr(node, "tabindex", node.dataset.sid === this.stop ? 0 : -1);
    [...this.nodes.children].find((node) => node.dataset.sid === this.stop)?.focus();
  }

  #point(event) {
    this.#emphasize(event.target.closest?.(".ring-node")?.dataset.sid ?? null);
  }

  #emphasize(sid) {
    this.pointed = sid;
    this.picture.classList.toggle("pointing", Boolean(sid) && [...this.lines.children].some((line) => touches(line, sid)));
    for (const line of this.lines.children) line.classList.toggle("near", Boolean(sid) && touches(line, sid));
  }
}

function touches(line, sid) {
  return line.dataset.from === sid || line.dataset.to === sid;
}

function updateBar(bar, { row, place }) {
  const length = row.gone ? 0 : barOf(row.rtt_ms);
  const from = pointAt(place.angle, BAR_START);
  const to = pointAt(place.angle, BAR_START - length);
  setAttr(bar, "class", length ? "ring-bar" : "ring-bar none");
  setAttr(bar, "x1", from.x);
  setAttr(bar, "y1", from.y);
  setAttr(bar, "x2", to.x);
  setAttr(bar, "y2", to.y);
}

function makeLine({ from, to, state }) {
  return svg("path", { class: `ring-line ring-line-${state}`, "data-from": from, "data-to": to, "marker-end": `url(#arrow-${state})`, role: "img" }, svg("title", null));
}

function updateLine(node, { from, to, state }, places, app) {
  setAttr(node, "d", chordOf(places.get(from), places.get(to)));
  const word = { suspect: "suspects", failed: "takes for dead:", absent: "does not know" }[state];
  const text = `${app.label(from)} ${word} ${app.label(to)}`;
  setText(node.firstChild, text);
  setAttr(node, "aria-label", text);
}

/** A member in a sentence, for the title and for screen readers. */
export function describe(row, now, suspected, self) {
  const parts = [`${row.address}${self ? " (this node)" : ""}`, `${row.status} for ${seconds(now - row.since)}`];
  if (suspected) parts.push(`suspected by ${suspected}`);
  if (row.differ) parts.push(`seen otherwise by ${row.differ}`);
  if (typeof row.rtt_ms === "number" && !row.gone) parts.push(`round trip ${ms(row.rtt_ms)}`);
  if (row.health > 0) parts.push(`local health ${row.health}`);
  return parts.join(", ");
}
