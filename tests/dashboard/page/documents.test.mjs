// Documents: patches, messages of the stream, and the store that keeps them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { EventReader } from "../../../trionet/dashboard/static/events.js";
import { merged } from "../../../trionet/dashboard/static/patch.js";
import { Store } from "../../../trionet/dashboard/static/store.js";

// RFC 7396, appendix A. Results that are no object can't be told from a missing document, and are there all the same.
const RFC = [
  [{ a: "b" }, { a: "c" }, { a: "c" }],
  [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
  [{ a: "b" }, { a: null }, {}],
  [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
  [{ a: ["b"] }, { a: "c" }, { a: "c" }],
  [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
  [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
  [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
  [["a", "b"], ["c", "d"], ["c", "d"]],
  [{ a: "b" }, ["c"], ["c"]],
  [{ a: "foo" }, null, null],
  [{ a: "foo" }, "bar", "bar"],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [[1, 2], { a: "b", c: null }, { a: "b" }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
];

test("a patch does what RFC 7396 says", () => {
  for (const [target, patch, result] of RFC) assert.deepEqual(merged(structuredClone(target), patch), result);
});

test("a patch can't reach the prototype of objects", () => {
  const document = merged({ a: {} }, JSON.parse('{"__proto__": {"owned": 1}, "a": {"__proto__": {"owned": 1}, "constructor": {"prototype": {"owned": 1}}}}'));
  assert.equal({}.owned, undefined);
  assert.equal(document.a.owned, undefined);
  assert.deepEqual(document.a.constructor, { prototype: { owned: 1 } });
});

const TEXT = ': hello\n\nevent: cluster\ndata: {"a":\ndata: 1}\n\n:\n\ndata: plain\n\nevent: left over\n\nid: 7\nevent: news\r\ndata: x\r\n\r\n';
const MESSAGES = [
  { event: "cluster", data: '{"a":\n1}' },
  { event: "message", data: "plain" },
  { event: "news", data: "x" },
];

test("messages are the same wherever the text is cut", () => {
  for (let size = 1; size <= TEXT.length; size += 1) {
    const reader = new EventReader();
    const messages = [];
    for (let at = 0; at < TEXT.length; at += size) messages.push(...reader.feed(TEXT.slice(at, at + size)));
    assert.deepEqual(messages, MESSAGES, `pieces of ${size}`);
  }
});

test("a message without an end is refused", () => {
  const reader = new EventReader();
  const piece = `data: ${"x".repeat(1_000_000)}\n`;
  assert.throws(() => {
    for (let count = 0; count < 20; count += 1) reader.feed(piece);
  }, RangeError);
});

test("a listener hears the document that is there, and each change, until it ends", () => {
  const store = new Store();
  const heard = [];
  store.want("panel", { topics: ["cluster"] });
  store.take("cluster", { members: { a: { status: "alive" }, b: {} } }, true);
  const off = store.on("cluster", (document) => heard.push(structuredClone(document)));
  store.take("cluster", { members: { a: { status: "suspect" }, b: null } }, false);
  off();
  store.take("cluster", { members: { a: null } }, false);
  assert.deepEqual(heard, [{ members: { a: { status: "alive" }, b: {} } }, { members: { a: { status: "suspect" } } }]);
  assert.deepEqual(store.get("cluster"), { members: {} });
});

test("a patch to a document that is not there is left out", () => {
  const store = new Store();
  store.want("panel", { topics: ["cluster"] });
  store.take("cluster", { a: 1 }, false);
  assert.equal(store.get("cluster"), undefined);
});

test("a document that nobody wants is dropped, but not what the stream says of itself", () => {
  const store = new Store();
  store.want("frame", { topics: ["cluster"] });
  store.want("panel", { topics: ["news"] });
  for (const topic of ["cluster", "news", "feed"]) store.take(topic, {}, true);
  store.want("panel", null);
  store.want("panel", { topics: ["news"] });
  assert.deepEqual(store.get("news"), {}, "what is wanted again before the stream hears of it stays");
  store.want("panel", null);
  store.dropUnwanted();
  assert.deepEqual([store.get("cluster"), store.get("news"), store.get("feed")], [{}, undefined, {}]);
});

test("a listener that fails doesn't keep the others from hearing", (context) => {
  const error = context.mock.method(console, "error", () => {});
  const store = new Store();
  let heard = 0;
  store.on("cluster", () => {
    throw new Error("no");
  });
  store.on("cluster", () => (heard += 1));
  store.take("cluster", {}, true);
  assert.equal(heard, 1);
  assert.equal(error.mock.callCount(), 1);
});
