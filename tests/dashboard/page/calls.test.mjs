// The tree of calls and the table of methods: what is drawn of their documents.

import assert from "node:assert/strict";
import { test } from "node:test";
import { answerText } from "../../../trionet/dashboard/static/call-cancel.js";
import { Clock, below, idOf, leftOf, matcher, stateOf, summaryOf, treeOf, visibleRows } from "../../../trionet/dashboard/static/call-tree.js";
import { HISTORY_S, Histories, errorsText, nameOf, pathOf, rowsOf, sorted } from "../../../trionet/dashboard/static/method-table.js";
import { rangeOf, scrollFor } from "../../../trionet/dashboard/static/virtual-rows.js";

const call = (more = {}) => ({ node: "a", service: "shop", method: "order", begun: 100, ...more });
const none = new Set();
const keysOf = (rows) => rows.map((one) => one.key);
const ROWS = {
  r: call(),
  a: call({ parent: "r", begun: 102 }),
  b: call({ parent: "r", begun: 101, method: "pay", node: "b", state: "queued" }),
  c: call({ parent: "b", begun: 103, node: "c", state: "cancelled" }),
  s: call({ begun: 99, ended: "ok" }),
};

test("the tree is drawn with the oldest first, each call below its parent", () => {
  const rows = visibleRows(treeOf(ROWS), none, null);
  assert.deepEqual(keysOf(rows), ["s", "r", "b", "c", "a"]);
  assert.deepEqual(rows.map((one) => [one.level, one.position, one.size, one.inner]), [[0, 1, 2, 0], [0, 2, 2, 3], [1, 1, 2, 1], [2, 1, 1, 0], [1, 2, 2, 0]]);
  assert.deepEqual(keysOf(visibleRows(treeOf(ROWS, "newest"), none, null)), ["r", "a", "b", "c", "s"]);
});

test("a folded call hides what is below it", () => {
  const rows = visibleRows(treeOf(ROWS), new Set(["b"]), null);
  assert.deepEqual(keysOf(rows), ["s", "r", "b", "a"]);
  assert.ok(rows[2].folded);
  assert.deepEqual(below(treeOf(ROWS), "r"), ["r", "b", "c", "a"]);
});

test("a filter shows what matches and what is above it, folded or not", () => {
  const tree = treeOf(ROWS);
  const shown = (text, ...states) => visibleRows(tree, new Set(["r", "b"]), matcher(text, new Set(states), (sid) => `10.0.0.1:${sid}`));
  assert.deepEqual(shown("10.0.0.1:c").map((one) => [one.key, one.context]), [["r", true], ["b", true], ["c", false]]);
  assert.deepEqual(keysOf(shown("PAY shop")), ["r", "b"]);
  assert.deepEqual(keysOf(shown("", "cancelled")), ["r", "b", "c"]);
  assert.deepEqual(keysOf(shown("nothing of it")), []);
});

test("every call is drawn once, whatever parents say", () => {
  let seed = 7;
  const random = (most) => (seed = (seed * 48271) % 2147483647) % most;
  for (let trial = 0; trial < 200; trial += 1) {
    const rows = {};
    for (let number = 0; number < 12; number += 1) rows[`k${number}`] = call({ parent: random(4) ? `k${random(14)}` : undefined, begun: random(5) });
    const tree = treeOf(rows);
    assert.deepEqual(keysOf(visibleRows(tree, none, null)).sort(), Object.keys(rows).sort());
    visibleRows(tree, none, (key) => key === "k3");
  }
  const proto = treeOf({ a: call({ parent: "constructor" }), b: call({ parent: "__proto__" }) });
  assert.deepEqual(proto.roots, ["a", "b"]);
});

test("a thousand calls are arranged in a few milliseconds", () => {
  const rows = {};
  for (let number = 0; number < 2000; number += 1) rows[`k${number}`] = call({ parent: number ? `k${number >> 1}` : undefined, begun: number });
  assert.equal(visibleRows(treeOf(rows), none, null).length, 2000);
});

test("states are counted, and ended calls apart", () => {
  const { counts, nodes } = summaryOf(ROWS);
  assert.deepEqual([counts.running, counts.queued, counts.cancelled, counts.ended, nodes], [2, 1, 1, 1, 3]);
  assert.equal(stateOf(ROWS.s), "ended");
  assert.equal(idOf("0123456789:4da7-1#2"), "4da7-1");
});

test("deadlines run down, and over", () => {
  const row = call({ deadline: 110 });
  assert.deepEqual(leftOf(row, 105), { text: "5.0 s left", share: 0.5, isOver: false });
  assert.deepEqual(leftOf(row, 112.25), { text: "over by 2.3 s", share: 0, isOver: true });
  assert.equal(leftOf(call(), 105).text, "no deadline");
});

