// The geometry of a ring of members. Pure: angles in radians, clockwise from the top.

export const RADIUS = 200;
export const BAR_START = RADIUS - 16;
const BAR_LENGTH = 92;
const LEAST_MS = 0.1;
const DECADES = 4;

/** The place of member `index` of `count`: {angle, x, y}. */
export function placeOf(index, count, radius = RADIUS) {
  const angle = (2 * Math.PI * index) / count;
  return { angle, x: round(radius * Math.sin(angle)), y: round(-radius * Math.cos(angle)) };
}

/** The point at a distance from the centre in the direction of an angle. */
export function pointAt(angle, distance) {
  return { x: round(distance * Math.sin(angle)), y: round(-distance * Math.cos(angle)) };
}

/** The length of the bar of a time in ms: logarithmic from 0.1 ms to 1 s. */
export function barOf(milliseconds) {
  if (!(milliseconds >= 0)) return 0;
  const share = Math.log10(Math.max(milliseconds, LEAST_MS) / LEAST_MS) / DECADES;
  return round(Math.max(2, Math.min(1, share) * BAR_LENGTH));
}

/** A curve from one place to another that bends towards the centre and ends before the glyph. */
export function chordOf(from, to, gap = 11) {
  const near = 1 - Math.hypot(to.x - from.x, to.y - from.y) / (2 * RADIUS);
  const pull = 0.42 + 0.36 * Math.max(0, near);
  const control = { x: ((from.x + to.x) / 2) * pull, y: ((from.y + to.y) / 2) * pull };
  const start = towards(from, control, gap);
  const end = towards(to, control, gap + 3);
  return `M${start.x} ${start.y}Q${round(control.x)} ${round(control.y)} ${end.x} ${end.y}`;
}

function towards(from, to, distance) {
  const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  return { x: round(from.x + ((to.x - from.x) / length) * distance), y: round(from.y + ((to.y - from.y) / length) * distance) };
}

/** How a label stands at its place: beside the glyph, or along the radius where there are many. */
export function labelAt(angle, count, distance = RADIUS + 15) {
  const { x, y } = pointAt(angle, distance);
  const right = Math.sin(angle) > -1e-9;
  if (count <= 24) {
    const middle = Math.abs(Math.sin(angle)) < 0.05;
    const shift = Math.cos(angle) > 0 ? -2 : 10;
    return { x, y: round(middle ? y + shift : y + 4), anchor: middle ? "middle" : right ? "start" : "end", turn: 0 };
  }
  const degrees = (angle * 180) / Math.PI - 90;
  return { x, y, anchor: right ? "start" : "end", turn: round(right ? degrees : degrees + 180) };
}

function round(value) {
  return Math.round(value * 100) / 100;
}
