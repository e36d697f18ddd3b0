// The time line: a part of the run in sight, which one moves and zooms; filters; the chosen row; and all of it as a table.

import { clear, h, keyed, setAttr, setText, svg } from "./dom.js";
import { count, plural } from "./format.js";
import { GUTTER, drawChosen, drawHead, drawLanes, drawOverview, layoutOf } from "./drawing.js";
import { AT, NODE, PEER, SENT, SOURCE, TARGET, around, handlers, mostArrows, moved, nearest, seconds, span, within, zoomed } from "./sight.js";
import { callOf, facts, familyOf, groupOf, isMessage, sentence } from "./words.js";

const PAGE = 100, REACH = 9, MANY_NODES = 16, ANNOUNCED = 3;

export class TimeLine {
  constructor(report, flags) {
    this.run = report.run;
    this.flags = flags;
    this.all = { from: 0, to: Math.max(this.run.end, 20) };
    this.view = flags.length ? around(flags.map((flag) => flag.at), this.run.end) : this.all;
    this.hidden = new Set(this.run.events.some((event) => groupOf(event, this.run) === "membership") ? ["membership"] : []);
    this.hiddenNodes = new Set();
    this.chosen = null;
    this.page = 0;
    this.drawn = { shapes: [], messages: [], marks: [] };
    this.runs = handlersWithRows(this.run.events);
    this.element = this.build();
  }

  start() {
    new ResizeObserver(() => this.soon()).observe(this.frame);
    this.soon();
  }

  // ---- building

  build() {
    const button = (label, title, onclick, keys) => h("button", { type: "button", class: "button", title, "aria-label": title, "aria-keyshortcuts": keys, onclick }, label);
    this.range = h("span", { class: "range mono", "aria-live": "polite" });
    this.notice = h("p", { class: "notice", "data-kind": "warning", hidden: true });
    this.head = svg("svg", { class: "head-part", "aria-hidden": "true", width: "100%" });
    this.lanes = svg("g");
    this.mark = svg("g");
    this.clip = svg("rect", { x: GUTTER, y: -20, width: 10, height: 10 });
    this.body = svg("svg", { class: "lanes", "aria-hidden": "true", width: "100%" }, svg("defs", null, svg("clipPath", { id: "plot" }, this.clip), hatching()), this.lanes, this.mark);
    this.overview = svg("svg", { class: "overview", "aria-hidden": "true", width: "100%", height: 40 });
    this.scroller = h("div", { class: "scroller" }, this.body);
    this.frame = h("div", {
      class: "frame", tabindex: 0, role: "application", "aria-roledescription": "time line", "aria-describedby": "time-line-keys",
      "aria-label": `Time line of ${plural(this.run.nodes.length, "node")}`,
      onkeydown: (event) => this.onKey(event),
    }, this.overview, this.head, this.scroller);
    this.listenToPointers();
    this.details = h("div", { class: "details-part", role: "status" });
    return h("section", { class: "card time-line", "aria-label": "Time line" },
      h("div", { class: "card-head" },
        h("h2", null, "Time line"), this.range, h("span", { class: "grow" }),
        h("div", { class: "toolbar", role: "toolbar", "aria-label": "Part in sight" },
          button("−", "Zoom out", () => this.zoom(0.5), "-"), button("+", "Zoom in", () => this.zoom(2), "+"),
          button("←", "Earlier", () => this.move(-0.4), "ArrowLeft"), button("→", "Later", () => this.move(0.4), "ArrowRight"),
          button("All", "The whole run", () => this.look(this.all), "Home"),
          this.flags.map((flag) => button(flag.label, `Show ${flag.label.slice(2)}, at ${seconds(flag.at)}`, () => this.lookAt(flag.at))))),
      this.filters(),
      this.run.left_out.length > 0 && h("p", { class: "notice", "data-kind": "warning" }, leftOut(this.run)),
      this.run.faults_left_out > 0 && h("p", { class: "notice", "data-kind": "warning" }, `${plural(this.run.faults_left_out, "fault")} of ${count(this.run.faults_left_out + this.run.faults.length)} are left out.`),
      this.run.nodes_left_out > 0 && h("p", { class: "notice", "data-kind": "warning" }, `${plural(this.run.nodes_left_out, "node")} of ${count(this.run.nodes_left_out + this.run.nodes.length)} are left out.`),
      this.notice, this.frame,
      h("p", { class: "keys muted", id: "time-line-keys" },
        h("kbd", null, "←"), h("kbd", null, "→"), " move, ", h("kbd", null, "+"), h("kbd", null, "−"), " zoom, ", h("kbd", null, "n"), h("kbd", null, "p"),
        " next and previous event, ", h("kbd", null, "Home"), " the whole run. Drag to move, choose a part in the strip above; the wheel zooms with ", h("kbd", null, "Ctrl"), " or after a click."),
      this.details, this.tablePart());
  }

