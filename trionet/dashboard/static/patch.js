// JSON Merge Patch (RFC 7396): null removes a member, an object is merged, anything else replaces.

const DEPTH = 64;

/** Apply a patch to a document, in place where both are objects; return the document. */
export function merged(target, patch, depth = DEPTH) {
  if (!isObject(patch) || depth === 0) return patch;
  const result = isObject(target) ? target : {};
  for (const [key, value] of Object.entries(patch)) {
    if (key === "__proto__") continue;
    if (value === null) delete result[key];
    else result[key] = merged(Object.hasOwn(result, key) ? result[key] : undefined, value, depth - 1);
  }
  return result;
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
