// Draws the part of a run that is in sight: lanes of nodes, faults, messages as arrows, events, and the marked moments.

import { svg, clear } from "./dom.js";
import {
  ARRIVES, AT, DROPS, EVENT, NODE, SENT, SOURCE, TARGET,
  apart, density, endOf, eventsInSight, inRows, messagesInSight, mostArrows, seconds, span, ticks,
} from "./sight.js";
import { familyOf, groupOf } from "./words.js";

export const GUTTER = 76;
const RIGHT = 14, AXIS = 22, FLAG = 20, FAULT = 18, MOST_FAULT_ROWS = 6, HEAD = 5, BIN = 4;
const LEAST_LANE = 26, MOST_LANE = 64, ROOM = 420, CHARACTER = 6.2, FLAG_CHARACTER = 6.4;

/** The height of a node's lane. */
export function laneHeight(nodes) {
  return Math.max(LEAST_LANE, Math.min(MOST_LANE, Math.floor(ROOM / Math.max(1, nodes))));
}

/** What a drawing is made of: sizes and scales of one moment. */
export function layoutOf(run, shownNodes, view, width) {
  const lane = laneHeight(shownNodes.length);
  const places = new Map(shownNodes.map((node, place) => [node, place]));
  const plot = Math.max(40, width - GUTTER - RIGHT);
  return {
    run, view, width, lane, plot, nodes: shownNodes,
    height: Math.max(1, shownNodes.length) * lane,
    x: (at) => GUTTER + ((at - view.from) / (view.to - view.from)) * plot,
    at: (x) => view.from + ((x - GUTTER) / plot) * (view.to - view.from),
    y: (node) => (places.has(node) ? (places.get(node) + 0.5) * lane : null),
  };
}

// ---------------------------------------------------------------------------------------------------------- above

/** Draw the axis, the flags of marked moments, and the faults, above the lanes; returns the height. */
export function drawHead(element, layout, flags) {
  clear(element);
  const { view, run, x, plot } = layout;
  const right = GUTTER + plot;
  drawFlags(element, layout, flags);
  const { step, at } = ticks(view, Math.max(3, plot / 110));
  const axis = svg("g", { class: "axis" });
  for (const time of at) {
    axis.append(svg("line", { x1: x(time), x2: x(time), y1: FLAG + AXIS - 5, y2: FLAG + AXIS }));
    const anchor = x(time) > right - 30 ? "end" : x(time) < GUTTER + 20 ? "start" : "middle";
    axis.append(svg("text", { x: x(time), y: FLAG + AXIS - 8, "text-anchor": anchor }, label(time, step)));
  }
  element.append(axis);
  const seen = run.faults.filter((fault) => fault.begin <= view.to && fault.end >= view.from);
  const perPixel = (view.to - view.from) / plot;
  const spans = seen.map((fault) => ({ begin: Math.max(fault.begin, view.from), end: fault.end }));
  const packed = inRows(spans, 90 * perPixel, MOST_FAULT_ROWS);
  seen.forEach((fault, index) => {
    const x1 = Math.max(GUTTER, x(fault.begin)), x2 = Math.min(right, Math.max(x1 + 2, x(fault.end)));
    const y = FLAG + AXIS + 2 + FAULT * packed.rows[index];
    const room = Math.floor((Math.max(x2 - x1, Math.min(90, right - x1)) - 8) / CHARACTER);
    element.append(svg("g", { class: "fault" },
      svg("title", null, `${fault.label}, from ${seconds(fault.begin)} to ${seconds(fault.end)}`),
      svg("rect", { x: x1, y, width: x2 - x1, height: FAULT - 3, rx: 2 }),
      svg("text", { x: x1 + 4, y: y + 11.5 }, shorter(fault.label, room))));
  });
  const height = FLAG + AXIS + 2 + FAULT * packed.count;
  element.setAttribute("height", height);
  return height;
}

function label(at, step) {
  const digits = Math.max(0, Math.min(6, Math.ceil(6 - Math.log10(step) - 1e-9)));
  return `${(at / 1e6).toFixed(digits)} s`;
}

function shorter(text, room) {
  if (room < 3) return "";
  return text.length <= room ? text : `${text.slice(0, room - 1)}…`;
}

