// Events of the membership: their words, their lanes, and the time that a picture of them shows. Pure.

import { cut } from "./format.js";

export const WORDS = { joined: "joined", suspect: "suspected", refuted: "refuted", failed: "failed", left: "left" };
export const LANES = ["joined", "suspect", "refuted", "failed", "left"];

const STATES = { joined: "alive", suspect: "suspect", refuted: "refuted", failed: "failed", left: "left" };
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400];
const LEAST_S = 60;
const FAR_S = 3e8;

/** The state whose glyph stands for an event. */
export function stateOfNews(kind) {
  return STATES[kind] ?? "left";
}

/** An event in words: "10.0.0.8:8080 suspected by 10.0.0.3:8080". */
export function worded(one, label) {
  return `${cut(one.address ?? label(one.sid), 60)} ${WORDS[one.kind] ?? cut(one.kind, 20)}${one.by ? ` by ${label(one.by)}` : ""}`;
}

/** The events by time, each with its number; those without a time of the last years are left out. A clock that is ahead makes none later than now. */
export function inOrder(news, now) {
  return Object.entries(news)
    .filter(([, one]) => typeof one.time === "number" && Math.abs(now - one.time) < FAR_S)
    .map(([number, one]) => ({ ...one, number, time: Math.min(one.time, now) }))
    .sort((one, other) => one.time - other.time || Number(one.number) - Number(other.number));
}

/** The span to show, in Unix seconds: the last `span` seconds, or for 0 all events. At least a minute. */
export function spanOf(events, now, span) {
  const earliest = events.length ? Math.min(...events.map((one) => one.time)) : now;
  const length = span || Math.max(LEAST_S, (now - earliest) * 1.03);
  return { from: now - length, to: now };
}

/** At most `most` round times between two. */
export function ticksOf(from, to, most) {
  const step = STEPS.find((one) => (to - from) / one <= most) ?? Math.ceil((to - from) / most / 86_400) * 86_400;
  const ticks = [];
  for (let tick = Math.ceil(from / step) * step; tick <= to; tick += step) ticks.push(tick);
  return ticks;
}
