// The pure modules of the page of a run: what is in sight, what is under a pointer, and what happened, in words.

import assert from "node:assert/strict";
import { test } from "node:test";

const STATIC = "../../../trionet/simulation/report/static/";
const time = await import(`${STATIC}sight.js`);
const words = await import(`${STATIC}words.js`);

/** Numbers that follow from a seed. */
function* numbers(seed) {
  for (let state = seed + 1; ; ) yield (state = (state * 48271) % 2147483647) / 2147483647;
}

test("the part in sight stays within the run, however one zooms and moves", () => {
  for (let seed = 0; seed < 300; seed++) {
    const random = numbers(seed), next = () => random.next().value;
    const end = Math.floor(10 ** (8 * next()));
    let view = time.within({ from: 0, to: end }, end);
    for (let step = 0; step < 20; step++) {
      const at = view.from + next() * (view.to - view.from);
      view = next() < 0.5 ? time.zoomed(view, 4 ** (2 * next() - 1), at, end) : time.moved(view, 4 * next() - 2, end);
      assert.ok(view.from >= 0 && view.to <= Math.max(end, time.LEAST) + 1e-6, JSON.stringify({ seed, view, end }));
      assert.ok(view.to - view.from >= time.LEAST - 1e-6);
    }
  }
});

test("a time stays in its place when one zooms around it", () => {
  const view = time.zoomed({ from: 1000, to: 3000 }, 2, 1500, 10_000);
  assert.deepEqual(view, { from: 1250, to: 2250 });
  assert.equal((1500 - view.from) / (view.to - view.from), 0.25);
});

test("marked moments are in sight, with room around them, and the whole run where nothing is marked", () => {
  assert.deepEqual(time.around([], 500), { from: 0, to: 500 });
  const view = time.around([400_000, 600_000, null], 1_000_000);
  assert.ok(view.from < 400_000 && view.to > 600_000 && view.to - view.from < 300_000);
  assert.deepEqual(time.around([0], 0), { from: 0, to: time.LEAST });
});

test("ticks are round, in sight and not too many", () => {
  for (const [from, to] of [[0, 20], [0, 43_490_000], [123_456, 234_567], [13_000_000, 13_000_500]]) {
    const { step, at } = time.ticks({ from, to }, 10);
    assert.ok(at.length >= 2 && at.length <= 11, `${from} ${to}: ${at.length}`);
    assert.ok(at.every((one) => one >= from && one <= to && Math.abs(one / step - Math.round(one / step)) < 1e-6));
  }
});

const message = (sent, arrives, drops = -1, source = 0, target = 1) => [sent, source, target, 0, arrives, drops, 10, sent];

test("a message is in sight while it is on its way, and its shown kinds and nodes alone", () => {
  const all = [message(0, 50), message(10, 500), message(90, -1, 5), message(300, 20)];
  const seen = (from, to) => time.messagesInSight(all, { from, to }, () => true).map((one) => one[time.SENT]);
  assert.deepEqual(seen(100, 200), [10]);
  assert.deepEqual(seen(0, 100), [0, 10, 90]);
  assert.deepEqual(time.messagesInSight(all, { from: 0, to: 400 }, (one) => one[time.SENT] === 300).length, 1);
});

test("events in sight are found by their times", () => {
  const events = [5, 5, 10, 20].map((at) => [at, "note", 0, -1, 0, ""]);
  assert.equal(time.eventsInSight(events, { from: 5, to: 10 }, () => true).length, 3);
  assert.equal(time.eventsInSight(events, { from: 6, to: 9 }, () => true).length, 0);
  assert.equal(time.firstFrom(events, 100), 4);
});

test("each message counts once in the bars", () => {
  const all = Array.from({ length: 100 }, (_, at) => message(at, 1, at % 10 ? -1 : 0, at % 2));
  const { sent, dropped, most } = time.density(all, { from: 0, to: 100 }, 2, 7);
  const sum = (rows) => rows.flat().reduce((one, other) => one + other, 0);
  assert.equal(sum(sent), 100);
  assert.equal(sum(dropped), 10);
  assert.equal(most, Math.max(...sent.flat()));
});

test("handlers that run at once on a node have levels of their own", () => {
  const event = (at, kind, id, node = 0) => [at, kind, node, 1, 0, id];
  const runs = time.handlers([event(0, "begin", "a"), event(1, "begin", "b"), event(1, "begin", "a", 1), event(2, "end", "a"), event(3, "begin", "c"), event(4, "end", "b"), event(9, "end", "x")]);
  assert.deepEqual(runs.map(([begin, end, node, , id, level]) => [begin, end, node, id, level]), [[0, 2, 0, "a", 0], [1, 4, 0, "b", 1], [1, null, 1, "a", 0], [3, null, 0, "c", 0]]);
});

