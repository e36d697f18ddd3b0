// The hash of the page: "#/node/8bc8719554?tab=log" is {panel: "node", segments: ["8bc8719554"], query: {tab: "log"}}.

/** Read a hash. What is malformed is taken as it stands. */
export function routeOf(hash) {
  const [path, search = ""] = String(hash).replace(/^#\/?/, "").split("?", 2);
  const [panel = "", ...segments] = path.split("/").map(decoded);
  return { panel, segments: segments.filter((segment) => segment !== ""), query: Object.fromEntries(new URLSearchParams(search)) };
}

/** Write a hash. */
export function hashOf(panel, segments = [], query = {}) {
  const path = [panel, ...segments].map(encodeURIComponent).join("/");
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "")).toString();
  return `#/${path}${search ? `?${search}` : ""}`;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
