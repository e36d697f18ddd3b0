// What a page wants of the node's stream: {topics, of?, node?, rumor?}. Sums of wants, and what serves them. Pure.

// What each topic depends on besides its name. All others are the same for every page.
const PARAMETERS = { details: ["of"], node: ["node"], methods: ["node"], services: ["node"], rumor: ["rumor"] };
const EXACT = new Set(["services"]); // without a parameter they are about the serving node, not about all
const SINGLE = ["node", "rumor"];
export const OF_LIMIT = 64;

/** The sum of several wants: all topics, all SIDs up to the limit, and the first of what can be only one. */
export function combined(wants) {
  const topics = new Set();
  const of = new Set();
  const sum = {};
  for (const want of wants) {
    for (const topic of want?.topics ?? []) topics.add(topic);
    for (const sid of want?.of ?? []) if (of.size < OF_LIMIT) of.add(sid);
    for (const name of SINGLE) if (want?.[name]) sum[name] ??= want[name];
  }
  return { ...sum, topics: [...topics].sort(), of: [...of].sort() };
}

const SID = /^[0-9a-f]{10}$/;
const RUMOR = /^(?=.{1,300}$)[^:]+:/s;

/** A want without the names that no node could have: the address of a page may be cut or mistyped, and a stream refuses them. */
export function wellFormed(want) {
  if (!want) return want;
  const { of, node, rumor, ...rest } = want;
  if (of) rest.of = of.filter((sid) => SID.test(sid));
  if (SID.test(node ?? "")) rest.node = node;
  if (RUMOR.test(rumor ?? "")) rest.rumor = rumor;
  return rest;
}

/** Whether a stream of `given` serves the topic as `want` needs it. */
export function covers(given, want, topic) {
  if (!given?.topics?.includes(topic)) return false;
  return (PARAMETERS[topic] ?? []).every((name) => {
    if (name === "of") return (want.of ?? []).every((sid) => given.of?.includes(sid));
    return (!want[name] && !EXACT.has(topic)) || given[name] === want[name];
  });
}

/** What of `want` a stream of `given` does not serve, as a want of its own; null if nothing is left. */
export function uncovered(given, want) {
  const topics = (want?.topics ?? []).filter((topic) => !covers(given, want, topic));
  return topics.length ? { ...want, topics } : null;
}

/**
 * A want in two: [the same for every page, what depends on where the reader looks]; null for an empty half.
 *
 * A reader who scrolls changes the second alone, so the first, which may be large, is not sent again.
 */
export function halves(want) {
  const steady = [];
  const looked = [];
  for (const topic of want?.topics ?? []) (topic in PARAMETERS ? looked : steady).push(topic);
  return [steady.length ? { topics: steady } : null, looked.length ? { ...want, topics: looked } : null];
}
