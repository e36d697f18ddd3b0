// Where a rumor's path is drawn: a row a member, in the order of a tree; time to the right, by its logarithm.

const TICKS_MS = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 600_000];
const TICK_GAP = 44;

/**
 * The members that have a rumor as a tree by who gave it to whom, flat: [{sid, ms, way, copies, from, parent, depth}].
 *
 * "parent" is the index of the row that gave it, or -1: the origin, and those whose giver has not told its part. Each
 * row comes after its parent, with all below it directly after it, the earliest first. A circle, which no correct node
 * tells of, is cut.
 */
export function treeOf(members) {
  const all = Object.entries(members).map(([sid, one]) => ({ sid, ...one }));
  all.sort((a, b) => a.ms - b.ms || (a.way === "sent" ? -1 : b.way === "sent" ? 1 : 0) || (a.sid < b.sid ? -1 : 1));
  const children = new Map();
  const roots = [];
  for (const one of all) {
    const giver = one.from;
    if (giver !== undefined && giver !== one.sid && Object.hasOwn(members, giver) && one.way !== "sent") {
      if (!children.has(giver)) children.set(giver, []);
      children.get(giver).push(one);
    } else {
      roots.push(one);
    }
  }
  const rows = [];
  const seen = new Set();
  const visit = (start) => {
    const pending = [[start, -1, 0]];
    while (pending.length) {
      const [one, parent, depth] = pending.pop();
      if (seen.has(one.sid)) continue;
      seen.add(one.sid);
      const index = rows.push({ ...one, parent, depth }) - 1;
      for (const child of [...(children.get(one.sid) ?? [])].reverse()) pending.push([child, index, depth + 1]);
    }
  };
  for (const root of roots) visit(root);
  for (const one of all) if (!seen.has(one.sid)) visit(one);
  return rows;
}

/** A scale from milliseconds to places: scale(ms), with ticks [{ms, x}] that don't touch each other. */
export function timeScale(lastMs, width) {
  const end = Math.max(1, lastMs);
  const scale = (ms) => (Math.log1p(Math.min(Math.max(0, ms), end)) / Math.log1p(end)) * width;
  const ticks = [];
  for (const ms of TICKS_MS) {
    if (ms > end) break;
    const x = scale(ms);
    if (!ticks.length || x - ticks[ticks.length - 1].x >= TICK_GAP) ticks.push({ ms, x });
  }
  return { scale, ticks };
}

/** How many have it over time, as the points of a staircase: [{ms, count}]. */
export function stairsOf(members) {
  const times = Object.values(members).map((one) => one.ms).sort((a, b) => a - b);
  const points = [];
  times.forEach((ms, index) => {
    const last = points[points.length - 1];
    if (last?.ms === ms) last.count = index + 1;
    else points.push({ ms, count: index + 1 });
  });
  return points;
}

/** The path of a staircase. */
export function stairPath(points, { scale, width, height, size }) {
  if (!points.length) return "";
  const y = (count) => height - (count / Math.max(1, size)) * height;
  let path = `M${round(scale(points[0].ms))} ${round(height)}`;
  for (const { ms, count } of points) path += `H${round(scale(ms))}V${round(y(count))}`;
  return `${path}H${round(width)}`;
}

function round(value) {
  return Math.round(value * 10) / 10;
}

/** What is seen, in two lines for one who sees gossip for the first time. */
export function explained(progress) {
  const members = Object.values(progress.members ?? {});
  if (!members.length) {
    return ["Nobody has told yet that it has this rumor.", "A node remembers a rumor for a minute or so: an older one is forgotten, and can't be followed any more."];
  }
  const pushed = members.filter((one) => one.way === "push").length;
  const pulled = members.filter((one) => one.way === "pull").length;
  const origin = Object.entries(progress.members).find(([, one]) => one.way === "sent")?.[0];
  const first = members.filter((one) => one.way === "push" && one.from !== undefined && one.from === origin).length;
  const begin = origin === undefined ? "Its origin is no member of the group." : `The origin pushed it to ${first} of the others first.`;
  return [
    `${begin} Each that hears it first sends it on to a few others, picked at random: ${pushed} got it by such a push.`,
    `Push misses some: ${pulled} saw its id announced, and pulled it. ${progress.duplicates} of ${progress.copies} copies were of no use: the price of needing no plan and no leader.`,
  ];
}
