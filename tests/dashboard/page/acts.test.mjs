// Forms, values, targets, copies, streams, groups and rumors: the parts that need no browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { argumentsOf, defaultOf, FieldError, fieldOf, fieldText, hasDefault, isLeftOut, parsed } from "../../../trionet/dashboard/static/arguments.js";
import { asCurl, asPython, python, quoted } from "../../../trionet/dashboard/static/copy-as.js";
import { agreementOf, inOrder, matrixOf, wordsOf } from "../../../trionet/dashboard/static/group-views.js";
import { countOf, filtered, sectionsOf } from "../../../trionet/dashboard/static/method-list.js";
import { explained, stairPath, stairsOf, timeScale, treeOf } from "../../../trionet/dashboard/static/rumor-layout.js";
import { linesOf, streamed, streamRequestOf } from "../../../trionet/dashboard/static/stream-call.js";
import { callOf, dangerOf, deedOf, located, scopeOf, targetOf } from "../../../trionet/dashboard/static/target.js";
import { brief, isIndefinite, meaningOf, shown, unwrapped } from "../../../trionet/dashboard/static/values.js";

const given = (text, more = {}) => ({ given: true, text, ...more });

test("each type of a field gives the node's own JSON", () => {
  const table = [
    ["int", "42", 42], ["int", " -1_000 ", -1000], ["int", "0x10", 16], ["int", "9007199254740993", { $int: "0x20000000000001" }], ["int", "-9007199254740993", { $int: "-0x20000000000001" }],
    ["float", "1.5", 1.5], ["float", "-inf", { $float: "-inf" }], ["float", "NaN", { $float: "nan" }], ["bool", "true", true], ["bool", "false", false],
    ["str", " a\n", " a\n"], ["str", "", ""], ["uuid", "00000000-0000-0000-0000-000000000001", { $uuid: "00000000000000000000000000000001" }],
    ["datetime", "2026-11-20 12:00Z", { $datetime: "2026-11-20T12:00+00:00" }], ["list", "[1, null]", [1, null]], ["list", "", []], ["dict", '{"a": 1}', { a: 1 }], ["json", "null", null],
  ];
  for (const [type, text, value] of table) assert.deepEqual(parsed({ type, kind: "either" }, text), value, `${type} ${text}`);
  assert.deepEqual(parsed({ type: "bytes" }, "hé"), { $bytes: "aMOp" });
  assert.deepEqual(parsed({ type: "bytes" }, "00 ff", "hex"), { $bytes: "AP8=" });
  assert.deepEqual(parsed({ type: "bytes" }, "AP8=", "base64"), { $bytes: "AP8=" });
  assert.equal(parsed({ type: "choice", choices: [1, 2] }, "2"), 2);
});

test("what does not fit is told in words", () => {
  const wrong = [["int", "1.5"], ["int", ""], ["int", "0x"], ["float", ""], ["float", "one"], ["float", "1e999"], ["uuid", "12"], ["datetime", "noon"], ["datetime", ""], ["list", "{}"], ["list", "1,2"], ["dict", "[]"], ["dict", "null"], ["json", ""], ["json", "hi"]];
  for (const [type, text] of wrong) assert.throws(() => parsed({ type, kind: "either" }, text), FieldError, `${type} ${text}`);
  assert.throws(() => parsed({ type: "bytes" }, "0", "hex"), FieldError);
  assert.throws(() => parsed({ type: "bytes" }, "a", "base64"), FieldError);
  assert.throws(() => parsed({ type: "json", kind: "either" }, "hi"), /a text is in quotes, "hi"/);
});

