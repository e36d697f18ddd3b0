// Elements: what is set from a peer's words, and lists whose elements are kept.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

class FakeNode {
  childNodes = [];
  parentNode = null;
  attributes = new Map();
  moves = 0;

  constructor(tag, text = "") {
    this.tag = tag;
    this.text = text;
  }

  get firstChild() {
    return this.childNodes[0] ?? null;
  }

  get nextSibling() {
    return this.parentNode.childNodes[this.parentNode.childNodes.indexOf(this) + 1] ?? null;
  }

  get textContent() {
    return this.text + this.childNodes.map((child) => child.textContent).join("");
  }

  set textContent(text) {
    this.childNodes = [];
    this.text = text;
    this.moves += 1;
  }

  append(child) {
    this.insertBefore(child instanceof FakeNode ? child : new FakeNode("#text", child), null);
  }

  insertBefore(child, next) {
    child.remove();
    child.parentNode = this;
    child.moves += 1;
    const at = next ? this.childNodes.indexOf(next) : this.childNodes.length;
    this.childNodes.splice(at, 0, child);
  }

  remove() {
    if (this.parentNode) this.parentNode.childNodes.splice(this.parentNode.childNodes.indexOf(this), 1);
    this.parentNode = null;
  }

  hasAttribute(name) {
    return this.attributes.has(name);
  }

  getAttribute(name) {
    return this.attributes.get(name) ?? null;
  }

  setAttribute(name, value) {
    this.attributes.set(name, value);
  }

  removeAttribute(name) {
    this.attributes.delete(name);
  }
}

globalThis.Node = FakeNode;
globalThis.document = { createElement: (tag) => new FakeNode(tag), createElementNS: (_, tag) => new FakeNode(tag) };
const { h, keyed, setAttr, setText } = await import("../../../trionet/dashboard/static/dom.js");

let list;
beforeEach(() => (list = new FakeNode("ul")));

const shown = (items) => {
  keyed(list, items, (item) => item.id, (item) => h("li", null, item.text), (element, item) => setText(element, item.text));
  return list.childNodes.map((child) => child.textContent).join("");
};
const items = (text) => [...text].map((one) => ({ id: one, text: one }));

test("a list shows its items in any order, and keeps the elements of those that stay", () => {
  assert.equal(shown(items("abcd")), "abcd");
  const before = new Map(list.childNodes.map((child) => [child.textContent, child]));
  assert.equal(shown(items("dbxa")), "dbxa");
  for (const child of list.childNodes) if (before.has(child.textContent)) assert.equal(child, before.get(child.textContent));
  assert.equal(shown(items("")), "");
});

test("an element in its place is not touched", () => {
  shown(items("abc"));
  const moves = list.childNodes.map((child) => child.moves);
  shown(items("abc"));
  assert.deepEqual(list.childNodes.map((child) => child.moves), moves);
  shown(items("abcd"));
  assert.deepEqual(list.childNodes.slice(0, 3).map((child) => child.moves), moves);
});

test("of items with one key the first is shown", () => {
  assert.equal(shown([{ id: "a", text: "1" }, { id: "a", text: "2" }]), "1");
});

test("markup, styles and scripts can't be set", () => {
  for (const name of ["innerHTML", "outerHTML", "srcdoc", "style"]) assert.throws(() => h("p", { [name]: "x" }), TypeError);
  assert.throws(() => h("p", { onclick: "alert(1)" }), TypeError);
  for (const href of ["javascript:alert(1)", "JaVaScRiPt:x", "data:text/html,x", " javascript:x"]) assert.throws(() => h("a", { href }), TypeError);
  for (const href of ["#/node/x", "/x", "../x", "https://trionet.example"]) h("a", { href });
});

test("texts of peers are texts", () => {
  const element = h("p", { title: "<b>" }, "<script>x</script>", null, false, [1, ["two"]]);
  assert.deepEqual(element.childNodes.map((child) => [child.tag, child.text]), [["#text", "<script>x</script>"], ["#text", "1"], ["#text", "two"]]);
});

test("attributes are removed by null and false", () => {
  const element = h("p", { id: "a", "data-x": true });
  assert.equal(element.getAttribute("data-x"), "");
  setAttr(element, "data-x", false);
  setAttr(element, "id", null);
  assert.equal(element.attributes.size, 0);
});
