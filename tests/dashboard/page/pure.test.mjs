// Texts, hashes, calls, tokens, the geometry of the ring, the time line, and the facts of a node.

import assert from "node:assert/strict";
import { test } from "node:test";
import { addressOf, CallError, caller, requestOf } from "../../../trionet/dashboard/static/call.js";
import { age, bytes, clock, count, cut, ms, plural, rate, seconds, short } from "../../../trionet/dashboard/static/format.js";
import { inOrder, spanOf, ticksOf, worded } from "../../../trionet/dashboard/static/news.js";
import { Growth, linesOfLog, settingsOf, tasksOf } from "../../../trionet/dashboard/static/node-facts.js";
import { barOf, chordOf, labelAt, placeOf } from "../../../trionet/dashboard/static/ring-layout.js";
import { hashOf, routeOf } from "../../../trionet/dashboard/static/route.js";
import { includes, Session, tokenOfFragment } from "../../../trionet/dashboard/static/session.js";

test("numbers are short, and what is missing is a dash", () => {
  const table = [
    [ms, 0.083, "0.08 ms"], [ms, 1.25, "1.3 ms"], [ms, 34.4, "34 ms"], [ms, 1234, "1.2 s"], [ms, 70_000, "1 min 10 s"],
    [seconds, 0, "0 s"], [seconds, 59.9, "59 s"], [seconds, 60, "1 min"], [seconds, 3725, "1 h 2 min"], [seconds, 100_000, "1 d 3 h"], [seconds, -3, "0 s"],
    [age, 3725, "1 h"], [bytes, 999, "999 B"], [bytes, 1200, "1.2 kB"], [bytes, 31_000_000, "31.0 MB"], [bytes, 5e15, "5000 TB"],
    [count, 1000, "1,000"], [rate, 0, "0"], [rate, 0.44, "0.4"], [rate, 3400.2, "3,400"],
  ];
  for (const [write, value, text] of table) assert.equal(write(value), text);
  for (const write of [ms, seconds, age, bytes, count, rate, clock]) for (const value of [undefined, null, NaN, "7", Infinity]) assert.equal(write(value), "–");
  assert.equal(clock(1e300), "–");
  assert.match(clock(1_700_000_000), /^\d\d:\d\d:\d\d$/);
  assert.equal(plural(1, "member"), "1 member");
  assert.equal(plural(2000, "member"), "2,000 members");
  assert.equal(short("8719554aab12"), "8719554aab");
  assert.equal(cut("abcdef", 4), "abc…");
});

test("a hash is read as it was written", () => {
  for (const [panel, segments, query] of [["node", ["a/b?c#d&é"], { tab: "x y&z" }], ["cluster", [], {}]]) {
    assert.deepEqual(routeOf(hashOf(panel, segments, query)), { panel, segments, query });
  }
  assert.deepEqual(routeOf(""), { panel: "", segments: [], query: {} });
  assert.equal(routeOf("#/node/%zz").segments[0], "%zz");
});

const places = (name) => ({ self1: { gid: "local" }, other: { node: { ip: "10.0.0.2", port: 80 } } })[name] ?? null;

test("a call to a group or to the serving node goes straight, one to another member by comm.send", () => {
  assert.deepEqual(requestOf("shop/stock/add", [1], { to: "a&b" }, places), { path: "shop/stock/add?to=%22a%26b%22", body: [1] });
  assert.deepEqual(requestOf("self1/status/get", ["port"], {}, places), { path: "local/status/get", body: ["port"] });
  assert.deepEqual(requestOf("other/status/stop", [], { now: true }, places), {
    path: `local/comm/send?kwargs=${encodeURIComponent('{"now":true}')}`,
    body: [[], { node: { ip: "10.0.0.2", port: 80 }, service: "status", method: "stop" }],
  });
  assert.throws(() => requestOf("status/stop", [], {}, places), TypeError);
});

test("addresses are read, IPv6 too", () => {
  assert.deepEqual(addressOf("[::1]:80"), { ip: "::1", port: 80 });
  assert.deepEqual(addressOf("10.0.0.1:8080"), { ip: "10.0.0.1", port: 8080 });
  for (const text of [undefined, "", "local", "10.0.0.1"]) assert.equal(addressOf(text), null);
});

function answering(status, body) {
  const refused = [];
  const fetch = async (url, options) => {
    answering.last = { url: String(url), ...options };
    if (status === 0) throw new TypeError("network");
    return { ok: status < 400, status, json: async () => JSON.parse(body) };
  };
  const call = caller({ root: "http://node/", session: { headers: () => ({}), refused: (text) => refused.push(text) }, place: () => null, surroundings: { fetch } });
  return { call, refused };
}

test("an answer is given, and each failure is a CallError in the node's words", async () => {
  const { call } = answering(200, '{"value": 1, "values": {"a": 1}, "errors": {}}');
  assert.deepEqual(await call("g/s/m", [], {}, { timeout_s: 2 }), { value: 1, values: { a: 1 }, errors: {} });
  assert.equal(answering.last.headers["Trionet-Timeout"], "2");
  const refusing = answering(401, '{"error": {"code": 1006, "name": "NotPermitted", "text": "no"}}');
  await assert.rejects(refusing.call("g/s/m"), (error) => error instanceof CallError && error.code === 1006 && error.text === "no" && error.status === 401);
  assert.deepEqual(refusing.refused, ["no"]);
  await assert.rejects(answering(502, "<html>").call("g/s/m"), (error) => error instanceof CallError && error.status === 502);
  await assert.rejects(answering(0, "").call("g/s/m"), (error) => error.name === "NoAnswer");
});