test("labels neither overlap nor leave the picture", () => {
  const lefts = time.apart([{ left: 80, wide: 30 }, { left: 85, wide: 30 }, { left: 90, wide: 30 }], 120, 5);
  assert.deepEqual(lefts, [20, 55, 90]);
  assert.deepEqual(time.apart([{ left: -10, wide: 5 }], 100, 5), [0]);
});

test("spans in one row do not overlap", () => {
  const spans = [{ begin: 0, end: 10 }, { begin: 5, end: 7 }, { begin: 10, end: 12 }, { begin: 11, end: 13 }];
  assert.deepEqual(time.inRows(spans, 1, 9), { rows: [0, 1, 0, 1], count: 2 });
  assert.equal(time.inRows(Array.from({ length: 50 }, () => ({ begin: 0, end: 9 })), 1, 3).count, 3);
});

test("the nearest shape within reach is under the pointer", () => {
  const shapes = [{ x1: 0, y1: 0, x2: 100, y2: 100 }, { x1: 0, y1: 50, x2: 0, y2: 50 }];
  assert.equal(time.nearest(shapes, 50, 54, 9), shapes[0]);
  assert.equal(time.nearest(shapes, 2, 49, 9), shapes[1]);
  assert.equal(time.nearest(shapes, 90, 10, 9), null);
});

test("times and spans have the digits that they need", () => {
  assert.equal(time.seconds(1_234_567), "1.234567 s");
  assert.equal(time.seconds(1_234_567, 60e6), "1 s");
  assert.deepEqual([35, 1250, 3_200_000].map(time.span), ["35 µs", "1.25 ms", "3.2 s"]);
});

const run = {
  nodes: ["n0", "n1"], names: ["", "local/stock/sell", "local/membership/packet", "MemberSuspected", "constructor", "OrphanedCall"],
  kinds: [["call", "calls"], ["datagram", "datagrams"]],
};

test("what happened is a sentence", () => {
  const table = [
    [[5, 0, 1, 0, 30, -1, 10, 1], "n0 sends a call to n1: delivered after 30 µs"],
    [[5, 0, 1, 1, -1, 0, 10, 1], "n0 sends a datagram to n1: dropped"],
    [[5, 0, 1, 0, 3000, 0, 10, 1], "n0 sends a call to n1: dropped; sent again, delivered after 3 ms"],
    [[5, 0, 1, 0, -1, -1, 10, 1], "n0 sends a call to n1: not delivered by the end of the run"],
    [[5, "call", 0, 1, 1, "c1"], "n0 calls local/stock/sell of n1"],
    [[5, "answer", 0, 1, 1, "c1 CallTimeout"], "n0 has CallTimeout from n1 to local/stock/sell"],
    [[5, "begin", 1, 0, 1, "c1"], "n1 begins local/stock/sell for n0"],
    [[5, "state", 0, 1, 3, "7"], "n0 suspects n1"],
    [[5, "state", 0, -1, 4, ""], "n0 constructor"],
    [[5, "note", -1, -1, 1, "$& why"], "local/stock/sell ($& why)"],
  ];
  for (const [row, text] of table) assert.equal(words.sentence(row, run), text);
});

test("rows are filtered by families of messages and groups of events", () => {
  assert.equal(words.familyOf([5, 0, 1, 1, 30, -1, 10, 1], run), "datagrams");
  assert.equal(words.groupOf([5, "call", 0, 1, 2, "c1"], run), "membership");
  assert.equal(words.groupOf([5, "end", 0, 1, 1, "c1"], run), "handlers");
  assert.equal(words.groupOf([5, "what comes later", 0, 1, 1, "c1"], run), "notes");
});

test("all events of one call are found by its id", () => {
  assert.equal(words.callOf([5, "answer", 0, 1, 1, "c1 CallTimeout"], run), "c1");
  assert.equal(words.callOf([5, "state", 0, 1, 5, "local/stock/sell c1"], run), "c1");
  assert.equal(words.callOf([5, "state", 0, 1, 3, "7"], run), "");
  assert.equal(words.callOf([5, 0, 1, 1, 30, -1, 10, 1], run), "");
});

test("the facts of a row are pairs of texts", () => {
  const facts = Object.fromEntries(words.facts([5, 0, 1, 0, 3000, 0, 12345, 7], run));
  assert.deepEqual(facts, { kind: "call (calls)", from: "n0", to: "n1", sent: "0.000005 s", dropped: "0.000005 s, after 0 µs", delivered: "0.003005 s, after 3 ms", size: "12,345 bytes", number: "7" });
});
