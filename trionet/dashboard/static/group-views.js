// How the nodes see a group, as rows of a matrix: those that agree in one row, each other view in one of its own.

/** The kinds of a cell: the viewer has the member, lacks it, has it in addition, or can't be told. */
export const CELLS = { has: "has it", lacks: "lacks it", extra: "has it, and this node does not", none: "no member here", unknown: "not told" };

/** The differences of a view, in words. */
export function wordsOf(view) {
  if (view.kind === "absent") return "has no such group";
  if (view.kind === "extra") return `has it, with ${view.size} members`;
  const parts = [];
  if (view.lacks) parts.push(`lacks ${view.lacks}`);
  if (view.has) parts.push(`has ${view.has} more`);
  if (view.where !== undefined) parts.push(`another rule: ${view.where}`);
  if (view.subset !== undefined) parts.push(`another subset: ${view.subset}`);
  return parts.length ? parts.join(", ") : "differs";
}

/**
 * The matrix of a group: {columns: [SID], rows: [{sid, cells, text}]}.
 *
 * The columns are the members that this node has, and those that another one has in addition; of a group that is listed
 * in part only those about which the views differ. The first row, whose sid is "", is of all that agree. Both are in the
 * order of what `label` says of a SID.
 */
export function matrixOf(group, label = (sid) => sid) {
  const views = inOrder(group.views, label);
  const listed = inOrder(group.members, label).map(([sid]) => sid);
  const lacked = views.flatMap(([, view]) => view.lacking ?? []);
  const members = new Set([...listed, ...lacked]);
  const extras = [...new Set(views.flatMap(([, view]) => view.having ?? []))].filter((sid) => !members.has(sid)).sort(comparing(label));
  const isWhole = listed.length >= (group.size ?? 0);
  const columns = [...(isWhole ? listed : [...new Set(lacked)].sort(comparing(label))), ...extras];
  const rows = views.map(([sid, view]) => ({ sid, text: wordsOf(view), cells: columns.map((column) => cellOf(view, column, members.has(column))) }));
  if (group.here) rows.unshift({ sid: "", text: "", cells: columns.map((column) => (members.has(column) ? "has" : "none")) });
  return { columns, rows };
}

const natural = new Intl.Collator("en", { numeric: true });

function comparing(label) {
  return (one, other) => natural.compare(label(one), label(other));
}

/** The entries of an object that is keyed by SID, in the order of what `label` says of a SID. */
export function inOrder(bySid, label) {
  const order = comparing(label);
  return Object.entries(bySid ?? {}).sort(([one], [other]) => order(one, other));
}

function cellOf(view, sid, isMember) {
  if (view.kind === "absent") return isMember ? "lacks" : "none";
  if (view.kind === "extra") return "has";
  if (view.lacking?.includes(sid)) return "lacks";
  if (view.having?.includes(sid)) return "extra";
  const isCut = isMember ? (view.lacks ?? 0) > (view.lacking?.length ?? 0) : (view.has ?? 0) > (view.having?.length ?? 0);
  if (isCut) return "unknown";
  return isMember ? "has" : "none";
}

/** How many nodes differ, in words and as a state. */
export function agreementOf(group) {
  const count = Object.keys(group.views ?? {}).length;
  if (!group.here) return { state: "warning", text: `not on this node: on ${count}` };
  if (count) return { state: "warning", text: `${count} ${count === 1 ? "node differs" : "nodes differ"}` };
  return group.same > 1 ? { state: "ok", text: `the same on ${group.same} nodes` } : { state: "waiting", text: "no other has told" };
}