test("arguments go by position up to the first that is left out, and then by name", () => {
  const parameters = [
    { name: "a", kind: "either", type: "int" },
    { name: "b", kind: "either", type: "str", default: '"x"' },
    { name: "c", kind: "either", type: "int", default: "0" },
    { name: "rest", kind: "rest", type: "int" },
    { name: "key", kind: "keyword", type: "bool", default: "false" },
    { name: "named", kind: "named", type: "json" },
  ];
  assert.deepEqual(argumentsOf(parameters, { a: given("1") }), { args: [1], kwargs: {}, errors: {} });
  assert.deepEqual(argumentsOf(parameters, { a: given("1"), c: given("3") }), { args: [1], kwargs: { c: 3 }, errors: {} });
  const all = { a: given("1"), b: given("", { isNull: true }), c: given("3"), rest: given("[4, 5]"), key: given("true"), named: given('{"z": 1}') };
  assert.deepEqual(argumentsOf(parameters, all), { args: [1, null, 3, 4, 5], kwargs: { key: true, z: 1 }, errors: {} });
  assert.deepEqual(argumentsOf(parameters, {}).errors, { a: "this is needed" });
  assert.deepEqual(argumentsOf(parameters, { a: given("1"), rest: given("[4]") }).errors, { rest: "give b, too: it comes before" });
  const places = [{ name: "x", kind: "positional", type: "int", default: "1" }, { name: "y", kind: "positional", type: "int", default: "2" }];
  assert.deepEqual(argumentsOf(places, { y: given("3") }).errors, { y: "give x, too: it comes before" });
  assert.equal(hasDefault({ kind: "either", shown_default: "<object>" }), true);
  assert.deepEqual([defaultOf({ default: "null" }), defaultOf({ shown_default: "f()" }), defaultOf({})], ["none", "f()", ""]);
});

test("an emptied field stands for the default, unless to be empty is a value", () => {
  const types = { int: true, float: true, json: true, list: true, datetime: true, uuid: true, str: false, bytes: false };
  for (const [type, isDefault] of Object.entries(types)) {
    assert.equal(isLeftOut({ kind: "either", type, default: "null" }, " "), isDefault, type);
    assert.equal(isLeftOut({ kind: "either", type }, ""), false, `${type}, which is needed`);
    assert.equal(isLeftOut({ kind: "either", type, default: "null" }, "1"), false, `${type}, written`);
  }
  assert.equal(isLeftOut({ kind: "rest", type: "str" }, ""), true);
});

test("an error of the node finds its field", () => {
  const error = { name: "MalformedRequest", text: "argument 'cups' of brew(cups: int = 1) -> int: Expected `int`, got `str`" };
  assert.equal(fieldOf(error), "cups");
  assert.equal(fieldText(error), "Expected `int`, got `str`");
  assert.equal(fieldOf({ name: "RemoteError", text: error.text }), "");
  assert.equal(fieldOf({ name: "MalformedRequest", text: "no" }), "");
});

const place = (name) => ({ self: { gid: "local" }, other: { node: { ip: "10.0.0.2", port: 80 } } })[name] ?? null;
const node = { kind: "node", name: "other", address: "10.0.0.2:80", isSelf: false };
const own = { kind: "node", name: "self", address: "10.0.0.1:80", isSelf: true };
const group = { kind: "group", name: "kitchen" };
const whole = { kind: "whole", name: "kitchen" };
const both = { args: ["it's"], kwargs: { n: null } };

test("a call goes to a node, to each member of a group, or to the group as one", () => {
  assert.deepEqual(targetOf(["node", "other"], "self"), { kind: "node", name: "other" });
  assert.deepEqual(targetOf(["nonsense", "x"], "self"), { kind: "node", name: "self" });
  assert.deepEqual(located({ kind: "node", name: "self" }, "self", () => "10.0.0.1:80"), own);
  assert.equal(callOf(own, "s", "m", both).path, "local/s/m");
  assert.equal(callOf(node, "s", "m", both).path, "other/s/m");
  const { path, args, kwargs } = callOf(group, "s", "m", both);
  assert.deepEqual([path, args, kwargs], ["kitchen/comm/send", [["it's"], { service: "s", method: "m" }], { kwargs: { n: null } }]);
  assert.deepEqual(callOf(group, "s", "m", { args: [], kwargs: {} }).kwargs, {});
  assert.equal(callOf(whole, "status", "get", both).path, "kitchen/status/get");
});

test("what a call needs and does is told before it is made", () => {
  assert.equal(scopeOf(own, { scope: "read" }), "read");
  assert.equal(scopeOf(node, { scope: "read" }), "call");
  assert.equal(scopeOf(group, { scope: "admin" }), "admin");
  assert.equal(scopeOf(whole, { scope: "read" }), "read");
  assert.equal(scopeOf(own, { scope: "none" }), "none");
  assert.equal(deedOf(own, { is_read: true }), "It only reads: nothing changes on 10.0.0.1:80.");
  assert.equal(deedOf(group, { is_read: false }, 20), "It acts on each of the 20 members of kitchen, as soon as you call it.");
  assert.equal(dangerOf(group, "status", "stop", 2), "status.stop stops each of the 2 members of kitchen.");
  assert.equal(dangerOf(whole, "status", "stop", 2), "status.stop stops the group kitchen of 2 members.");
  for (const [service, method] of [["status", "get"], ["counter", "stop"], ["constructor", "stop"], ["status", "constructor"]]) assert.equal(dangerOf(own, service, method), "");
});

