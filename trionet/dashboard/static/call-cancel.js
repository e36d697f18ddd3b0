// Cancelling a call with all below it: the question, the call of the node, and its answer.

import { idOf, nameOf } from "./call-tree.js";
import { h } from "./dom.js";
import { count, cut, plural } from "./format.js";

const MOST_LISTED = 8;

/** Ask, and cancel. Returns the node's answer, or {failure}; null if the reader has thought better of it. */
export async function askToCancel(app, { key, keys, rows, labelOf, onSure }) {
  const row = rows[key];
  const id = idOf(key);
  const twins = Object.keys(rows).filter((one) => one !== key && idOf(one) === id && !rows[one].ended);
  const nodes = new Set(keys.map((one) => rows[one].node));
  const inner = keys.length - 1;
  const text = h(
    "div",
    { class: "stack" },
    h("p", null, h("span", { class: "mono" }, nameOf(row)), ` at ${labelOf(row.node)}`, inner > 0 ? `, and the ${plural(inner, "call")} below it, on ${plural(nodes.size, "node")}.` : "."),
    twins.length ? h("p", null, `The same call runs at ${plural(twins.length, "more node")}: it was made to all of them, and is cancelled at all.`) : null,
    h("p", { class: "muted" }, "Its caller gets the error CallCancelled. What the handlers have done until now stays done."),
  );
  const isSure = await app.confirm({ title: inner > 0 ? `Cancel ${plural(keys.length, "call")}?` : "Cancel this call?", text, action: "Cancel the call", danger: true });
  if (!isSure) return null;
  onSure(`Cancelling ${nameOf(row)} at ${labelOf(row.node)} …`);
  try {
    const answer = await app.call("local/inspection/cancel_call", [id]);
    return { id, ...answer.value };
  } catch (error) {
    return { id, failure: error };
  }
}

/** What the node has answered, as a sentence and lists: {said, kind, lists: [[title, lines]]}. */
export function answerText(answer, labelOf) {
  if (answer.failure) return { said: `Not cancelled: ${answer.failure.text ?? answer.failure.message}`, kind: "error", lists: [] };
  const ended = answer.ended ?? [];
  const running = answer.running ?? [];
  const errors = Object.entries(answer.errors ?? {});
  const parts = [];
  if (ended.length) parts.push(`${plural(ended.length, "call has", "calls have")} ended`);
  if (running.length) parts.push(`${plural(running.length, "call runs on", "calls run on")}`);
  if (!parts.length) parts.push("no running call has this id any more");
  if (errors.length) parts.push(`${plural(errors.length, "node")} could not be asked`);
  const name = (call) => `${nameOf({ ...call, gid: call.gid === "local" ? undefined : call.gid })} at ${call.node}`;
  const lists = [];
  if (running.length) lists.push(["Running on: they shield themselves, or wait for a thread", running.map(name)]);
  if (errors.length) lists.push(["Not asked", errors.map(([sid, error]) => `${labelOf(sid)}: ${error?.text ?? error?.name ?? "no answer"}`)]);
  if (ended.length) lists.push(["Ended", ended.map(name)]);
  return { said: `Cancelled: ${parts.join(", ")}.`, kind: running.length || errors.length ? "warning" : null, lists };
}

/** The same as an element. */
export function answerNotice(answer, labelOf, onClose) {
  const { said, kind, lists } = answerText(answer, labelOf);
  const shown = (lines) => [...lines.slice(0, MOST_LISTED), ...(lines.length > MOST_LISTED ? [`and ${count(lines.length - MOST_LISTED)} more`] : [])];
  return h(
    "div",
    { class: "notice call-answer", "data-kind": kind, "data-said": said },
    h("div", { class: "call-answer-head" }, h("strong", null, said), h("button", { type: "button", class: "button quiet icon", "aria-label": "Close this message", onclick: onClose }, "×")),
    lists.length ? h("details", { open: kind !== null }, h("summary", null, "Which"), ...lists.map(([title, lines]) => [h("p", null, title), h("ul", { class: "mono" }, ...shown(lines).map((line) => h("li", null, cut(line, 160))))])) : null,
  );
}
