// The pure part of a time line: which part of a run is in sight, what is drawn of it, and what is under a pointer.
// Times are whole microseconds. A message is a list: [sent, source, target, kind, arrives, drops, size, number], where
// arrives and drops are the microseconds after it was sent, or -1. An event is [at, kind, node, peer, name, detail].

export const SENT = 0;
export const SOURCE = 1;
export const TARGET = 2;
export const KIND = 3;
export const ARRIVES = 4;
export const DROPS = 5;
export const SIZE = 6;
export const NUMBER = 7;

export const AT = 0;
export const EVENT = 1;
export const NODE = 2;
export const PEER = 3;
export const NAME = 4;
export const DETAIL = 5;

/** The shortest time in sight. */
export const LEAST = 20;

/** The most arrows that are drawn one by one in so many pixels; of more only the number per time is. */
export function mostArrows(pixels) {
  return Math.max(150, Math.round(0.6 * pixels));
}

/** The seconds of a time, with as many digits as a time span of `span` microseconds needs. */
export function seconds(at, span = 0) {
  const digits = span === 0 ? 6 : Math.max(0, Math.min(6, Math.ceil(7 - Math.log10(Math.max(1, span)))));
  return `${(at / 1e6).toFixed(digits)} s`;
}

/** A time span in words: 35 µs, 1.25 ms, 3.2 s. */
export function span(micros) {
  if (micros < 1000) return `${Math.round(micros)} µs`;
  if (micros < 1e6) return `${Number((micros / 1e3).toPrecision(4))} ms`;
  return `${Number((micros / 1e6).toPrecision(4))} s`;
}

/** A part of a run that lies within it and is neither too short nor too long. */
export function within(view, end) {
  const all = Math.max(end, LEAST);
  const length = Math.min(all, Math.max(LEAST, view.to - view.from));
  const from = Math.min(Math.max(0, view.from), all - length);
  return { from, to: from + length };
}

/** The part after zooming by a factor (2: twice as near) around a time that stays in its place. */
export function zoomed(view, factor, around, end) {
  const length = Math.max(LEAST, (view.to - view.from) / factor);
  const share = view.to > view.from ? (around - view.from) / (view.to - view.from) : 0.5;
  return within({ from: around - share * length, to: around + (1 - share) * length }, end);
}

/** The part after moving by a share of its length. */
export function moved(view, share, end) {
  const by = share * (view.to - view.from);
  return within({ from: view.from + by, to: view.to + by }, end);
}

/** The part that shows some times, with room around them. */
export function around(times, end, least = 2000) {
  const known = times.filter((at) => at !== null && at !== undefined);
  if (!known.length) return { from: 0, to: Math.max(end, LEAST) };
  const first = Math.min(...known), last = Math.max(...known);
  const room = Math.max(least, 0.15 * (last - first), end / 100);
  return within({ from: first - room, to: last + room }, end);
}

/** Round times in a part: at most `most` of them. */
export function ticks(view, most) {
  const raw = (view.to - view.from) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(Math.max(1, raw)));
  const step = Math.max(1, [1, 2, 5, 10].find((one) => one * power >= raw) * power);
  const found = [];
  for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) found.push(at);
  return { step, at: found };
}

/** When a message ends, as far as it is drawn: at its arrival, or else its drop, or a little after it was sent. */
export function endOf(message, length) {
  if (message[ARRIVES] >= 0) return message[SENT] + message[ARRIVES];
  if (message[DROPS] >= 0) return message[SENT] + Math.max(message[DROPS], length);
  return message[SENT] + length;
}

/** The messages in sight: those of the shown kinds and nodes that are on their way in the part. */
export function messagesInSight(messages, view, isShown) {
  const stub = (view.to - view.from) / 60;
  return messages.filter((message) => message[SENT] <= view.to && endOf(message, stub) >= view.from && isShown(message));
}

