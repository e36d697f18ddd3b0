// Numbers and times as short texts of steady width. Every function accepts a missing value, and shows "–" for it.

export const MISSING = "–";

const LONGEST_S = 1e10; // 300 years: no duration, but a clock that was not set
const known = (value) => typeof value === "number" && Number.isFinite(value);

/** The first characters of a SID, as the command line shows them. */
export function short(sid) {
  return String(sid ?? MISSING).slice(0, 10);
}

/** A text of at most `length` characters; a longer one ends in "…". */
export function cut(text, length = 80) {
  const whole = String(text ?? "");
  return whole.length <= length ? whole : `${whole.slice(0, length - 1)}…`;
}

/** Milliseconds: 0.08 ms, 1.2 ms, 34 ms, 1.2 s. */
export function ms(value) {
  if (!known(value)) return MISSING;
  if (value >= 10_000) return seconds(value / 1000);
  if (value >= 1000) return `${(value / 1000).toFixed(1)} s`;
  if (value >= 10) return `${Math.round(value)} ms`;
  return `${value >= 0.995 ? value.toFixed(1) : value.toFixed(2)} ms`;
}

/** A duration in seconds by its two greatest units: 12 s, 3 min 5 s, 2 h 10 min, 4 d 3 h. */
export function seconds(value) {
  if (!known(value) || value > LONGEST_S) return MISSING;
  const whole = Math.max(0, Math.floor(value));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return pair(Math.floor(whole / 60), "min", whole % 60, "s");
  if (whole < 86_400) return pair(Math.floor(whole / 3600), "h", Math.floor((whole % 3600) / 60), "min");
  return pair(Math.floor(whole / 86_400), "d", Math.floor((whole % 86_400) / 3600), "h");
}

function pair(large, unit, small, smallUnit) {
  return small ? `${large} ${unit} ${small} ${smallUnit}` : `${large} ${unit}`;
}

/** The greatest unit of a duration alone: 12 s, 3 min, 2 h, 4 d. */
export function age(value) {
  if (!known(value)) return MISSING;
  return seconds(value).split(" ").slice(0, 2).join(" ");
}

/** Bytes by powers of 1,000: 820 B, 1.2 MB. */
export function bytes(value) {
  if (!known(value)) return MISSING;
  let rest = value;
  for (const unit of ["B", "kB", "MB", "GB", "TB"]) {
    if (Math.abs(rest) < 1000 || unit === "TB") return `${unit === "B" || rest >= 100 ? Math.round(rest) : rest.toFixed(1)} ${unit}`;
    rest /= 1000;
  }
  return MISSING;
}

/** A number with separators: 1,000. */
export function count(value) {
  return known(value) ? Math.round(value).toLocaleString("en-US") : MISSING;
}

/** A rate per second: 0, 0.4, 12, 3,400. */
export function rate(value) {
  if (!known(value)) return MISSING;
  if (value === 0) return "0";
  return value < 10 ? value.toFixed(1) : count(value);
}

/** The time of day of a Unix time: 14:03:09, by the reader's clock. */
export function clock(unix) {
  if (!known(unix)) return MISSING;
  const at = new Date(unix * 1000);
  return Number.isNaN(at.getTime()) ? MISSING : [at.getHours(), at.getMinutes(), at.getSeconds()].map(twoDigits).join(":");
}

function twoDigits(value) {
  return String(value).padStart(2, "0");
}

/** One or many: plural(1, "member") is "1 member", plural(1000, "member") "1,000 members". */
export function plural(value, word, many = `${word}s`) {
  return `${count(value)} ${value === 1 ? word : many}`;
}
