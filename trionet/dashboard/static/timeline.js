// Joins, suspicions and deaths over time: a lane each, and the same as a list.

import { h, keyed, setAttr, setText, svg } from "./dom.js";
import { age, clock, cut, short } from "./format.js";
import { glyph, setGlyph, setState, stateBadge } from "./states.js";
import { inOrder, LANES, spanOf, stateOfNews, ticksOf, WORDS, worded } from "./news.js";

const LANE = 26;
const LEFT = 78;
const RIGHT = 14;
const BOTTOM = 22;
const SPANS = [[300, "5 min"], [3600, "1 h"], [0, "All"]];
const LISTED = 60;

export class Timeline {
  constructor({ app, onPick }) {
    Object.assign(this, { app, onPick, span: 0, width: 600, news: {} });
    this.grid = svg("g", { class: "time-grid", "aria-hidden": "true" });
    this.marks = svg("g", { class: "time-marks" });
    const lanes = LANES.map((kind, index) => svg("g", { class: "time-lane", "aria-hidden": "true" }, svg("line", { x1: LEFT, y1: laneY(index), y2: laneY(index) }), svg("text", { x: 0, y: laneY(index) + 4 }, WORDS[kind])));
    this.lines = lanes.map((lane) => lane.firstChild);
    this.height = LANES.length * LANE + BOTTOM;
    this.picture = svg("svg", { class: "timeline", height: this.height, role: "img" }, this.grid, ...lanes, this.marks);
    this.spans = SPANS.map(([span, word]) => h("button", { type: "button", class: "button", "aria-pressed": String(span === this.span), onclick: () => this.#setSpan(span) }, word));
    this.list = h("ol", { class: "news-list", tabindex: 0, "aria-label": "Latest events" });
    this.none = h("p", { class: "empty" }, "Nothing has happened since this node started to look.");
    this.latest = h("section", { class: "card news-card", "aria-label": "Latest events" }, h("div", { class: "card-head" }, h("h2", null, "Latest")), this.none, this.list);
    this.element = h(
      "section",
      { class: "card timeline-card", "aria-label": "Joins, suspicions and deaths" },
      h("div", { class: "card-head" }, h("h2", null, "Joins, suspicions, deaths"), h("span", { class: "grow" }), h("div", { class: "segmented", role: "group", "aria-label": "Time shown" }, ...this.spans)),
      h("div", { class: "timeline-body" }, h("div", { class: "timeline-picture" }, this.picture)),
    );
    this.resized = new ResizeObserver(([entry]) => {
      this.width = Math.max(280, Math.floor(entry.contentRect.width));
      this.draw();
    });
    this.resized.observe(this.picture.parentElement);
  }

  end() {
    this.resized.disconnect();
  }

  #setSpan(span) {
    this.span = span;
    SPANS.forEach(([one], index) => setAttr(this.spans[index], "aria-pressed", one === span ? "true" : "false"));
    this.draw();
  }

  /** Show the events as they look at a time: the whole second, so that it is drawn once in it. */
  show(news, now) {
    const second = Math.floor(now);
    if (news === this.news && Object.keys(news ?? {}).length === this.drawn && second === this.second) return;
    this.news = news ?? {};
    this.second = second;
    this.draw();
  }

  draw() {
    const now = this.second ?? Date.now() / 1000;
    this.drawn = Object.keys(this.news).length;
    const all = inOrder(this.news, now);
    const { from, to } = spanOf(all, now, this.span);
    const scale = (time) => Math.round((LEFT + ((time - from) / (to - from)) * (this.width - LEFT - RIGHT)) * 10) / 10;
    setAttr(this.picture, "width", this.width);
    setAttr(this.picture, "viewBox", `0 0 ${this.width} ${this.height}`);
    for (const line of this.lines) setAttr(line, "x2", this.width - RIGHT);
    const shown = all.filter((one) => one.time >= from && LANES.includes(one.kind));
    setAttr(this.picture, "aria-label", `${shown.length} events of the last ${age(to - from)}; the list has the same as text`);
    const ticks = ticksOf(from, to, Math.max(2, Math.floor(this.width / 110)));
    keyed(this.grid, ticks, (tick) => tick, () => svg("g", null, svg("line", { y1: 4, y2: this.height - BOTTOM + 4 }), svg("text", { y: this.height - 4 })), (group, tick) => updateTick(group, tick, ticks, scale, scale(to)));
    keyed(this.marks, shown, (one) => one.number, (one) => this.#makeMark(one), (mark, one) => setAttr(mark, "transform", `translate(${scale(one.time)} ${laneY(LANES.indexOf(one.kind))})`));
    keyed(this.list, all.slice(-LISTED).reverse(), (one) => one.number, (one) => this.#makeLine(one), (line, one) => setText(line.children[1], `${age(now - one.time)} ago`));
    this.none.hidden = all.length > 0;
    this.list.hidden = all.length === 0;
  }

  #makeMark(one) {
    const mark = svg("g", { class: "time-mark", onclick: () => this.onPick(one.sid) }, svg("title", null, `${clock(one.time)} ${worded(one, (sid) => this.app.label(sid))}`), setGlyph(glyph("left"), stateOfNews(one.kind)));
    return mark;
  }

  #makeLine(one) {
    const badge = setState(stateBadge("left"), stateOfNews(one.kind), WORDS[one.kind] ?? String(one.kind).slice(0, 20));
    return h(
      "li",
      { class: "news-line" },
      h("time", { class: "mono muted" }, clock(one.time)),
      h("span", { class: "muted news-age" }),
      badge,
      h("button", { type: "button", class: "link mono", onclick: () => this.onPick(one.sid) }, cut(one.address ?? short(one.sid), 60)),
      one.by ? h("span", { class: "muted news-by" }, `by ${this.app.label(one.by)}`) : null,
    );
  }
}

function laneY(index) {
  return LANE * index + LANE / 2;
}

function updateTick(group, tick, ticks, scale, right) {
  const [line, text] = group.children;
  const x = scale(tick);
  setAttr(line, "x1", x);
  setAttr(line, "x2", x);
  setAttr(text, "x", x);
  setAttr(text, "text-anchor", right - x < 28 ? "end" : null);
  setText(text, clock(tick).slice(0, ticks.every((one) => one % 60 === 0) ? 5 : 8));
}