function drawFlags(element, layout, flags) {
  const right = GUTTER + layout.plot;
  const seen = flags.map((flag) => ({ flag, at: layout.x(flag.at), wide: flag.label.length * FLAG_CHARACTER }))
    .filter(({ at }) => at >= GUTTER - 1 && at <= right + 1).sort((one, other) => one.at - other.at);
  const lefts = apart(seen.map(({ at, wide }) => ({ left: at - wide / 2, wide })), right + RIGHT, 8);
  seen.forEach(({ flag, at }, index) => element.append(svg("g", { class: `flag ${flag.kind}` },
    svg("text", { x: lefts[index], y: 12 }, flag.label),
    svg("path", { d: `M${at - 4} ${FLAG - 4}h8l-4 5z` }))));
}

// ---------------------------------------------------------------------------------------------------------- lanes

/** Draw the lanes and all in them; returns the shapes that can be pointed at, and what could not be shown. */
export function drawLanes(element, layout, { messages, events, runs, flags, isShown, top, bottom }) {
  clear(element);
  drawFaults(element, layout);
  drawGaps(element, layout);
  drawLife(element, layout);
  const shapes = [];
  const seen = messagesInSight(messages, layout.view, (message) => isShown.message(message));
  const inReach = seen.filter((message) => touches(layout, message, top, bottom));
  const most = mostArrows(layout.plot);
  const areArrows = inReach.length <= most;
  if (isShown.group("handlers")) drawHandlers(element, layout, runs, shapes, areArrows);
  if (areArrows) drawArrows(element, layout, inReach, shapes);
  else drawDensity(element, layout, seen);
  const marks = eventsInSight(events, layout.view, (event) => event[EVENT] !== "begin" && event[EVENT] !== "end" && isShown.event(event));
  const areMarks = marks.length <= most;
  if (areMarks) drawMarks(element, layout, marks, shapes);
  for (const flag of flags) {
    const at = layout.x(flag.at);
    if (at < GUTTER - 1 || at > GUTTER + layout.plot + 1) continue;
    element.append(svg("line", { class: `moment ${flag.kind}`, x1: at, x2: at, y1: 0, y2: layout.height }));
  }
  return { shapes, messages: seen, marks, areArrows, areMarks };
}

function touches(layout, message, top, bottom) {
  const one = layout.y(message[SOURCE]), other = layout.y(message[TARGET]);
  if (one === null && other === null) return false;
  const ys = [one ?? other, other ?? one];
  return Math.max(...ys) >= top && Math.min(...ys) <= bottom;
}

function drawFaults(element, layout) {
  const { run, view, x, y, lane, plot } = layout;
  for (const fault of run.faults) {
    if (fault.begin > view.to || fault.end < view.from) continue;
    const x1 = Math.max(GUTTER, x(fault.begin)), x2 = Math.min(GUTTER + plot, Math.max(x1 + 1, x(fault.end)));
    const lanes = fault.nodes.length ? fault.nodes.map(y).filter((one) => one !== null) : [layout.height / 2];
    const height = fault.nodes.length ? lane - 4 : layout.height;
    for (const middle of lanes) element.append(svg("rect", { class: "shade", x: x1, y: middle - height / 2, width: x2 - x1, height }));
  }
}

function drawGaps(element, layout) {
  for (const [from, to, count] of layout.run.left_out) {
    if (from > layout.view.to || to < layout.view.from) continue;
    const x1 = Math.max(GUTTER, layout.x(from)), x2 = Math.min(GUTTER + layout.plot, layout.x(to));
    element.append(svg("rect", { class: "left-out", x: x1, y: 0, width: Math.max(2, x2 - x1), height: layout.height },
      svg("title", null, `${count.toLocaleString("en-US")} events are left out here`)));
  }
}

function drawLife(element, layout) {
  const { run, view, x, y, plot } = layout;
  const right = GUTTER + plot;
  const clipped = (at) => Math.max(GUTTER, Math.min(right, x(at)));
  for (const node of layout.nodes) {
    const middle = y(node);
    element.append(svg("line", { class: "down", x1: GUTTER, x2: right, y1: middle, y2: middle }));
    element.append(svg("text", { class: "name", x: GUTTER - 10, y: middle + 4, "text-anchor": "end" }, shorter(run.nodes[node], 10)));
    for (const [begin, end] of run.runs[node]) {
      if (begin > view.to || end < view.from) continue;
      element.append(svg("line", { class: "life", x1: clipped(begin), x2: clipped(end), y1: middle, y2: middle }));
      if (end < run.end && end <= view.to) element.append(cross(x(end), middle, 5, "death"));
      if (begin > 0 && begin >= view.from) element.append(svg("circle", { class: "birth", cx: x(begin), cy: middle, r: 4 }));
    }
  }
}

