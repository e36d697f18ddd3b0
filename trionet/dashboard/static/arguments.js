// From what a person writes in the fields of a form to the arguments of a call, and back to the field that is wrong.

/** What a field of a type asks for, in a few words. */
export const HINTS = {
  int: "a whole number",
  float: "a number",
  bool: "true or false",
  str: "a text",
  bytes: "bytes",
  datetime: "a time: 2026-11-20T12:00:00+00:00",
  uuid: "a UUID",
  list: "a JSON list",
  dict: "a JSON object",
  json: "JSON",
  choice: "one of these",
};

const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;
const TIME = /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?$/;

export class FieldError extends Error {}

/** Parse what is written for a parameter. Throws FieldError with a text for the person. */
export function parsed(parameter, text, mode) {
  if (parameter.kind === "rest") return listOf(text);
  if (parameter.kind === "named") return objectOf(text);
  switch (parameter.type) {
    case "int":
      return integer(text);
    case "float":
      return number(text);
    case "bool":
      return text === "true";
    case "str":
      return text;
    case "bytes":
      return { $bytes: base64Of(text, mode) };
    case "datetime":
      return time(text);
    case "uuid":
      if (!UUID.test(text.trim())) throw new FieldError("a UUID has 32 hex digits");
      return { $uuid: text.trim().replaceAll("-", "").toLowerCase() };
    case "list":
      return listOf(text);
    case "dict":
      return objectOf(text);
    case "choice":
      return (parameter.choices ?? []).find((one) => String(one) === text) ?? text;
    default:
      return json(text);
  }
}

/**
 * Make the arguments of a call.
 *
 * Args:
 *   parameters: as the node describes them; undefined for a method without a signature.
 *   fields: by name {given, isNull, text, mode}; "given" is false where the default is meant.
 *
 * Returns {args, kwargs, errors}; errors has a text by the name of the field.
 */
export function argumentsOf(parameters, fields) {
  const args = [];
  const kwargs = {};
  const errors = {};
  let isByPlace = true;
  let skipped = "";
  for (const parameter of parameters) {
    const field = fields[parameter.name] ?? {};
    const byPlace = parameter.kind === "positional" || parameter.kind === "either";
    if (!field.given) {
      if (parameter.kind === "rest" || parameter.kind === "named") continue;
      if (!hasDefault(parameter)) errors[parameter.name] = "this is needed";
      if (byPlace) {
        isByPlace = false;
        skipped ||= parameter.name;
      }
      continue;
    }
    let value;
    try {
      value = field.isNull ? null : parsed(parameter, field.text ?? "", field.mode);
    } catch (error) {
      if (!(error instanceof FieldError)) throw error;
      errors[parameter.name] = error.message;
      continue;
    }
    if (parameter.kind === "rest") {
      if (value.length && !isByPlace) errors[parameter.name] = `give ${skipped}, too: it comes before`;
      args.push(...value);
    } else if (parameter.kind === "named") {
      Object.assign(kwargs, value);
    } else if (parameter.kind === "keyword" || (parameter.kind === "either" && !isByPlace)) {
      kwargs[parameter.name] = value;
    } else if (!isByPlace) {
      errors[parameter.name] = `give ${skipped}, too: it comes before`;
    } else {
      args.push(value);
    }
  }
  return { args, kwargs, errors };
}

/** Whether a parameter may be left out. */
export function hasDefault(parameter) {
  return parameter.kind === "rest" || parameter.kind === "named" || "default" in parameter || "shown_default" in parameter;
}

/** Whether a field with this text stands for the default: an emptied one does, unless to be empty is a value of its own. */
export function isLeftOut(parameter, text) {
  const isWord = parameter.type === "str" || parameter.type === "bytes";
  const isMany = parameter.kind === "rest" || parameter.kind === "named";
  return hasDefault(parameter) && text.trim() === "" && (isMany || !isWord);
}

/** The default of a parameter in words, or "". */
export function defaultOf(parameter) {
  if ("shown_default" in parameter) return parameter.shown_default;
  return { null: "none" }[parameter.default] ?? parameter.default ?? "";
}

/** The name of the parameter that an error of the node is about, or "". */
export function fieldOf(error) {
  if (error?.name !== "MalformedRequest" && error?.name !== "DecodeError") return "";
  return /\bargument '([^']{1,200})'/.exec(error.text ?? "")?.[1] ?? "";
}

/** What the node says is wrong with an argument, without the argument's name before it. */
export function fieldText(error) {
  return (error.text ?? "").replace(/^.*?argument '[^']*' of .*?\): /s, "").replace(/^.*?argument '[^']*' of .*? -> .*?: /s, "") || error.text;
}

function integer(text) {
  const plain = text.trim().replaceAll("_", "");
  if (!/^[+-]?(\d+|0x[0-9a-f]+)$/i.test(plain)) throw new FieldError("a whole number is needed, as 42");
  const digits = plain.replace(/^[+-]/, "");
  const value = plain.startsWith("-") ? -BigInt(digits) : BigInt(digits);
  if (value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  return { $int: `${value < 0n ? "-" : ""}0x${(value < 0n ? -value : value).toString(16)}` };
}

function number(text) {
  const plain = text.trim().toLowerCase();
  const special = { nan: "nan", inf: "inf", "+inf": "inf", "-inf": "-inf", infinity: "inf", "-infinity": "-inf" }[plain];
  if (special) return { $float: special };
  const value = Number(plain);
  if (plain === "" || !Number.isFinite(value)) throw new FieldError("a number is needed, as 1.5");
  return value;
}

function time(text) {
  const plain = text.trim();
  if (!TIME.test(plain) || Number.isNaN(Date.parse(plain.replace(" ", "T")))) throw new FieldError("a time is needed, as 2026-11-20T12:00:00+00:00");
  return { $datetime: plain.replace(" ", "T").replace(/Z$/, "+00:00") };
}

function json(text) {
  try {
    return JSON.parse(text);
  } catch {
    const isWord = /^[^"[{]/.test(text.trim());
    throw new FieldError(text.trim() === "" ? "JSON is needed" : isWord ? `this is no JSON: a text is in quotes, ${JSON.stringify(text.trim().slice(0, 40))}` : "this is no JSON");
  }
}

function listOf(text) {
  const value = json(text.trim() === "" ? "[]" : text);
  if (!Array.isArray(value)) throw new FieldError("a JSON list is needed, as [1, 2]");
  return value;
}

function objectOf(text) {
  const value = json(text.trim() === "" ? "{}" : text);
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new FieldError('a JSON object is needed, as {"name": 1}');
  return value;
}

function base64Of(text, mode) {
  if (mode === "base64") {
    const plain = text.replace(/\s/g, "");
    if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(plain)) throw new FieldError("this is no base64");
    return plain;
  }
  if (mode === "hex") {
    const plain = text.replace(/[\s:]/g, "");
    if (!/^([0-9a-f]{2})*$/i.test(plain)) throw new FieldError("hex digits come in pairs, as 00ff");
    return encoded((plain.match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16)));
  }
  return encoded(new TextEncoder().encode(text));
}

function encoded(raw) {
  let binary = "";
  for (const byte of raw) binary += String.fromCharCode(byte);
  return btoa(binary);
}
