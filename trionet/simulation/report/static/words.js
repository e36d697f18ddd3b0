// What happened, in words, and the groups of what happens by which it is filtered.

import { AT, EVENT, NODE, PEER, NAME, DETAIL, SENT, SOURCE, TARGET, KIND, ARRIVES, DROPS, SIZE, NUMBER, seconds, span } from "./sight.js";

const INTERNAL = "local/membership/";
const OF_CALLS = ["call", "answer", "cancel", "begin", "end"];
const GROUPS = { begin: "handlers", end: "handlers", call: "callers", answer: "callers", cancel: "callers", state: "views", rumor: "rumors", fault: "faults", note: "notes" };

/** The group of an event: what the reader can hide. */
export function groupOf(event, run) {
  return run.names[event[NAME]].startsWith(INTERNAL) ? "membership" : (GROUPS[event[EVENT]] ?? "notes");
}

/** The group of a message: its family. */
export function familyOf(message, run) {
  return run.kinds[message[KIND]][1];
}

/** Whether a row is a message, and no other event. */
export function isMessage(row) {
  return typeof row[1] === "number";
}

const nameOf = (run, node) => (node < 0 ? "a stranger" : run.nodes[node]);

const a = (kind) => `${/^[aeiou]/i.test(kind) ? "an" : "a"} ${kind}`;

/** What became of a message. */
export function fate(message) {
  const parts = [];
  if (message[DROPS] >= 0) parts.push(message[DROPS] === 0 ? "dropped" : `dropped after ${span(message[DROPS])}`);
  if (message[ARRIVES] >= 0) parts.push(`${message[DROPS] >= 0 ? "sent again, " : ""}delivered after ${span(message[ARRIVES])}`);
  return parts.join("; ") || "not delivered by the end of the run";
}

const PLAIN = {
  MemberJoined: "sees that @ joined", MemberSuspected: "suspects @", MemberFailed: "holds @ for dead",
  MemberLeft: "sees that @ left", MemberTrusted: "trusts @ again", MemberUpdated: "has news of @", MemberForgotten: "forgets @", OrphanedCall: "reports an orphan: a handler of @ may outlive its call",
  NodeOpened: "opens", LinkLost: "loses its connection to @, with calls in progress",
};

/** An event or a message in one line, without its time. */
export function sentence(row, run) {
  if (isMessage(row)) return `${nameOf(run, row[SOURCE])} sends ${a(run.kinds[row[KIND]][0])} to ${nameOf(run, row[TARGET])}: ${fate(row)}`;
  return plain({
    kind: row[EVENT], node: row[NODE] < 0 ? "" : run.nodes[row[NODE]], peer: row[PEER] < 0 ? "" : run.nodes[row[PEER]],
    what: run.names[row[NAME]], detail: row[DETAIL],
  });
}

/** An event with its names, as a comparison has it, in one line, without its time. */
export function plain(event) {
  const { kind, node, peer, what, detail } = event;
  const [, ...rest] = detail.split(" ");
  switch (kind) {
    case "send": return `${node} sends ${a(what)} to ${peer}`;
    case "deliver": return `${node} receives ${a(what)} from ${peer}`;
    case "drop": return `the network drops ${a(what)} from ${node} to ${peer}`;
    case "call": return `${node} calls ${what} of ${peer || "itself"}`;
    case "answer": return `${node} has ${rest.length ? `${rest.join(" ")} from` : "the answer of"} ${peer || "itself"} to ${what}`;
    case "cancel": return `${node} cancels ${what} of ${peer || "itself"}`;
    case "begin": return `${node} begins ${what}${peer ? ` for ${peer}` : ""}`;
    case "end": return `${node} ends ${what}${peer ? ` for ${peer}` : ""}`;
    case "rumor": return `${node} receives a rumor of ${peer || "itself"} in ${what || "a group"}`;
    case "fault": return `fault: ${what}${node ? ` of ${node}` : ""}`;
    case "state": return `${node} ${Object.hasOwn(PLAIN, what) ? PLAIN[what].replace("@", () => peer) : `${what}${peer ? ` of ${peer}` : ""}`}`;
    default: return `${node ? `${node}: ` : ""}${what}${detail ? ` (${detail})` : ""}`;
  }
}

/** The facts of a row, for a list of pairs. */
export function facts(row, run) {
  if (isMessage(row)) {
    return [
      ["kind", `${run.kinds[row[KIND]][0]} (${familyOf(row, run)})`], ["from", nameOf(run, row[SOURCE])], ["to", nameOf(run, row[TARGET])],
      ["sent", seconds(row[SENT])],
      ...(row[DROPS] >= 0 ? [["dropped", `${seconds(row[SENT] + row[DROPS])}, after ${span(row[DROPS])}`]] : []),
      ["delivered", row[ARRIVES] >= 0 ? `${seconds(row[SENT] + row[ARRIVES])}, after ${span(row[ARRIVES])}` : "no"],
      ["size", `${row[SIZE].toLocaleString("en-US")} bytes`], ["number", String(row[NUMBER])],
    ];
  }
  const named = [["event", row[EVENT]], ["at", seconds(row[AT])]];
  if (row[NODE] >= 0) named.push(["node", run.nodes[row[NODE]]]);
  if (row[PEER] >= 0) named.push(["peer", run.nodes[row[PEER]]]);
  if (run.names[row[NAME]]) named.push(["what", run.names[row[NAME]]]);
  if (row[DETAIL]) named.push([OF_CALLS.includes(row[EVENT]) ? "call" : "detail", row[DETAIL]]);
  return named;
}

/** The id of the call that an event belongs to; "" if it belongs to none. */
export function callOf(row, run) {
  if (isMessage(row)) return "";
  const words = row[DETAIL].split(" ");
  if (OF_CALLS.includes(row[EVENT])) return words[0];
  return run.names[row[NAME]] === "OrphanedCall" ? words.at(-1) : "";
}