function cross(x, y, r, kind) {
  return svg("path", { class: kind, d: `M${x - r} ${y - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}` });
}

function drawHandlers(element, layout, runs, shapes, areNamed) {
  const { run, view, x, y, lane, plot } = layout;
  const height = Math.max(5, Math.min(12, lane / 5));
  const paths = new Map(), names = [];
  for (const [begin, end, node, name, id, level, row] of runs) {
    const middle = y(node);
    if (middle === null || begin > view.to || (end ?? run.end) < view.from) continue;
    const x1 = Math.max(GUTTER, x(begin)), x2 = Math.min(GUTTER + plot, Math.max(x1 + 2, x(end ?? run.end)));
    const top = middle - height / 2 + [0, 1, -1][level % 3] * (height + 1);
    push(paths, end === null ? "handler unended" : "handler", `M${x1.toFixed(1)} ${top.toFixed(1)}H${x2.toFixed(1)}v${height.toFixed(1)}H${x1.toFixed(1)}z`);
    const room = Math.floor((x2 - x1 - 6) / CHARACTER);
    if (areNamed && height >= 9 && room > 4) names.push(svg("text", { class: "handler-name", x: x1 + 3, y: top + height - 2.5 }, shorter(run.names[name].split("/").slice(1).join("/"), room)));
    shapes.push({ x1, y1: top + height / 2, x2, y2: top + height / 2, row, bonus: height / 2 });
  }
  for (const [kind, parts] of paths) element.append(svg("path", { class: kind, d: parts.join("") }));
  element.append(...names);
}

function drawArrows(element, layout, messages, shapes) {
  const lines = new Map(), heads = new Map(), lost = [];
  const stub = (layout.view.to - layout.view.from) / 60;
  for (const message of messages) {
    const y1 = layout.y(message[SOURCE]) ?? -10, y2 = layout.y(message[TARGET]) ?? layout.height + 10;
    const end = endOf(message, stub);
    const has = message[ARRIVES] >= 0;
    const x1 = layout.x(message[SENT]), x2 = layout.x(end);
    const y = has ? y2 : y1 + (y2 - y1) * 0.45;
    const family = familyOf(message, layout.run);
    const isThrough = message[SENT] < layout.view.from && end > layout.view.to;
    push(lines, isThrough ? `${family} through` : family, `M${x1.toFixed(1)} ${y1}L${x2.toFixed(1)} ${y.toFixed(1)}`);
    if (has) push(heads, family, head(x1, y1, x2, y2));
    if (message[DROPS] >= 0 || !has) {
      const at = has ? [layout.x(message[SENT] + message[DROPS]), y1 + 9 * Math.sign(y2 - y1)] : [x2, y];
      if (message[DROPS] >= 0) lost.push(`M${at[0] - 3.5} ${at[1] - 3.5}l7 7m0-7l-7 7`);
      else lost.push(`M${at[0] - 3} ${at[1]}a3 3 0 1 0 6 0a3 3 0 1 0-6 0`);
    }
    shapes.push({ x1, y1, x2, y2: y, row: message });
  }
  const clip = svg("g", { "clip-path": "url(#plot)" });
  for (const [family, parts] of lines) clip.append(svg("path", { class: `arrow ${family}`, d: parts.join("") }));
  for (const [family, parts] of heads) clip.append(svg("path", { class: `head ${family}`, d: parts.join("") }));
  if (lost.length) clip.append(svg("path", { class: "lost", d: lost.join("") }));
  element.append(clip);
}

function push(map, key, value) {
  if (map.has(key)) map.get(key).push(value);
  else map.set(key, [value]);
}

function head(x1, y1, x2, y2) {
  const far = Math.hypot(x2 - x1, y2 - y1) || 1;
  const [ux, uy] = [((x2 - x1) / far) * HEAD, ((y2 - y1) / far) * HEAD];
  const point = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  return `M${point(x2, y2)}L${point(x2 - 1.5 * ux + 0.6 * uy, y2 - 1.5 * uy - 0.6 * ux)}L${point(x2 - 1.5 * ux - 0.6 * uy, y2 - 1.5 * uy + 0.6 * ux)}z`;
}