test("the clock of the node is the greatest of its times: what comes late says less", () => {
  let local = 1000;
  const clock = new Clock(() => local);
  assert.equal(clock.now(), 1000);
  clock.sample(1500);
  local += 10;
  clock.sample(1508);
  assert.equal(clock.now(), 1510);
  clock.sample(NaN);
  for (let second = 0; second < 40; second += 1) {
    local += 1;
    clock.sample(local + 450);
  }
  assert.equal(clock.now(), local + 450);
});

test("the answer to a cancel says what has ended, what runs on, and who was not asked", () => {
  const one = { gid: "local", service: "shop", method: "order", node: "10.0.0.1:80" };
  const label = (sid) => `node ${sid}`;
  assert.equal(answerText({ ended: [one, one] }, label).said, "Cancelled: 2 calls have ended.");
  const part = answerText({ ended: [one], running: [one], errors: { x: { text: "no answer" } } }, label);
  assert.equal(part.said, "Cancelled: 1 call has ended, 1 call runs on, 1 node could not be asked.");
  assert.equal(part.kind, "warning");
  assert.deepEqual(part.lists[1][1], ["node x: no answer"]);
  assert.equal(answerText({}, label).said, "Cancelled: no running call has this id any more.");
  assert.equal(answerText({ failure: { text: "needs the scope admin" } }, label).said, "Not cancelled: needs the scope admin");
});

test("only the rows in sight are made, and some around them", () => {
  assert.deepEqual(rangeOf({ top: 3000, height: 300, rowHeight: 30, count: 1000 }), { first: 92, last: 118 });
  assert.deepEqual(rangeOf({ top: 0, height: 300, rowHeight: 30, count: 3 }), { first: 0, last: 3 });
  assert.deepEqual(rangeOf({ top: 90000, height: 300, rowHeight: 30, count: 3 }), { first: 3, last: 3 });
  assert.equal(scrollFor({ place: 5, top: 0, height: 300, rowHeight: 30 }), null);
  assert.equal(scrollFor({ place: 10, top: 0, height: 300, rowHeight: 30 }), 30);
  assert.equal(scrollFor({ place: 1, top: 60, height: 300, rowHeight: 30 }), 30);
});

const METHODS = {
  "till/add": { served: { total: 9, per_s: 2, p50_ms: 1, p99_ms: 30, errors: { error: 0.5, cancelled: 1 } } },
  "till/get": { served: { total: 90 }, made: { total: 1 } },
  "shop/buy": { served: { total: 1, per_s: 7, p50_ms: 4, p99_ms: 5 } },
};

test("methods are sorted by each column, and those without a value come last", () => {
  const rows = rowsOf(METHODS, "served");
  const names = (...how) => sorted(rows, ...how).map((row) => row.name);
  assert.deepEqual(names(), ["shop/buy", "till/add", "till/get"]);
  assert.deepEqual(names({ by: "name", descending: false }), ["shop/buy", "till/add", "till/get"]);
  assert.deepEqual(names({ by: "p99", descending: true }), ["till/add", "shop/buy", "till/get"]);
  assert.deepEqual(names({ by: "p99", descending: false }), ["shop/buy", "till/add", "till/get"]);
  assert.deepEqual(names({ by: "total", descending: true }, "TILL"), ["till/get", "till/add"]);
  assert.deepEqual(rowsOf(METHODS, "made").map((row) => row.name), ["till/get"]);
  assert.equal(rows.find((row) => row.name === "till/add").errors_per_s, 0.5, "a cancelled call is no error");
  assert.deepEqual(rowsOf({ a: { served: { total: 3 } } }, "served", false)[0], { name: "a", per_s: undefined, p50_ms: undefined, p99_ms: undefined, errors: {}, errors_per_s: undefined, total: 3 });
  assert.equal(errorsText({ error: 0.5, timeout: 2 }, String), "timeout 2/s, error 0.5/s");
});

test("a history has two minutes, with gaps where nobody looked", () => {
  const histories = new Histories();
  for (const time of [0, 100, 101, 102, 130, 131]) histories.add("x", time, { per_s: time });
  assert.equal(histories.of("x").length, 5);
  const path = pathOf(histories.of("x"), "per_s", 131, 120, 22);
  assert.equal(path.match(/M/g).length, 2);
  assert.equal(path.match(/L/g).length, 3);
  assert.ok(path.endsWith("L120.0 1.0"));
  assert.equal(pathOf([{ time: 1 }], "per_s", 1, 120, 22), "");
  histories.trim(131 + HISTORY_S + 1);
  assert.deepEqual(histories.of("x"), []);
});

test("calls of methods that are not registered have a name for people, and are found by it", () => {
  const rows = rowsOf({ "_OTHER/_OTHER": { served: { total: 1 } }, "shop/sell": { served: { total: 2 } } }, "served");
  assert.deepEqual(sorted(rows, {}, "not registered").map(nameOf), ["all others, not registered"]);
});