test("a call is copied as curl, and nothing of it is special to the shell", () => {
  const words = { root: new URL("http://127.0.0.1:8080/"), place, isKeyed: false };
  assert.equal(asCurl(callOf(own, "s", "m", both), words), "curl -X PUT 'http://127.0.0.1:8080/local/s/m?n=null' -d '[\"it'\\''s\"]'");
  assert.match(asCurl(callOf(node, "s", "m", both, true), { ...words, isKeyed: true }), /^curl -N -X PUT 'http:\/\/127.0.0.1:8080\/local\/comm\/stream\?kwargs=.*' -H "Authorization: Bearer \$TOKEN" -d /);
  assert.equal(quoted("a'$(b)`c`"), "'a'\\''$(b)`c`'");
});

test("a call is copied as Python", () => {
  assert.equal(asPython(callOf(node, "s", "m", both)), 'await node.local.comm.send(["it\'s"], trionet.Remote(node="10.0.0.2:80", service="s", method="m"), kwargs={"n": None})');
  assert.equal(asPython(callOf(group, "s", "m", { args: [], kwargs: {} })), 'await node.group("kitchen").comm.send([], trionet.Remote(service="s", method="m"))');
  assert.equal(asPython(callOf(whole, "status", "get", { args: ["nid"], kwargs: {} })), 'await node.group("kitchen").status.get("nid")');
  assert.equal(asPython(callOf(whole, "gossip", "del", { args: ["x"], kwargs: { class: 1 } })), 'await node.group("kitchen").gossip.del_("x", **{"class": 1})');
  assert.equal(asPython(callOf(whole, "mine", "do", both)), 'await node.group("kitchen").service("mine").do("it\'s", n=None)');
  assert.match(asPython(callOf(group, "s", "m", both, true)), /comm\.stream\(.*, items=True\) as items:\n {4}async for item in items:/);
  assert.equal(python([true, { $bytes: "aGki/w==" }, { $float: "nan" }, { $int: "0x10" }, { $tuple: [1] }, { $map: [] }, "é😀\n"]), '[True, b"hi\\"\\xff", float("nan"), 0x10, tuple([1]), {"$map": []}, "é😀\\n"]');
});

test("values are shown as what they stand for", () => {
  assert.equal(shown({ a: { $address: ["1.2.3.4", 5] }, b: [{ $bytes: "aGk=" }, { $bytes: "/w==" }, { $int: "0x400000000000000000" }] }), '{"a": 1.2.3.4:5, "b": [bytes "hi", bytes ff, 1180591620717411303424]}');
  assert.equal(shown({ $error: { name: "X", text: "t" } }), "X: t");
  assert.equal(shown({ $type: ["m:Kind", { x: 1 }] }), 'Kind {"x": 1}');
  for (const odd of [{ $bytes: 5 }, { $address: 1 }, { $int: "z" }, { $map: 3 }, { $set: 1 }, { $error: null }, { $type: [] }]) assert.equal(typeof shown(odd), "string");
  let deep = 1;
  for (let index = 0; index < 2000; index += 1) deep = [deep];
  assert.ok(shown(deep).length < 20_010);
  assert.equal(brief("x".repeat(500), 10).length, 10);
  assert.deepEqual([0, 13, 1100, 1, 10, 1000].map((code) => isIndefinite({ code })), [true, true, true, false, false, false]);
  assert.deepEqual([13, 0, 12].map((code) => meaningOf({ code })), ["it ran, and raised", "it may have happened", "it did not happen"]);
});

test("the error of a forwarded call is that of the call itself", () => {
  const raised = (type_name, message) => ({ name: "RemoteError", code: 13, text: `${type_name}: ${message}`, details: { type_name, message, traceback: "T" } });
  const unreachable = unwrapped(raised("trionet.errors.NodeUnreachable", "nobody listens (at 10.0.0.1:80)"));
  assert.deepEqual([unreachable.name, unreachable.text, unreachable.details.node, isIndefinite(unreachable)], ["NodeUnreachable", "nobody listens", "10.0.0.1:80", false]);
  assert.equal(isIndefinite(unwrapped(raised("trionet.errors.ConnectionLost", "gone"))), true);
  assert.equal(isIndefinite(unwrapped(raised("trionet.errors.NotPermitted", "no"))), false);
  assert.equal(unwrapped(raised("trionet.errors.RemoteError", "ValueError: x (y)")).text, "ValueError: x (y)");
  for (const error of [raised("ValueError", "x"), { name: "NoAnswer", code: 0, text: "x" }, { name: "RemoteError", code: 13, text: "x" }]) assert.equal(unwrapped(error), error);
});