  filters() {
    const groups = new Map();
    for (const message of this.run.messages) groups.set(familyOf(message, this.run), (groups.get(familyOf(message, this.run)) ?? 0) + 1);
    for (const event of this.run.events) groups.set(groupOf(event, this.run), (groups.get(groupOf(event, this.run)) ?? 0) + 1);
    groups.delete("faults");
    const order = [...this.run.families, "callers", "handlers", "views", "rumors", "notes", "membership"];
    const chip = (label, isOn, toggle, kind) => {
      const element = h("button", { type: "button", class: "button chip", "aria-pressed": String(isOn), onclick: () => { element.setAttribute("aria-pressed", String(toggle())); this.soon(); } },
        kind && sample(kind), label);
      return element;
    };
    const toggled = (set, key) => () => { if (!set.delete(key)) set.add(key); this.page = 0; return !set.has(key); };
    const kinds = order.filter((name) => groups.has(name)).map((name) => chip([name, h("span", { class: "muted" }, ` ${count(groups.get(name))}`)], !this.hidden.has(name), toggled(this.hidden, name), name));
    const chips = this.run.nodes.map((name, node) => chip(name, true, toggled(this.hiddenNodes, node)));
    const nodes = h("div", { class: "toolbar", role: "group", "aria-label": "Nodes" }, chips);
    return h("div", { class: "filters" },
      h("div", { class: "toolbar", role: "group", "aria-label": "Kinds" }, h("span", { class: "muted" }, "Kinds"), kinds),
      this.run.nodes.length > MANY_NODES
        ? h("details", null, h("summary", null, plural(this.run.nodes.length, "node")), this.allOrNone(chips), nodes)
        : h("div", { class: "toolbar" }, h("span", { class: "muted" }, "Nodes"), nodes));
  }

  allOrNone(chips) {
    const set = (isOn) => () => {
      this.hiddenNodes.clear();
      if (!isOn) this.run.nodes.forEach((_, node) => this.hiddenNodes.add(node));
      for (const chip of chips) chip.setAttribute("aria-pressed", String(isOn));
      this.soon();
    };
    return h("div", { class: "toolbar" }, h("button", { type: "button", class: "button", onclick: set(true) }, "All"), h("button", { type: "button", class: "button", onclick: set(false) }, "None"));
  }

  tablePart() {
    this.tableCount = h("span", { class: "muted" });
    this.rows = h("tbody");
    const step = (by) => () => { this.page += by; this.drawTable(); };
    this.back = h("button", { type: "button", class: "button", onclick: step(-1) }, "Previous");
    this.forth = h("button", { type: "button", class: "button", onclick: step(1) }, "Next");
    this.table = h("details", { class: "table-part", ontoggle: () => this.drawTable() },
      h("summary", null, "The part in sight as a table"),
      h("div", { class: "toolbar" }, this.tableCount, this.back, this.forth),
      h("div", { class: "table-wrap", tabindex: 0, role: "region", "aria-label": "Events in sight" },
        h("table", { class: "data" },
          h("thead", null, h("tr", null, ["time", "what happens", "kind"].map((name) => h("th", { scope: "col" }, name)))), this.rows)));
    return this.table;
  }