function drawDensity(element, layout, messages) {
  const bins = Math.max(1, Math.floor(layout.plot / BIN));
  const { sent, dropped, most } = density(messages, layout.view, layout.run.nodes.length, bins);
  const high = 0.42 * layout.lane, wide = layout.plot / bins;
  for (const node of layout.nodes) {
    const middle = layout.y(node);
    const bars = (counts, sign) => counts.map((count, bin) => (count ? `M${(GUTTER + bin * wide).toFixed(1)} ${middle}v${(-sign * Math.max(1, (high * count) / most)).toFixed(1)}h${wide.toFixed(1)}V${middle}z` : "")).join("");
    element.append(svg("path", { class: "density", d: bars(sent[node], 1) }));
    element.append(svg("path", { class: "density dropped", d: bars(dropped[node], -1) }));
  }
}

const MARKS = {
  state: (x, y) => `M${x} ${y - 5}l5 5l-5 5l-5-5z`,
  rumor: (x, y) => `M${x - 3} ${y}a3 3 0 1 0 6 0a3 3 0 1 0-6 0`,
  note: (x, y) => `M${x - 4} ${y - 4}h8v8h-8z`,
  call: (x, y) => `M${x - 1} ${y - 7}l6 3.5l-6 3.5z`,
  answer: (x, y) => `M${x + 1} ${y}l-6 3.5l6 3.5z`,
  cancel: (x, y) => `M${x - 4} ${y - 7}l7 7m0-7l-7 7`,
};

function drawMarks(element, layout, events, shapes) {
  const paths = new Map();
  for (const event of events) {
    const x = layout.x(event[AT]), y = layout.y(event[NODE]);
    if (y === null || !Object.hasOwn(MARKS, event[EVENT])) continue;
    const group = groupOf(event, layout.run) === "membership" ? " internal" : "";
    push(paths, `mark ${event[EVENT]}${group}`, MARKS[event[EVENT]](Number(x.toFixed(1)), y));
    shapes.push({ x1: x, y1: y, x2: x, y2: y, row: event, bonus: 4 });
  }
  for (const [kind, parts] of paths) element.append(svg("path", { class: kind, d: parts.join("") }));
}

/** Draw the chosen row above all others, where it is drawn. */
export function drawChosen(element, shapes, row) {
  clear(element);
  const shape = shapes.find((one) => one.row === row);
  if (!shape) return;
  element.append(svg("line", { class: "chosen", x1: shape.x1, y1: shape.y1, x2: shape.x2, y2: shape.y2 }));
  element.append(svg("circle", { class: "chosen", cx: shape.x2, cy: shape.y2, r: 8 }));
}

// ------------------------------------------------------------------------------------------------------- overview

/** Draw the whole run in one strip: messages per time, faults, marked moments, and the part in sight. */
export function drawOverview(element, layout, messages, flags, window) {
  clear(element);
  const height = 40, bins = Math.max(1, Math.floor(layout.plot / 3));
  const { sent } = density(messages, layout.view, layout.run.nodes.length, bins);
  const sums = Array.from({ length: bins }, (_, bin) => sent.reduce((sum, counts) => sum + counts[bin], 0));
  const most = Math.max(1, ...sums), wide = layout.plot / bins;
  for (const fault of layout.run.faults) {
    const x1 = layout.x(fault.begin), x2 = Math.min(GUTTER + layout.plot, layout.x(fault.end));
    element.append(svg("rect", { class: "shade", x: x1, y: 0, width: Math.max(1, x2 - x1), height }));
  }
  drawGaps(element, { ...layout, height });
  const bars = sums.map((sum, bin) => (sum ? `M${(GUTTER + bin * wide).toFixed(1)} ${height}v${(-Math.max(1, (height - 6) * Math.sqrt(sum / most))).toFixed(1)}h${wide.toFixed(1)}V${height}z` : ""));
  element.append(svg("path", { class: "density", d: bars.join("") }));
  for (const flag of flags) element.append(svg("line", { class: `moment ${flag.kind}`, x1: layout.x(flag.at), x2: layout.x(flag.at), y1: 0, y2: height }));
  const x1 = layout.x(window.from), x2 = Math.max(x1 + 4, layout.x(window.to));
  element.append(svg("rect", { class: "window", x: x1, y: 0.5, width: x2 - x1, height: height - 1 }));
  element.append(svg("text", { class: "name", x: GUTTER - 10, y: height / 2 + 4, "text-anchor": "end" }, "all"));
  return span(layout.run.end);
}