const reader = (...chunks) => ({
  chunks: chunks.map((chunk) => (typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk)),
  async read() {
    return this.chunks.length ? { value: this.chunks.shift(), done: false } : { value: undefined, done: true };
  },
  async cancel() {
    this.isCancelled = true;
  },
});

async function all(items) {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
}

test("a stream is read line by line, however it is cut", async () => {
  const bytes = new TextEncoder().encode('{"item":"é"}\n{"item":2}\n\n{"end":true}');
  for (let at = 0; at <= bytes.length; at += 1) assert.deepEqual(await all(linesOf(reader(bytes.slice(0, at), bytes.slice(at)))), ['{"item":"é"}', '{"item":2}', '{"end":true}']);
});

test("a stream ends with its end, its error, or a broken connection", async () => {
  const session = { headers: () => ({}), refused() {} };
  const run = (text, ok = true) => all(streamed("kitchen/comm/send", [[], {}], {}, { root: "http://x/", session, place: () => null, fetch: async () => ({ ok, status: 200, body: { getReader: () => reader(text) }, json: async () => JSON.parse(text) }) }));
  assert.deepEqual(await run('{"item":1}\n{"item":null}\n{"end":true}\n'), [1, null]);
  await assert.rejects(run('{"item":1}\n{"error":{"code":13,"name":"RemoteError","text":"no"}}\n'), { name: "RemoteError", code: 13 });
  await assert.rejects(run('{"item":1}\n'), /broke off/);
  await assert.rejects(run('{"error":{"code":10,"name":"GroupNotFound","text":"none"}}', false), { name: "GroupNotFound" });
  assert.equal(streamRequestOf("kitchen/comm/send", [[], {}], { kwargs: {} }, () => null).path, "kitchen/comm/stream?kwargs=%7B%7D");
  assert.equal(streamRequestOf("local/comm/sender", [], {}, () => null).path, "local/comm/sender");
});

const form = (origin, doc) => ({ origin, doc, scope: "read", is_read: true });

test("the user's own services come first, and a filter finds methods by their words", () => {
  const document = { local: { shop: { add: form("put", "Add to the stock.") }, status: { get: form("built in") } }, group: { status: { stop: form("built in") }, mine: { go: form("template") } } };
  const sections = sectionsOf(document, group);
  assert.deepEqual(sections.map((one) => one.key), ["yours", "whole", "own"]);
  assert.equal(countOf(sections), "4 methods");
  assert.deepEqual(sectionsOf(document, own).map((one) => one.key), ["yours", "own"]);
  assert.deepEqual(filtered(sections, "shop.add").map((one) => one.services[0].methods[0].key), ["group/shop/add"]);
  assert.equal(countOf(filtered(sections, "STOCK")), "1 method");
  assert.equal(filtered(sections, "nothing").length, 0);
});

test("who is in a group is listed by address, its numbers by value", () => {
  const members = { a: "10.0.0.1:8110", b: "10.0.0.1:8099", c: "10.0.0.1:8100" };
  const label = (sid) => members[sid];
  assert.deepEqual(inOrder(members, label).map(([sid]) => sid), ["b", "c", "a"]);
  const { columns, rows } = matrixOf({ here: true, same: 1, size: 3, members, views: { a: { kind: "absent" }, b: { kind: "absent" } } }, label);
  assert.deepEqual([columns, rows.map((row) => row.sid)], [["b", "c", "a"], ["", "b", "a"]]);
});

