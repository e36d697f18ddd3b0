// A call as a person would make it elsewhere: with curl, or in Python.

import { requestOf } from "./call.js";
import { streamRequestOf } from "./stream-call.js";

const BUILT_IN = new Set(["comm", "gossip", "groups", "routes", "settings", "status"]);
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const KEYWORDS = new Set("and as assert async await break class continue def del elif else except finally for from global if import in is lambda not or pass raise return try while with yield None True False".split(" "));

/** A call as a command of the shell. Args: root: the node's URL. place(name): where a call to a name goes. isKeyed: whether it needs a token. */
export function asCurl(call, { root, place, isKeyed }) {
  const request = (call.isStream ? streamRequestOf : requestOf)(call.path, call.args, call.kwargs, place);
  const parts = ["curl", call.isStream ? "-N -X PUT" : "-X PUT", quoted(new URL(request.path, root).href)];
  if (isKeyed) parts.push('-H "Authorization: Bearer $TOKEN"');
  parts.push("-d", quoted(JSON.stringify(request.body)));
  return parts.join(" ");
}

/** A call in Python, where `node` is a node of the same cluster. */
export function asPython(call) {
  const { target, service, method } = call;
  const args = call.ownArgs.map(python);
  if (target.kind === "whole") return whole(target.name, service, method, args, call);
  const place = target.kind === "node" ? `node=${python(target.address)}, ` : "";
  const remote = `trionet.Remote(${place}service=${python(service)}, method=${python(method)})`;
  const kwargs = Object.keys(call.ownKwargs).length ? `, kwargs=${python(call.ownKwargs)}` : "";
  const comm = target.kind === "node" ? "node.local.comm" : `node.group(${python(target.name)}).comm`;
  if (!call.isStream) return `await ${comm}.send([${args.join(", ")}], ${remote}${kwargs})`;
  const items = target.kind === "node" ? "" : ", items=True";
  return `async with ${comm}.stream([${args.join(", ")}], ${remote}${kwargs}${items}) as items:\n    async for item in items:\n        print(item)`;
}

function whole(gid, service, method, args, call) {
  const group = `node.group(${python(gid)})`;
  const object = BUILT_IN.has(service) ? `${group}.${service}` : `${group}.service(${python(service)})`;
  const named = Object.entries(call.ownKwargs);
  const byName = named.filter(([name]) => isName(name)).map(([name, value]) => `${name}=${python(value)}`);
  const others = named.filter(([name]) => !isName(name));
  if (others.length) byName.push(`**${python(Object.fromEntries(others))}`);
  if (call.isStream && service === "comm") return `async with ${object}.stream(${[...args, ...byName, "items=True"].join(", ")}) as items:\n    async for item in items:\n        print(item)`;
  const made = `${object}.${isName(method) ? method : `${method}_`}(${[...args, ...byName].join(", ")})`;
  return call.isStream ? `async for item in ${made}:\n    print(item)` : `await ${made}`;
}

function isName(text) {
  return NAME.test(text) && !KEYWORDS.has(text);
}

/** A text for the shell: nothing in it is special. */
export function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A value, as JSON has it, in Python. */
export function python(value) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "number") return String(value);
  if (typeof value === "string") return JSON.stringify(value).replace(/[\u007f-\uffff]/g, escaped);
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  const keys = Object.keys(value);
  if (keys.length === 1 && keys[0].startsWith("$")) {
    const found = special(keys[0], value[keys[0]]);
    if (found !== null) return found;
  }
  return `{${keys.map((key) => `${python(key)}: ${python(value[key])}`).join(", ")}}`;
}

function escaped(char) {
  const code = char.charCodeAt(0);
  return code >= 0xd800 && code <= 0xdfff ? char : code < 0xa0 ? `\\x${code.toString(16).padStart(2, "0")}` : char;
}

function special(kind, inner) {
  switch (kind) {
    case "$bytes":
      return pythonBytes(inner);
    case "$float":
      return `float(${python(inner)})`;
    case "$int":
      return String(inner);
    case "$datetime":
      return `datetime.fromisoformat(${python(inner)})`;
    case "$uuid":
      return `uuid.UUID(${python(inner)})`;
    case "$tuple":
      return `tuple(${python(inner)})`;
    case "$set":
      return `set(${python(inner)})`;
    case "$frozenset":
      return `frozenset(${python(inner)})`;
    case "$address":
      return Array.isArray(inner) ? `trionet.NodeAddress(${python(inner[0])}, ${python(inner[1])})` : null;
    default:
      return null;
  }
}

function pythonBytes(base64) {
  let binary;
  try {
    binary = atob(base64);
  } catch {
    return null;
  }
  let text = "";
  for (const char of binary) {
    const code = char.charCodeAt(0);
    if (char === '"' || char === "\\") text += `\\${char}`;
    else text += code >= 0x20 && code < 0x7f ? char : `\\x${code.toString(16).padStart(2, "0")}`;
  }
  return `b"${text}"`;
}
