// What the page makes of the members: who sees whom how, rows for the table, filters and orders. Pure.

import { cut } from "./format.js";

export const ADDRESS_LENGTH = 60;
const STATE_LENGTH = 24;
const GONE = new Set(["failed", "left"]);
export const STATES = ["alive", "suspect", "failed", "joining", "left"];
const GRAVITY = ["failed", "suspect", "joining", "alive", "left"];

/**
 * Who sees whom otherwise than the serving node does.
 *
 * Returns {asked, of(sid)}; of(sid) is {own, others: Map(state -> viewers)} where `others` leaves out the member itself.
 */
export function opinionsOf(cluster) {
  const others = new Map();
  const viewers = Object.keys(cluster.views ?? {}).filter((sid) => sid !== cluster.self);
  for (const viewer of viewers) {
    for (const [subject, seen] of Object.entries(cluster.views[viewer] ?? {})) {
      if (subject === viewer) continue;
      const state = cut(seen, STATE_LENGTH);
      const byState = others.get(subject) ?? new Map();
      others.set(subject, byState);
      byState.set(state, [...(byState.get(state) ?? []), viewer]);
    }
  }
  const none = new Map();
  return {
    asked: viewers.length + 1,
    subjects: [...others.keys()],
    of: (sid) => ({ own: cluster.members[sid]?.status ?? "absent", others: others.get(sid) ?? none }),
    viewersOf: (sid, state) => viewersOf(sid, state, cluster, viewers, others.get(sid) ?? none),
  };
}

function viewersOf(sid, state, cluster, viewers, others) {
  const own = cluster.members[sid]?.status ?? "absent";
  if (own !== state) return others.get(state) ?? [];
  const dissenting = new Set([...others.values()].flat());
  return [cluster.self, ...viewers].filter((viewer) => viewer !== sid && !dissenting.has(viewer));
}

/** Who suspects a member: those whose own probes it missed where that is known, and those who see it so where others don't. */
export function suspectersOf(cluster, opinions, sid) {
  const member = cluster.members[sid];
  const probed = member?.status === "suspect" ? member.by : undefined;
  if (!probed?.length) return opinions.viewersOf(sid, "suspect");
  return [...new Set([...probed, ...(opinions.of(sid).others.get("suspect") ?? [])])].filter((viewer) => viewer !== sid);
}

/** The number of members that see `sid` otherwise than the serving node. */
export function dissent(opinions, sid) {
  let sum = 0;
  for (const viewers of opinions.of(sid).others.values()) sum += viewers.length;
  return sum;
}

/**
 * The lines between members: each suspicion, and each failure or absence that not all agree on.
 *
 * Returns [{from, to, state}]. What is agreed and final needs no line.
 */
export function linesOf(cluster, opinions) {
  const lines = [];
  const subjects = new Set(opinions.subjects);
  for (const [sid, member] of Object.entries(cluster.members)) if (member.status === "suspect") subjects.add(sid);
  for (const sid of subjects) {
    const disputed = opinions.of(sid).others.size > 0;
    for (const state of ["suspect", "failed", "absent"]) {
      if (state !== "suspect" && !disputed) continue;
      const viewers = state === "suspect" ? suspectersOf(cluster, opinions, sid) : opinions.viewersOf(sid, state);
      for (const viewer of viewers) lines.push({ from: viewer, to: sid, state });
    }
  }
  return lines;
}

/**
 * What an operator should look at, the gravest first.
 *
 * Returns [{kind: "suspected" | "disputed" | "failed" | "slow", sid, state, viewers, others, since?}; all slow members are one].
 */
export function findingsOf(cluster, opinions, details = {}) {
  const found = [];
  for (const [sid, member] of Object.entries(cluster.members)) {
    const { others } = opinions.of(sid);
    if (member.status === "suspect") found.push({ kind: "suspected", sid, state: "suspect", since: member.since, viewers: suspectersOf(cluster, opinions, sid), others });
    else if (others.size) found.push({ kind: "disputed", sid, state: worst([...others.keys()]), since: member.since, viewers: [], others });
    else if (member.status === "failed") found.push({ kind: "failed", sid, state: "failed", since: member.since, viewers: [], agree: opinions.viewersOf(sid, "failed").length, others });
  }
  const slow = Object.keys(cluster.members).filter((sid) => details[sid]?.health > 0 && cluster.members[sid].status === "alive");
  slow.sort((one, other) => details[other].health - details[one].health || (one < other ? -1 : 1));
  if (slow.length) found.push({ kind: "slow", sid: slow[0], state: "warning", slow, health: details[slow[0]].health, viewers: [], others: new Map() });
  for (const sid of opinions.subjects) {
    if (!Object.hasOwn(cluster.members, sid)) found.push({ kind: "disputed", sid, state: "absent", viewers: [], others: opinions.of(sid).others });
  }
  const order = ["disputed", "suspected", "failed", "slow"];
  return found.sort((one, other) => order.indexOf(one.kind) - order.indexOf(other.kind) || (other.since ?? 0) - (one.since ?? 0) || (one.sid < other.sid ? -1 : 1));
}

