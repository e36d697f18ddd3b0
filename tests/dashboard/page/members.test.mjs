// What the page makes of the members.

import assert from "node:assert/strict";
import { test } from "node:test";
import { countsOf, findingsOf, goneWords, labelsOf, linesOf, matches, opinionsOf, pageOf, rowsOf, sorted, suspectersOf, tagTexts, wordsOf } from "../../../trionet/dashboard/static/members.js";

const member = (status, more = {}) => ({ address: "10.0.0.1:1", status, incarnation: 0, since: 100, tags: {}, ...more });
const cluster = (members, views = {}) => ({ self: "a", members, views });

test("who sees a member otherwise is known by its state, without the member itself", () => {
  const view = cluster({ a: member("alive"), b: member("alive"), c: member("suspect") }, { b: { c: "alive", b: "suspect" }, c: { c: "alive", b: "failed" } });
  const opinions = opinionsOf(view);
  assert.deepEqual([...opinions.of("c").others], [["alive", ["b"]]]);
  assert.deepEqual([...opinions.of("b").others], [["failed", ["c"]]]);
  assert.deepEqual(opinions.viewersOf("c", "suspect"), ["a"]);
  assert.equal(opinions.asked, 3);
});

test("suspicions are drawn from those whose probes were missed, where that is known", () => {
  const view = cluster({ a: member("alive"), b: member("alive"), c: member("suspect", { by: ["b"] }) }, { b: {} });
  assert.deepEqual(suspectersOf(view, opinionsOf(view), "c"), ["b"]);
  assert.deepEqual(linesOf(view, opinionsOf(view)), [{ from: "b", to: "c", state: "suspect" }]);
});

test("a suspicion of another member alone is drawn, too", () => {
  const view = cluster({ a: member("alive"), b: member("alive"), c: member("alive") }, { b: { c: "suspect" } });
  assert.deepEqual(linesOf(view, opinionsOf(view)), [{ from: "b", to: "c", state: "suspect" }]);
});

test("a death that all agree on has no lines, one that is disputed has", () => {
  const agreed = cluster({ a: member("alive"), b: member("alive"), c: member("failed") }, { b: {} });
  assert.deepEqual(linesOf(agreed, opinionsOf(agreed)), []);
  const disputed = cluster({ a: member("alive"), b: member("alive"), c: member("failed") }, { b: { c: "alive" } });
  assert.deepEqual(linesOf(disputed, opinionsOf(disputed)), [{ from: "a", to: "c", state: "failed" }]);
});

test("a member that one does not know at all is a line", () => {
  const view = cluster({ a: member("alive"), b: member("alive"), c: member("alive") }, { b: { c: "absent" } });
  assert.deepEqual(linesOf(view, opinionsOf(view)), [{ from: "b", to: "c", state: "absent" }]);
});

test("what to look at comes by gravity: disputes, suspicions, deaths, slow members", () => {
  const view = cluster({ a: member("alive"), b: member("failed"), c: member("suspect"), d: member("alive"), e: member("alive") }, { b: { d: "failed", x: "alive" } });
  const found = findingsOf(view, opinionsOf(view), { e: { health: 3 }, a: { health: 1 }, b: { health: 9 } });
  assert.deepEqual(found.map(({ kind, sid }) => `${kind} ${sid}`), ["disputed d", "disputed x", "suspected c", "failed b", "slow e"]);
  assert.deepEqual(found.at(-1).slow, ["e", "a"], "all slow members are one finding, the slowest first");
});

test("states are counted, those that are not there as 0", () => {
  assert.deepEqual(countsOf({ a: member("alive"), b: member("suspect") }), { alive: 1, suspect: 1, failed: 0, joining: 0, left: 0 });
});

const rows = [
  { sid: "1", address: "10.0.0.10:80", status: "alive", rtt_ms: 2, since: 50, tags: { zone: "eu" } },
  { sid: "2", address: "10.0.0.9:80", status: "failed", since: 90, tags: {} },
  { sid: "3", address: "10.0.0.2:80", status: "suspect", rtt_ms: 9, since: 10, tags: { zone: "us" }, version: "1.2" },
];