  // ---- the part in sight

  look(view) {
    this.view = within(view, this.run.end);
    this.page = 0;
    this.soon();
  }

  zoom(factor, at = (this.view.from + this.view.to) / 2) {
    this.look(zoomed(this.view, factor, at, this.run.end));
  }

  move(share) {
    this.look(moved(this.view, share, this.run.end));
  }

  /** Show a time, with the events around it, and choose the event there. */
  lookAt(at, event = null) {
    const length = Math.min(this.view.to - this.view.from, 40_000);
    this.look({ from: at - length / 2, to: at + length / 2 });
    const row = event && this.rowOf(event);
    if (row) this.choose(row);
    this.frame.scrollIntoView({ block: "center" });
    this.frame.focus({ preventScroll: true });
  }

  /** The row of an event of the comparison; null if it is left out. */
  rowOf(event) {
    const node = this.run.nodes.indexOf(event.node), other = this.run.nodes.indexOf(event.peer);
    if (event.number) return this.run.messages.find((row) => row[7] === event.number && [node, other].includes(row[SOURCE])) ?? null;
    return this.run.events.find((row) => row[AT] === event.at && row[1] === event.kind && row[NODE] === node && row[5] === event.detail) ?? null;
  }

  soon() {
    this.frameNumber ??= requestAnimationFrame(() => {
      this.frameNumber = null;
      this.draw();
    });
  }

  isShown() {
    const sees = (node, other) => !this.hiddenNodes.has(node) && (other < 0 || !this.hiddenNodes.has(other));
    return {
      group: (name) => !this.hidden.has(name),
      message: (row) => !this.hidden.has(familyOf(row, this.run)) && sees(row[SOURCE], row[TARGET]),
      event: (row) => !this.hidden.has(groupOf(row, this.run)) && row[1] !== "fault" && sees(row[NODE], row[PEER]),
    };
  }

  draw() {
    const width = this.frame.clientWidth;
    if (!width) return;
    const nodes = this.run.nodes.map((_, node) => node).filter((node) => !this.hiddenNodes.has(node));
    const layout = layoutOf(this.run, nodes, this.view, width);
    this.layout = layout;
    setAttr(this.clip, "width", layout.plot);
    setAttr(this.clip, "height", layout.height + 40);
    setAttr(this.body, "height", layout.height);
    drawOverview(this.overview, layoutOf(this.run, nodes, this.all, width), this.run.messages, this.flags, this.view);
    drawHead(this.head, layout, this.flags);
    const top = this.scroller.scrollTop, bottom = top + (this.scroller.clientHeight || layout.height);
    const isShown = this.isShown();
    const runs = this.runs.filter((run) => isShown.event(run[6]));
    this.drawn = drawLanes(this.lanes, layout, { messages: this.run.messages, events: this.run.events, runs, flags: this.flags, isShown, top, bottom });
    drawChosen(this.mark, this.drawn.shapes, this.chosen);
    setText(this.range, `${seconds(this.view.from, this.view.to - this.view.from)} to ${seconds(this.view.to, this.view.to - this.view.from)} (${span(this.view.to - this.view.from)})`);
    this.notice.hidden = this.drawn.areArrows && this.drawn.areMarks;
    setText(this.notice, this.tooMany(mostArrows(layout.plot)));
    this.drawTable();
  }

  /** What is in sight, but not drawn one by one. */
  tooMany(most) {
    const { areArrows, areMarks, messages, marks } = this.drawn;
    const parts = [
      !areArrows && `${plural(messages.length, "message")} in sight, too many for arrows: bars show how many each node sends (up), and how many of them are dropped (down).`,
      !areMarks && `${plural(marks.length, "event")} in sight, too many for signs.`,
      `Zoom in to see each one; up to ${count(most)} are drawn.`,
    ];
    return parts.filter(Boolean).join(" ");
  }

