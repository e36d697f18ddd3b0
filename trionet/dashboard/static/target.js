// Where a call goes: one node, each member of a group, or a group as a whole; and what it does there, in words.

import { plural } from "./format.js";

/** trionet's own methods that end or remove something: these ask before they act. */
const DANGEROUS = {
  status: { stop: "stops" },
  membership: { leave: "takes out of its cluster", forget: "forgets a member on" },
  groups: { del: "deletes a group on", rem: "removes a member from a group on" },
  routes: { rem: "removes a service from" },
  settings: { del: "deletes a setting of" },
  gossip: { del: "ends a periodic task of" },
  keys: { retire: "retires a key on", use: "changes the key in use on" },
  inspection: { cancel_call: "cancels a running call, seen from", cancel_own_calls: "cancels running calls of" },
};
const ORDER = ["read", "call", "admin"];

/** The target that the segments of a route name: {kind: "node" | "group" | "whole", name}. */
export function targetOf([kind, name], self) {
  return ["node", "group", "whole"].includes(kind) && name ? { kind, name } : { kind: "node", name: self };
}

/** Add to a node's target what a call needs: its address. */
export function located(target, self, addressOf) {
  return target.kind === "node" ? { ...target, address: addressOf(target.name), isSelf: target.name === self } : target;
}

/** The call of a method on a target, as app.call takes it, and as it is shown. */
export function callOf(target, service, method, { args, kwargs }, isStream = false) {
  const shown = { target, service, method, ownArgs: args, ownKwargs: kwargs, isStream };
  if (target.kind === "node") return { ...shown, path: `${target.isSelf ? "local" : target.name}/${service}/${method}`, args, kwargs };
  if (target.kind === "whole") return { ...shown, path: `${target.name}/${service}/${method}`, args, kwargs };
  const named = Object.keys(kwargs).length ? { kwargs } : {};
  return { ...shown, path: `${target.name}/comm/send`, args: [args, { service, method }], kwargs: named };
}

/** The scope that a token needs for the call; "none" where no token is enough. */
export function scopeOf(target, form) {
  if (form.scope === "none") return "none";
  const isForwarded = target.kind === "group" || (target.kind === "node" && !target.isSelf);
  return ORDER[Math.max(ORDER.indexOf(form.scope ?? "call"), isForwarded ? 1 : 0)];
}

/** What stands for a target: an address, or the members of a group. */
export function placeOf(target, size) {
  if (target.kind === "node") return target.address ?? target.name;
  if (target.kind === "whole") return `the group ${target.name}${size === undefined ? "" : ` of ${plural(size, "member")}`}`;
  return size === undefined ? `each member of ${target.name}` : `each of the ${plural(size, "member")} of ${target.name}`;
}

/** What a call does, in one sentence. */
export function deedOf(target, form, size) {
  const place = placeOf(target, size);
  if (form.is_read) return `It only reads: nothing changes on ${place}.`;
  return `It acts on ${place}, as soon as you call it.`;
}

/** What a dangerous method of trionet's own does, in words; "" for all others. */
export function dangerOf(target, service, method, size) {
  const verb = Object.hasOwn(DANGEROUS, service) && Object.hasOwn(DANGEROUS[service], method) ? DANGEROUS[service][method] : "";
  return verb ? `${service}.${method} ${verb} ${placeOf(target, size)}.` : "";
}