test("a group's matrix has a row for those that agree, and one for each that differs", () => {
  const views = { c: { kind: "absent" }, d: { kind: "differs", lacks: 1, lacking: ["a"] }, e: { kind: "differs", has: 1, having: ["z"] }, f: { kind: "differs", lacks: 9, lacking: [] }, g: { kind: "differs" } };
  const { columns, rows } = matrixOf({ here: true, same: 2, size: 2, members: { a: "1", b: "2" }, views });
  assert.deepEqual(columns, ["a", "b", "z"]);
  assert.deepEqual(rows.map((row) => [row.sid, ...row.cells]), [["", "has", "has", "none"], ["c", "lacks", "lacks", "none"], ["d", "lacks", "has", "none"], ["e", "has", "has", "extra"], ["f", "unknown", "unknown", "none"], ["g", "has", "has", "none"]]);
  const part = matrixOf({ here: true, size: 1000, members: { a: "1" }, views: { c: { kind: "differs", lacks: 1, lacking: ["y"] }, d: { kind: "differs", has: 1, having: ["z"] } } });
  assert.deepEqual([part.columns, part.rows.map((row) => row.cells)], [["y", "z"], [["has", "none"], ["lacks", "none"], ["has", "extra"]]]);
  assert.deepEqual(Object.values(views).map(wordsOf), ["has no such group", "lacks 1", "has 1 more", "lacks 9", "differs"]);
  assert.equal(agreementOf({ here: true, same: 2, views }).text, "5 nodes differ");
  assert.equal(agreementOf({ here: true, same: 12, views: {} }).text, "the same on 12 nodes");
  assert.equal(agreementOf({ here: false, same: 0, views: { c: {} } }).text, "not on this node: on 1");
});

test("a rumor's tree has each member once, after the one that gave it", () => {
  const members = { o: { ms: 0, way: "sent", copies: 0 }, a: { ms: 1, way: "push", copies: 2, from: "o" }, b: { ms: 1, way: "push", copies: 1, from: "o" }, c: { ms: 2, way: "push", copies: 1, from: "b" }, d: { ms: 130, way: "pull", copies: 1, from: "a" }, x: { ms: 5, way: "push", copies: 1, from: "unknown" } };
  const rows = treeOf(members);
  assert.deepEqual(rows.map((row) => [row.sid, row.parent, row.depth]), [["o", -1, 0], ["a", 0, 1], ["d", 1, 2], ["b", 0, 1], ["c", 3, 2], ["x", -1, 0]]);
  const circle = { a: { ms: 1, way: "push", copies: 1, from: "b" }, b: { ms: 1, way: "push", copies: 1, from: "a" }, c: { ms: 1, way: "push", copies: 1, from: "c" } };
  assert.deepEqual(treeOf(circle).map((row) => row.sid).sort(), ["a", "b", "c"]);
});

test("any tree is drawn whole, whatever members tell", () => {
  let seed = 7;
  const random = (most) => (seed = (seed * 48_271) % 2_147_483_647) % most;
  for (let round = 0; round < 300; round += 1) {
    const size = random(30);
    const members = Object.fromEntries(Array.from({ length: size }, (_, index) => [`n${index}`, { ms: random(9), way: ["sent", "push", "pull"][random(3)], copies: 1, from: random(3) ? `n${random(size + 1)}` : undefined }]));
    const rows = treeOf(members);
    assert.deepEqual(rows.map((row) => row.sid).sort(), Object.keys(members).sort());
    rows.forEach((row, index) => assert.ok(row.parent < index));
  }
});

test("time is drawn by its logarithm, with ticks that don't touch", () => {
  const { scale, ticks } = timeScale(200, 600);
  assert.deepEqual([scale(0), scale(200), scale(999)], [0, 600, 600]);
  assert.ok(scale(2) > 100);
  ticks.reduce((before, tick) => (assert.ok(tick.x - before.x >= 44), tick));
  const points = stairsOf({ a: { ms: 0 }, b: { ms: 2 }, c: { ms: 2 } });
  assert.deepEqual(points, [{ ms: 0, count: 1 }, { ms: 2, count: 3 }]);
  assert.equal(stairPath(points, { scale: (ms) => 10 * ms, width: 50, height: 30, size: 3 }), "M0 30H0V20H20V0H50");
  assert.equal(stairPath([], { scale, width: 1, height: 1, size: 0 }), "");
});

test("what is seen of a rumor is explained in two lines", () => {
  const members = { o: { ms: 0, way: "sent", copies: 1 }, a: { ms: 1, way: "push", copies: 2, from: "o" }, b: { ms: 9, way: "pull", copies: 1, from: "a" } };
  const lines = explained({ members, copies: 4, duplicates: 2 });
  assert.equal(lines.length, 2);
  assert.match(lines[0], /pushed it to 1 of the others first.*1 got it by such a push/);
  assert.match(lines[1], /1 saw its id announced.*2 of 4 copies/);
  assert.match(explained({ members: {} })[0], /Nobody has told yet/);
});