test("a session exchanges the token of the link, and forgets it when told", async () => {
  const kept = new Map();
  const storage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value), removeItem: (key) => kept.delete(key) };
  const fetch = async (url, { headers }) => ({ ok: headers.Authorization === "Bearer once", json: async () => (headers.Authorization === "Bearer once" ? { token: "long", scope: "call", expires: 9 } : { error: { text: "expired" } }) });
  const session = new Session({ url: "/session", storage, surroundings: { fetch } });
  assert.deepEqual([session.can("admin"), session.headers()], [true, {}]);
  await session.exchange("once");
  assert.deepEqual(session.headers(), { Authorization: "Bearer long" });
  assert.deepEqual([session.can("read"), session.can("call"), session.can("admin")], [true, true, false]);
  assert.equal(new Session({ url: "", storage, surroundings: {} }).token, "long");
  await assert.rejects(session.exchange("twice"), /expired/);
  session.use("");
  assert.equal(kept.size, 0);
  assert.equal(await session.askTabs(), "");
});

test("scopes include the smaller ones", () => {
  assert.ok(includes("admin", "read"));
  assert.ok(!includes("read", "call"));
  assert.ok(!includes("nonsense", "read"));
  assert.equal(tokenOfFragment("#token=a%2Bb"), "a+b");
  assert.equal(tokenOfFragment("#/cluster"), null);
});

test("members stand evenly on the ring, labels read from left to right", () => {
  for (const count of [1, 3, 24, 25, 60]) {
    for (let index = 0; index < count; index += 1) {
      const place = placeOf(index, count, 100);
      assert.ok(Math.abs(Math.hypot(place.x, place.y) - 100) < 0.02);
      const { turn } = labelAt(place.angle, count);
      assert.ok(Math.cos((turn * Math.PI) / 180) >= -1e-6, `${count}: ${index} is upside down`);
    }
  }
  assert.match(chordOf({ x: 0, y: -200 }, { x: 0, y: 200 }), /^M[-\d.]+ [-\d.]+Q[-\d.]+ [-\d.]+ [-\d.]+ [-\d.]+$/);
  assert.doesNotMatch(chordOf({ x: 5, y: 5 }, { x: 5, y: 5 }), /NaN/);
});

test("the bar of a round trip is logarithmic and bounded", () => {
  assert.ok(barOf(1) < barOf(10) && barOf(10) < barOf(100));
  assert.equal(barOf(1e9), barOf(1000));
  assert.equal(barOf(0), barOf(0.05));
  assert.equal(barOf(undefined), 0);
});

test("the time line has round ticks, few enough", () => {
  for (const length of [60, 300, 3600, 86_400, 8_640_000]) {
    const ticks = ticksOf(1000, 1000 + length, 6);
    assert.ok(ticks.length <= 7 && ticks.length >= 1, `${length}: ${ticks.length}`);
    assert.ok(ticks.every((tick) => tick >= 1000 && tick <= 1000 + length));
  }
  assert.deepEqual(spanOf([], 500, 0), { from: 440, to: 500 });
  assert.equal(spanOf([{ time: 0 }], 1000, 300).from, 700);
  assert.equal(worded({ kind: "suspect", sid: "x", by: "y" }, (sid) => sid), "x suspected by y");
  assert.equal(worded({ kind: "new kind", address: "a" }, (sid) => sid), "a new kind");
});

test("tasks come with each parent before its children, circles and strangers included", () => {
  const tasks = { 3: { name: "c", parent: "2" }, 1: { name: "a" }, 2: { name: "b", parent: "1" }, 4: { name: "d", parent: "gone" }, 5: { name: "e", parent: "5" } };
  assert.deepEqual(tasksOf(tasks).map(({ name, depth }) => `${name}${depth}`), ["a0", "b1", "c2", "d0", "e0"]);
  assert.deepEqual(tasksOf({ 1: { name: "a", parent: "2" }, 2: { name: "b", parent: "1" } }), []);
  assert.deepEqual(tasksOf(undefined), []);
});

test("a setting is changed where its value is not the default", () => {
  const settings = settingsOf({ b: { value: { x: 1 }, default: { x: 1 } }, a: { value: "x" }, c: {} });
  assert.deepEqual(settings.map(({ name, changed }) => [name, changed]), [["a", true], ["b", false], ["c", false]]);
  assert.equal(settings[0].usual, "none");
});

test("log lines are in order, from a level on, with all words", () => {
  const log = { 10: { level: "ERROR", logger: "a", text: "Boom" }, 9: { level: "INFO", logger: "a", text: "x" }, 2: { level: "odd", logger: "b", text: "y" } };
  assert.deepEqual(linesOfLog(log).map(({ number }) => number), ["2", "9", "10"]);
  assert.deepEqual(linesOfLog(log, "WARNING").map(({ number }) => number), ["10"]);
  assert.deepEqual(linesOfLog(log, "DEBUG", ["boom"]).map(({ number }) => number), ["10"]);
});

test("growth is per second, of what grows", () => {
  const growth = new Growth();
  assert.deepEqual(growth.of({ calls: 10, links: 5 }, 0), {});
  assert.deepEqual(growth.of({ calls: 30, links: 4 }, 2), { calls: 10 });
  assert.deepEqual(growth.of({ calls: 31, links: 4 }, 2.1), { calls: 10 }, "figures that come at once are one");
});

test("events are in order; a clock that was never set, or is ahead, does not spoil the picture", () => {
  const news = { 2: { time: 900 }, 10: { time: 900 }, 1: { time: 2000 }, 3: { time: 1e300 }, 4: {}, 5: { time: "soon" } };
  assert.deepEqual(inOrder(news, 1000).map(({ number, time }) => [number, time]), [["2", 900], ["10", 900], ["1", 1000]]);
  assert.equal(seconds(1e30), "–");
});
