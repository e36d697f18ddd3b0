// The picture of a rumor: how many have it over time, and from whom each member got it, at one scale of time.

import { h, setAttr, setText, svg } from "./dom.js";
import { ms } from "./format.js";
import { glyph } from "./states.js";
import { stairPath, stairsOf, timeScale, treeOf } from "./rumor-layout.js";

const LABEL = 172;
const MARGIN = 8;
const RIGHT = 76;
const CURVE = 84;
const AXIS = 22;
const ROW = 20;
const MOST_ROWS = 150;
const PLAY_MS = 3000;
const LEAST_WIDTH = 200;
let made = 0;

export class RumorPicture {
  /** Args: label(sid): a node's address. */
  constructor(label) {
    this.label = label;
    this.clipId = `rumor-clip-${++made}`;
    this.note = h("p", { class: "muted", hidden: true });
    this.holder = h("div", { class: "rumor-picture" });
    this.playButton = h("button", { type: "button", class: "button quiet", onclick: () => this.play() }, "Play it slowly");
    this.element = h("div", { class: "rumor-picture-box" }, this.holder, this.note);
    this.watcher = new ResizeObserver(() => this.#draw());
    this.watcher.observe(this.holder);
  }

  end() {
    this.watcher.disconnect();
    cancelAnimationFrame(this.frame);
  }

  show(progress) {
    this.progress = progress;
    this.#draw();
  }

  /** Uncover the picture from the left to the right, once. */
  play() {
    if (!this.clip || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    cancelAnimationFrame(this.frame);
    const begun = performance.now();
    const step = (now) => {
      const share = Math.min(1, (now - begun) / PLAY_MS);
      this.share = share;
      setAttr(this.clip, "width", this.#uncovered());
      if (share < 1) this.frame = requestAnimationFrame(step);
    };
    this.frame = requestAnimationFrame(step);
  }

  #uncovered() {
    return MARGIN + 1 + (this.share ?? 1) * (this.plot + RIGHT);
  }

  #draw() {
    const width = this.holder.clientWidth;
    const progress = this.progress;
    if (!progress || width < LEAST_WIDTH) return;
    const key = JSON.stringify([width, progress]);
    if (key === this.drawn) return;
    this.drawn = key;
    const rows = treeOf(progress.members);
    const lacking = [...Object.keys(progress.lacking), ...Object.keys(progress.errors)];
    const left = Math.min(LABEL, width * 0.36);
    this.plot = width - left - RIGHT;
    const size = progress.is_sampled ? progress.asked : Math.max(progress.size, rows.length);
    const { scale, ticks } = timeScale(progress.last_ms ?? 1, this.plot);
    const shown = rows.slice(0, MOST_ROWS);
    const rest = lacking.slice(0, Math.max(0, MOST_ROWS - shown.length));
    const height = CURVE + AXIS + ROW * (shown.length + rest.length) + 6;
    this.clip = svg("rect", { x: -MARGIN, y: 0, width: this.#uncovered(), height });
    const moving = svg("g", { "clip-path": `url(#${this.clipId})` }, ...this.#curve(progress, scale, size), ...this.#tree(shown, scale));
    const picture = svg(
      "svg",
      { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": this.#words(progress, size) },
      svg("defs", null, svg("clipPath", { id: this.clipId }, this.clip)),
      ...this.#labels(shown, rest, progress, left),
      svg("g", { transform: `translate(${left} 0)` }, ...axis(ticks, height), moving, svg("text", { class: "rumor-size", x: this.plot + 6, y: 12 }, `${Object.keys(progress.members).length} of ${size}`)),
    );
    this.holder.replaceChildren(picture);
    const hidden = rows.length + lacking.length - shown.length - rest.length;
    setText(this.note, hidden > 0 ? `${hidden} more are in the table below.` : "");
    setAttr(this.note, "hidden", hidden <= 0);
  }

  #curve(progress, scale, size) {
    const path = stairPath(stairsOf(progress.members), { scale, width: this.plot, height: CURVE - 12, size });
    return path ? [svg("path", { class: "rumor-area", d: `${path}V${CURVE - 12}Z`, transform: "translate(0 12)" }), svg("path", { class: "rumor-curve", d: path, transform: "translate(0 12)" })] : [];
  }

  #tree(rows, scale) {
    const y = (index) => CURVE + AXIS + ROW * index + ROW / 2;
    const lines = rows.map((row, index) => (row.parent < 0 ? null : svg("path", { class: `rumor-line rumor-${row.way}`, d: `M${scale(rows[row.parent].ms)} ${y(row.parent)}V${y(index)}H${scale(row.ms)}` })));
    const dots = rows.map((row, index) => svg("circle", { class: `rumor-dot rumor-dot-${row.way}`, cx: scale(row.ms), cy: y(index), r: row.way === "sent" ? 5.5 : 4 }, svg("title", null, `${this.label(row.sid)}: ${ms(row.ms)}, by ${row.way}`)));
    const copies = rows.map((row, index) => (row.copies > 1 ? svg("text", { class: "rumor-copies", x: this.plot + RIGHT - 2, y: y(index) + 4 }, `${row.copies} copies`) : null));
    const failures = rows.map((row, index) => (row.failed === undefined ? null : svg("g", { transform: `translate(${scale(row.ms)} ${y(index)})` }, glyph("failed"), svg("title", null, `${this.label(row.sid)}: its call has failed: ${row.failed}`))));
    return [...lines, ...dots, ...failures, ...copies].filter(Boolean);
  }

  #labels(rows, rest, progress, left) {
    const y = (index) => CURVE + AXIS + ROW * index + ROW / 2 + 4;
    const names = rows.map((row, index) => svg("text", { class: "rumor-label", x: left - 10, y: y(index) }, this.label(row.sid)));
    const missing = rest.map((sid, index) => {
      const at = y(rows.length + index);
      const word = Object.hasOwn(progress.errors, sid) ? "does not answer" : "does not have it";
      return svg("g", null, svg("text", { class: "rumor-label", x: left - 10, y: at }, this.label(sid)), svg("text", { class: "rumor-missing", x: left + 4, y: at }, word));
    });
    return [...names, ...missing];
  }

  #words(progress, size) {
    const count = Object.keys(progress.members).length;
    return `${count} of ${size} members have the rumor${progress.last_ms === undefined ? "" : `, the last one after ${ms(progress.last_ms)}`}. The table below has each.`;
  }
}

function axis(ticks, height) {
  return ticks.map((tick) => svg("g", { class: "rumor-tick" }, svg("path", { d: `M${tick.x} 12V${height}` }), svg("text", { x: tick.x + 3, y: CURVE + 14 }, tickText(tick.ms))));
}

function tickText(value) {
  if (value >= 1000) return `${value / 1000} s`;
  return value ? `${value} ms` : "0";
}
