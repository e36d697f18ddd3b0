// The states of members and calls: a shape and a word each, and a colour beside them, never the colour alone.

import { h, setAttr, setText, svg } from "./dom.js";
import { cut } from "./format.js";

const WORD_LENGTH = 60;

const SHAPES = {
  alive: "disc",
  ok: "disc",
  done: "disc",
  running: "disc",
  suspect: "triangle",
  warning: "triangle",
  orphan: "triangle",
  failed: "cross",
  error: "cross",
  cancelled: "cross",
  left: "ring",
  joining: "dotted",
  waiting: "dotted",
  absent: "gap",
  refuted: "check",
};

/** The shape of a state: "disc", "triangle", "cross", "ring", "dotted", "gap", "check". */
export function shapeOf(state) {
  return SHAPES[state] ?? "ring";
}

const PATHS = {
  disc: "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0Z",
  triangle: "M0-5.4L5.6 4.4H-5.6Z",
  cross: "M-4-4L4 4M4-4L-4 4",
  ring: "M-3.9 0a3.9 3.9 0 1 0 7.8 0a3.9 3.9 0 1 0-7.8 0Z",
  dotted: "M-3.9 0a3.9 3.9 0 1 0 7.8 0a3.9 3.9 0 1 0-7.8 0Z",
  gap: "M-4.5 0H4.5",
  check: "M-4 0.4L-1.2 3.4L4.4-3.4",
};

/** The glyph of a state, centred on (0, 0), 11 units wide, as an SVG path. */
export function glyph(state) {
  return setGlyph(svg("path", {}), state);
}

export function setGlyph(path, state) {
  setAttr(path, "d", PATHS[shapeOf(state)]);
  setAttr(path, "class", `glyph glyph-${shapeOf(state)}`);
  setAttr(path, "data-state", state);
  return path;
}

/** A state as a glyph and its word. */
export function stateBadge(state, word = state) {
  const badge = h(
    "span",
    { class: "state", "data-state": state },
    svg("svg", { viewBox: "-7 -7 14 14", class: "state-glyph", "aria-hidden": "true" }, glyph(state)),
    h("span", { class: "state-word" }, cut(word, WORD_LENGTH)),
  );
  return badge;
}

export function setState(badge, state, word = state) {
  setAttr(badge, "data-state", state);
  setGlyph(badge.querySelector("path"), state);
  setText(badge.querySelector(".state-word"), cut(word, WORD_LENGTH));
  return badge;
}