test("addresses are in the order of their numbers, states in that of gravity, what is missing last", () => {
  const order = (column, descending) => sorted(rows, column, descending).map((row) => row.sid).join("");
  assert.equal(order("address"), "321");
  assert.equal(order("address", true), "123");
  assert.equal(order("status"), "231");
  assert.equal(order("rtt_ms"), "132");
  assert.equal(order("rtt_ms", true), "312");
  assert.equal(order("since"), "213", "the latest change first");
});

test("a filter has words that must be there, and with a minus words that must not", () => {
  const found = (filter) => rows.filter((row) => matches(row, wordsOf(filter))).map((row) => row.sid).join("");
  assert.equal(found(""), "123");
  assert.equal(found("zone=EU"), "1");
  assert.equal(found("80 -alive"), "23");
  assert.equal(found("1.2 suspect"), "3");
  assert.equal(found("-"), "");
});

test("a page out of range is moved into it", () => {
  const many = Array.from({ length: 250 }, (_, index) => index);
  assert.deepEqual({ ...pageOf(many, 100, 9), rows: 0 }, { rows: 0, index: 2, pages: 3, first: 201, last: 250 });
  assert.equal(pageOf(many, 100, 9).rows.length, 50);
  assert.deepEqual(pageOf([], 100, 1), { rows: [], index: 0, pages: 1, first: 0, last: 0 });
});

test("labels are as short as they can be and still differ", () => {
  assert.deepEqual(labelsOf(["127.0.0.1:80", "127.0.0.1:81"]), [":80", ":81"]);
  assert.deepEqual(labelsOf(["10.0.0.1:80", "10.0.0.2:80"]), ["10.0.0.1", "10.0.0.2"]);
  assert.deepEqual(labelsOf(["10.0.0.1:80", "10.0.0.1:81", "10.0.0.2:80"]), ["10.0.0.1:80", "10.0.0.1:81", "10.0.0.2:80"]);
  assert.deepEqual(labelsOf(["127.0.0.1:80"]), ["127.0.0.1:80"]);
  assert.deepEqual(labelsOf([undefined, "x"]), ["", "x"]);
});

test("a row has what is measured, and how many see it otherwise", () => {
  const view = cluster({ a: member("alive"), b: member("failed") }, { b: { a: "suspect" } });
  const [one, other] = rowsOf(view, { a: { rtt_ms: 1, version: "1" } });
  assert.deepEqual([one.rtt_ms, one.version, one.differ, one.gone, other.gone], [1, "1", 1, false, true]);
});

test("tags are shown with their values", () => {
  assert.deepEqual(tagTexts({ zone: "eu", gpu: true, n: 3, list: [1] }), ["zone=eu", "gpu", "n=3", "list=[1]"]);
});

test("what a member says of itself is bounded, whatever it says", () => {
  const long = "<b>".repeat(1000);
  const view = cluster({ a: {}, b: member(long, { address: long, version: long, tags: { [long]: { deep: long } }, by: [long], since: "now", incarnation: 2 ** 80 }) }, { c: { d: long } });
  const [one, other] = rowsOf(view);
  assert.deepEqual([one.address, one.status], ["no address", "unknown"]);
  assert.ok(other.address.length <= 60 && other.status.length <= 24 && other.version.length <= 40);
  assert.ok(tagTexts(other.tags).every((text) => text.length <= 120));
  for (const column of ["address", "status", "since", "incarnation", "version", "rtt_ms"]) assert.equal(sorted([one, other], column).length, 2);
  assert.equal(Object.values(countsOf(view.members)).reduce((sum, count) => sum + count), 2);
  findingsOf(view, opinionsOf(view), { a: { health: "bad" } });
  linesOf(view, opinionsOf(view));
});

test("a member that can't be asked any more is told from one that may answer", () => {
  assert.deepEqual(["failed", "left", "suspect", "alive"].map((status) => goneWords({ status })), ["has failed", "has left", "", ""]);
  assert.equal(goneWords(undefined), "");
});