/** The events in sight. */
export function eventsInSight(events, view, isShown) {
  return events.slice(firstFrom(events, view.from), firstFrom(events, view.to + 1)).filter(isShown);
}

/** The place of the first row at a time or later, of rows in the order of their times. */
export function firstFrom(rows, at) {
  let low = 0, high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle][0] < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** How many messages each node sends in each of `bins` equal times; and how many of them are dropped. */
export function density(messages, view, nodes, bins) {
  const sent = Array.from({ length: nodes }, () => new Array(bins).fill(0));
  const dropped = Array.from({ length: nodes }, () => new Array(bins).fill(0));
  const scale = bins / (view.to - view.from);
  let most = 0;
  for (const message of messages) {
    const bin = Math.floor((message[SENT] - view.from) * scale);
    if (bin < 0 || bin >= bins || message[SOURCE] < 0) continue;
    most = Math.max(most, ++sent[message[SOURCE]][bin]);
    if (message[DROPS] >= 0) dropped[message[SOURCE]][bin]++;
  }
  return { sent, dropped, most };
}

/** The handlers' runs: [begin, end or null, node, name, id, level], where those at once on one node have levels. */
export function handlers(events) {
  const open = new Map(), found = [], busy = new Map();
  for (const event of events) {
    if (event[EVENT] !== "begin" && event[EVENT] !== "end") continue;
    const key = `${event[NODE]} ${event[DETAIL]}`;
    if (event[EVENT] === "begin") {
      const levels = busy.get(event[NODE]) ?? busy.set(event[NODE], new Set()).get(event[NODE]);
      let level = 0;
      while (levels.has(level)) level++;
      levels.add(level);
      const run = [event[AT], null, event[NODE], event[NAME], event[DETAIL], level];
      found.push(run);
      open.set(key, run);
    } else if (open.has(key)) {
      const run = open.get(key);
      run[1] = event[AT];
      busy.get(run[2]).delete(run[5]);
      open.delete(key);
    }
  }
  return found;
}

/** The spans in rows, so that those in one row don't overlap; a span is {begin, end}, `room` the least length. */
export function inRows(spans, room, most) {
  const ends = [], rows = [];
  for (const one of spans) {
    let row = ends.findIndex((end) => end <= one.begin);
    if (row < 0) row = ends.length < most ? ends.length : ends.indexOf(Math.min(...ends));
    ends[row] = Math.max(one.end, one.begin + room);
    rows.push(row);
  }
  return { rows, count: ends.length };
}

/** The left ends of labels, in order and moved apart so that they neither overlap nor go beyond `right`. */
export function apart(labels, right, gap) {
  const lefts = [];
  let least = 0;
  for (const { left, wide } of labels) {
    lefts.push(Math.max(least, left));
    least = lefts.at(-1) + wide + gap;
  }
  let most = right;
  for (let place = labels.length - 1; place >= 0; place--) {
    lefts[place] = Math.max(0, Math.min(lefts[place], most - labels[place].wide));
    most = lefts[place] - gap;
  }
  return lefts;
}

/** The distance of a point from a line between two others. */
export function distance(x, y, x1, y1, x2, y2) {
  const dx = x2 - x1, dy = y2 - y1;
  const square = dx * dx + dy * dy;
  const share = square === 0 ? 0 : Math.max(0, Math.min(1, ((x - x1) * dx + (y - y1) * dy) / square));
  return Math.hypot(x - (x1 + share * dx), y - (y1 + share * dy));
}

/** The nearest of the drawn shapes, {x1, y1, x2, y2}, within `reach` pixels; null if there is none. */
export function nearest(shapes, x, y, reach) {
  let found = null, best = reach;
  for (const shape of shapes) {
    const far = distance(x, y, shape.x1, shape.y1, shape.x2, shape.y2) - (shape.bonus ?? 0);
    if (far <= best) [found, best] = [shape, far];
  }
  return found;
}
