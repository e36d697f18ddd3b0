// The node's values as JSON has them, for people: "$" objects are shown as what they stand for.

const MOST_DEPTH = 40;

/** Whether an error may have happened all the same: its code is one of the indefinite ones. */
export function isIndefinite(error) {
  const code = error?.code;
  return code === 0 || code === 13 || (code >= 1100 && code < 1200);
}

const CODES = {
  CallTimeout: 0,
  NodeUnreachable: 1,
  KeyMismatch: 1,
  TemporarilyUnavailable: 11,
  RemoteError: 13,
  ConnectionLost: 1100,
  OrphanedCalls: 1101,
  CallCancelled: 1102,
  UnexpectedAnswer: 1103,
};
const DEFINITE = 12;

/**
 * The error of the call that a node has forwarded, where `error` says that the forwarding has raised it.
 *
 * comm.send answers with a RemoteError, which names the error of its own call: that one tells whether it happened.
 */
export function unwrapped(error) {
  const details = error?.details ?? error ?? {};
  const name = error?.name === "RemoteError" ? /^trionet\.errors\.(\w{1,60})$/.exec(details.type_name ?? "")?.[1] : undefined;
  if (!name) return error;
  const [, text, node] = /^(.*?)(?: \(at ([^()\s]{1,80})\))?$/s.exec(String(details.message ?? error.text));
  const code = Object.hasOwn(CODES, name) ? CODES[name] : DEFINITE;
  const kept = code === CODES.RemoteError ? { traceback: details.traceback } : {};
  return { name, code, text, message: text, details: { node, ...kept } };
}

/** What an error means for the call, in words: whether it happened. */
export function meaningOf(error) {
  if (error?.code === 13) return "it ran, and raised";
  return isIndefinite(error) ? "it may have happened" : "it did not happen";
}

/** Whether a value is an error of a node. */
export function isError(value) {
  return isObject(value) && isObject(value.$error);
}

/** A value as a text of several lines, at most `most` characters. */
export function shown(value, most = 20_000) {
  const text = written(value, "", 0);
  return text.length <= most ? text : `${text.slice(0, most)}…`;
}

/** A value in one line, at most `most` characters. */
export function brief(value, most = 120) {
  const text = shown(value, 4 * most).replace(/\s+/g, " ");
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function written(value, indent, depth) {
  if (depth > MOST_DEPTH) return "…";
  if (Array.isArray(value)) return listed(value, "[", "]", indent, depth);
  if (!isObject(value)) return typeof value === "string" ? JSON.stringify(value) : String(value);
  const keys = Object.keys(value);
  if (keys.length === 1 && keys[0].startsWith("$")) return special(keys[0], value[keys[0]], indent, depth);
  return lines(keys.map((key) => [JSON.stringify(key), value[key]]), "{", "}", indent, depth);
}

function special(kind, inner, indent, depth) {
  switch (kind) {
    case "$address":
      return Array.isArray(inner) ? `${inner[0]}:${inner[1]}` : JSON.stringify(inner);
    case "$bytes":
      return `bytes ${bytesOf(inner)}`;
    case "$int":
      return integerOf(inner);
    case "$float":
    case "$datetime":
    case "$uuid":
      return Array.isArray(inner) ? String(inner[0]) : String(inner);
    case "$tuple":
      return listed(inner, "(", ")", indent, depth);
    case "$set":
    case "$frozenset":
      return listed(inner, "{", "}", indent, depth);
    case "$map":
      return lines((Array.isArray(inner) ? inner : []).map(([key, one]) => [written(key, "", depth + 1), one]), "{", "}", indent, depth);
    case "$type":
      return Array.isArray(inner) ? `${String(inner[0]).split(":").pop()} ${written(inner[1], indent, depth + 1)}` : JSON.stringify(inner);
    case "$error":
      return `${inner?.name ?? "Error"}: ${inner?.text ?? ""}`;
    default:
      return `${kind.slice(1)} ${written(inner, indent, depth + 1)}`;
  }
}

function listed(items, open, close, indent, depth) {
  if (!Array.isArray(items)) return JSON.stringify(items);
  const parts = items.map((item) => written(item, `${indent}  `, depth + 1));
  const line = `${open}${parts.join(", ")}${close}`;
  if (line.length <= 100 && !line.includes("\n")) return line;
  return `${open}\n${parts.map((part) => `${indent}  ${part}`).join(",\n")}\n${indent}${close}`;
}

function lines(pairs, open, close, indent, depth) {
  const parts = pairs.map(([key, one]) => `${key}: ${written(one, `${indent}  `, depth + 1)}`);
  const line = `${open}${parts.join(", ")}${close}`;
  if (line.length <= 100 && !line.includes("\n")) return line;
  return `${open}\n${parts.map((part) => `${indent}  ${part}`).join(",\n")}\n${indent}${close}`;
}

function integerOf(text) {
  try {
    const digits = String(text);
    return digits.startsWith("-") ? (-BigInt(digits.slice(1))).toString() : BigInt(digits).toString();
  } catch {
    return String(text);
  }
}

/** Base64 as a text where it is UTF-8 without control characters, else in hex. */
function bytesOf(base64) {
  try {
    const raw = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    try {
      const text = new TextDecoder("utf-8", { fatal: true }).decode(raw);
      if (!/[\u0000-\u0008\u000e-\u001f\u007f]/.test(text)) return JSON.stringify(text);
    } catch {
      // it is no text
    }
    return [...raw].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  } catch {
    return String(base64);
  }
}