function worst(states) {
  return ["absent", ...GRAVITY].find((state) => states.includes(state)) ?? "alive";
}

function statusOf(member) {
  return cut(member.status ?? "unknown", STATE_LENGTH);
}

/** How many members are in each state: {alive: 18, suspect: 1, ...}. */
export function countsOf(members) {
  const counts = Object.fromEntries(STATES.map((state) => [state, 0]));
  for (const member of Object.values(members)) counts[statusOf(member)] = (counts[statusOf(member)] ?? 0) + 1;
  return counts;
}

/** One row per member: its own fields, its details, and the number of those who see it otherwise. */
export function rowsOf(cluster, details = {}, opinions = opinionsOf(cluster)) {
  return Object.entries(cluster.members).map(([sid, member]) => {
    const detail = details[sid] ?? {};
    const gone = GONE.has(member.status);
    const address = cut(member.address ?? "no address", ADDRESS_LENGTH);
    const version = member.version ?? detail.version;
    return { ...detail, ...member, sid, address, status: statusOf(member), version: version && cut(version, 40), differ: dissent(opinions, sid), gone };
  });
}

/** The texts of a member's tags: "zone=eu-1", each cut. */
export function tagTexts(tags) {
  return Object.entries(tags ?? {}).map(([name, value]) => cut(value === true || value === "" ? name : `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`, 120));
}

/** Whether a row has all words of the filter somewhere in its SID, address, state, version or tags; "-word" excludes. */
export function matches(row, words) {
  const text = [row.sid, row.address, row.status, row.version ?? "", ...tagTexts(row.tags)].join("\n").toLowerCase();
  return words.every((word) => (word.length > 1 && word.startsWith("-") ? !text.includes(word.slice(1)) : text.includes(word)));
}

export function wordsOf(filter) {
  return String(filter ?? "").toLowerCase().split(/\s+/).filter(Boolean);
}

const natural = new Intl.Collator("en", { numeric: true });
const VALUES = {
  status: (row) => GRAVITY.indexOf(row.status),
  since: (row) => (typeof row.since === "number" ? -row.since : undefined),
};

/** Compare two values of a column; what is missing comes last in either direction. */
function compared(one, other, descending) {
  const missing = (one === undefined || one === null) - (other === undefined || other === null);
  if (missing || one === undefined || one === null) return missing;
  const order = typeof one === "number" && typeof other === "number" ? one - other : natural.compare(String(one), String(other));
  return descending ? -order : order;
}

const GONE_WORDS = { failed: "has failed", left: "has left" };

/** What has become of a member that nobody can ask any more, in words; "" of all others. */
export function goneWords(member) {
  return GONE_WORDS[member?.status] ?? "";
}

/** Sort rows by a column; equal ones by address, so that the order is steady. */
export function sorted(rows, column, descending = false) {
  const value = VALUES[column] ?? ((row) => row[column]);
  return rows
    .map((row) => [value(row), row])
    .sort(([one, oneRow], [other, otherRow]) => compared(one, other, descending) || natural.compare(oneRow.address ?? "", otherRow.address ?? "") || (oneRow.sid < otherRow.sid ? -1 : 1))
    .map(([, row]) => row);
}

/** The page with number `index` (from 0) of rows: {rows, index, pages, first, last}; an index out of range is moved into it. */
export function pageOf(rows, size, index) {
  const pages = Math.max(1, Math.ceil(rows.length / size));
  const at = Math.min(Math.max(0, index), pages - 1);
  const shown = rows.slice(at * size, (at + 1) * size);
  return { rows: shown, index: at, pages, first: shown.length ? at * size + 1 : 0, last: at * size + shown.length };
}

/** Short labels that still tell the addresses apart: ":8081" on one host, "10.0.0.8" with one port. */
export function labelsOf(addresses) {
  const parts = addresses.map((address) => /^(.*):(\d+)$/.exec(address ?? "") ?? [address, address ?? "", ""]);
  const hosts = new Set(parts.map(([, host]) => host));
  const ports = new Set(parts.map(([, , port]) => port));
  return parts.map(([whole, host, port]) => {
    if (addresses.length === 1) return whole ?? "";
    if (hosts.size === 1 && port) return `:${port}`;
    return ports.size === 1 ? host : (whole ?? "");
  });
}