  // ---- the chosen row

  inSight() {
    const isShown = this.isShown();
    const ends = this.run.events.filter((event) => (event[1] === "begin" || event[1] === "end") && event[AT] >= this.view.from && event[AT] <= this.view.to && isShown.event(event));
    return [...this.drawn.messages, ...this.drawn.marks, ...ends].sort((one, other) => one[0] - other[0]);
  }

  choose(row) {
    this.chosen = row;
    drawChosen(this.mark, this.drawn.shapes, row);
    clear(this.details);
    for (const line of this.rows.children) line.toggleAttribute("data-chosen", line.row === row);
    if (!row) return;
    this.scrollTo(row);
    const call = callOf(row, this.run);
    const related = call ? this.run.events.filter((event) => event !== row && callOf(event, this.run) === call).slice(0, 20) : [];
    this.details.append(h("div", { class: "chosen-card" },
      h("h3", null, `${seconds(row[AT])}: ${sentence(row, this.run)}`),
      h("dl", { class: "pairs" }, facts(row, this.run).map(([name, value]) => [h("dt", null, name), h("dd", { class: "mono" }, value)])),
      related.length > 0 && h("div", null, h("h3", null, "The same call"),
        h("ol", { class: "before" }, related.map((event) => h("li", null,
          h("button", { type: "button", class: "button quiet", onclick: () => this.lookAt(event[AT]) || this.choose(event) }, seconds(event[AT])), sentence(event, this.run)))))));
  }

  /** Bring the lane of a row into sight, among many lanes. */
  scrollTo(row) {
    const y = this.layout?.y(isMessage(row) ? row[SOURCE] : row[NODE]), { scrollTop, clientHeight } = this.scroller;
    if (Number.isFinite(y) && (y < scrollTop || y > scrollTop + clientHeight)) this.scroller.scrollTop = y - clientHeight / 2;
  }

  step(by) {
    const rows = this.inSight();
    if (!rows.length) return;
    const place = rows.indexOf(this.chosen);
    this.choose(rows[place < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.max(0, Math.min(rows.length - 1, place + by))]);
  }

  drawTable() {
    if (!this.table.open) return;
    const rows = this.inSight();
    this.page = Math.max(0, Math.min(this.page, Math.ceil(rows.length / PAGE) - 1));
    const first = this.page * PAGE, shown = rows.slice(first, first + PAGE);
    setText(this.tableCount, rows.length ? `${count(first + 1)} to ${count(first + shown.length)} of ${count(rows.length)}` : "nothing in sight");
    this.back.disabled = this.page === 0;
    this.forth.disabled = first + PAGE >= rows.length;
    keyed(this.rows, shown.map((row, place) => ({ row, place })), ({ place }) => place, () => h("tr", null,
      h("td", { class: "nowrap mono" }), h("td", null, h("button", { type: "button", class: "row-button", onclick: (event) => this.choose(event.target.closest("tr").row) })), h("td", { class: "muted" })),
    (line, { row }) => {
      line.row = row;
      const [time, what, kind] = line.children;
      setText(time, seconds(row[0]));
      setText(what.firstChild, sentence(row, this.run));
      setText(kind, isMessage(row) ? familyOf(row, this.run) : groupOf(row, this.run));
      line.toggleAttribute("data-chosen", row === this.chosen);
    });
  }

  // ---- keyboard and pointers

  onKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target !== this.frame) return;
    const act = {
      ArrowLeft: () => this.move(-0.1), ArrowRight: () => this.move(0.1), PageUp: () => this.move(-0.9), PageDown: () => this.move(0.9),
      "+": () => this.zoom(1.6), "=": () => this.zoom(1.6), "-": () => this.zoom(1 / 1.6), Home: () => this.look(this.all),
      n: () => this.step(1), p: () => this.step(-1), Escape: () => this.choose(null),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  listenToPointers() {
    let drag = null;
    const place = (event, element) => { const box = element.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    this.body.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      drag = { x: event.clientX, view: this.view, hasMoved: false };
      this.body.setPointerCapture(event.pointerId);
    });
    this.body.addEventListener("pointermove", (event) => {
      if (!drag) {
        this.body.classList.toggle("on-shape", nearest(this.drawn.shapes, ...place(event, this.body), REACH) !== null);
        return;
      }
      const by = event.clientX - drag.x;
      if (Math.abs(by) > 3) drag.hasMoved = true;
      if (drag.hasMoved) this.look(moved(drag.view, -by / this.layout.plot, this.run.end));
    });
    this.body.addEventListener("pointerup", (event) => {
      if (drag && !drag.hasMoved) this.choose(nearest(this.drawn.shapes, ...place(event, this.body), REACH)?.row ?? null);
      drag = null;
    });
    this.body.addEventListener("pointercancel", () => { drag = null; });
    this.body.addEventListener("dblclick", (event) => this.zoom(2, this.layout.at(place(event, this.body)[0])));
    this.frame.addEventListener("wheel", (event) => this.onWheel(event, place(event, this.frame)[0]), { passive: false });
    this.scroller.addEventListener("scroll", () => this.soon(), { passive: true });
    this.listenToOverview(place);
  }

  onWheel(event, x) {
    const isSideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (isSideways) {
      event.preventDefault();
      this.move((event.deltaX || event.deltaY) / 1000);
    } else if (event.ctrlKey || document.activeElement === this.frame) {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), Math.max(this.view.from, this.layout.at(x)));
    }
  }

  listenToOverview(place) {
    let from = null;
    const at = (event) => layoutOf(this.run, [], this.all, this.frame.clientWidth).at(place(event, this.overview)[0]);
    this.overview.addEventListener("pointerdown", (event) => { from = at(event); this.overview.setPointerCapture(event.pointerId); });
    this.overview.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const to = at(event), length = this.view.to - this.view.from;
      const isClick = Math.abs(to - from) < (this.all.to / this.layout.plot) * 4;
      this.look(isClick ? { from: to - length / 2, to: to + length / 2 } : { from: Math.min(from, to), to: Math.max(from, to) });
      from = null;
    });
  }
}

/** The handlers' runs, each with the row of its begin as a seventh value. */
function handlersWithRows(events) {
  const begins = events.filter((event) => event[1] === "begin");
  return handlers(events).map((run, place) => [...run, begins[place]]);
}

function leftOut(run) {
  const events = run.left_out.reduce((sum, [, , number]) => sum + number, 0);
  const parts = run.left_out.slice(0, ANNOUNCED).map(([from, to]) => `${seconds(from, 1e6)} to ${seconds(to, 1e6)}`);
  return `The run is too long for one page: ${plural(events, "event")} are left out (hatched), ${parts.join(", ")}. What is nearest to the difference and the failure is here.`;
}

function hatching() {
  return svg("pattern", { id: "hatching", width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("line", { class: "hatch", y2: 8 }));
}

/** A sample of how a group is drawn. */
function sample(kind) {
  const picture = {
    callers: () => svg("path", { class: "mark call", d: "M4 2l7 4l-7 4z" }), handlers: () => svg("rect", { class: "handler", x: 1, y: 3, width: 14, height: 6 }),
    views: () => svg("path", { class: "mark state", d: "M8 1l5 5l-5 5l-5-5z" }), rumors: () => svg("circle", { class: "mark rumor", cx: 8, cy: 6, r: 3 }),
    notes: () => svg("rect", { class: "mark note", x: 4, y: 2, width: 8, height: 8 }), membership: () => svg("path", { class: "mark call internal", d: "M4 2l7 4l-7 4z" }),
  }[kind];
  return svg("svg", { viewBox: "0 0 16 12", width: 16, height: 12, "aria-hidden": "true" }, picture ? picture() : svg("path", { class: `arrow ${kind}`, d: "M0 6H16" }));
}
