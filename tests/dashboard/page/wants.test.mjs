// What pages want of the stream, and which stream serves it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { combined, covers, halves, OF_LIMIT, uncovered, wellFormed } from "../../../trionet/dashboard/static/wants.js";

test("wants add up: all topics, the SIDs up to the limit, and the first single ones", () => {
  const many = Array.from({ length: 100 }, (_, index) => `sid${index}`);
  const sum = combined([{ topics: ["b", "a"], node: "n1" }, null, { topics: ["a", "c"], node: "n2", rumor: "g:1", of: many }]);
  assert.deepEqual(sum.topics, ["a", "b", "c"]);
  assert.equal(sum.node, "n1");
  assert.equal(sum.rumor, "g:1");
  assert.equal(sum.of.length, OF_LIMIT);
});

test("a stream covers a topic when its parameters are those that are wanted", () => {
  const given = { topics: ["cluster", "details", "node"], of: ["a", "b"], node: "n1" };
  assert.ok(covers(given, { topics: ["cluster"], node: "other" }, "cluster"));
  assert.ok(covers(given, { of: ["a"] }, "details"));
  assert.ok(!covers(given, { of: ["a", "c"] }, "details"));
  assert.ok(covers(given, { node: "n1" }, "node"));
  assert.ok(!covers(given, { node: "n2" }, "node"));
  assert.ok(!covers(given, {}, "news"));
  assert.ok(!covers(null, {}, "cluster"));
});

test("what is not covered keeps its parameters", () => {
  const given = { topics: ["cluster", "node"], node: "n1" };
  assert.deepEqual(uncovered(given, { topics: ["cluster", "node"], node: "n2" }), { topics: ["node"], node: "n2" });
  assert.equal(uncovered(given, { topics: ["cluster"] }), null);
  assert.equal(uncovered(given, null), null);
});

test("the two halves of a want are the want", () => {
  const want = { topics: ["cluster", "details", "news", "node"], of: ["a"], node: "n" };
  const [steady, looked] = halves(want);
  assert.deepEqual(steady, { topics: ["cluster", "news"] });
  assert.deepEqual(looked, { topics: ["details", "node"], of: ["a"], node: "n" });
  assert.deepEqual(halves(null), [null, null]);
  assert.deepEqual(halves({ topics: ["node"], node: "n" })[0], null);
});

test("what a mistyped address names is not asked for, and all else is", () => {
  const sid = "0123456789";
  assert.deepEqual(wellFormed({ topics: ["node"], node: sid, of: [sid, "x"], rumor: "all:1f" }), { topics: ["node"], node: sid, of: [sid], rumor: "all:1f" });
  for (const wrong of ["x", `${sid}0`, `${sid}\n`, "0123456ABC", "../../etc"]) assert.deepEqual(wellFormed({ topics: ["node"], node: wrong }), { topics: ["node"] }, wrong);
  for (const wrong of ["all", ":1f", `all:${"1".repeat(300)}`]) assert.deepEqual(wellFormed({ topics: ["rumor"], rumor: wrong }), { topics: ["rumor"] }, wrong);
  assert.equal(wellFormed(null), null);
});
