// Pages of one browser share the streams of one of them. The browser, its clock and its locks are made here.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Tabs } from "../../../trionet/dashboard/static/tabs.js";
import { covers } from "../../../trionet/dashboard/static/wants.js";
import { Browser, World } from "./world.mjs";

let pages = 0;

/** A page without a network: its stream only remembers what it was asked for. */
class Page {
  constructor(browser) {
    this.documents = new Map();
    this.shown = [];
    this.stream = {
      wanted: null,
      retried: 0,
      state: { state: "live" },
      want: (want) => (this.stream.wanted = want?.topics?.length ? want : null),
      retry: () => (this.stream.retried += 1),
    };
    this.tabs = new Tabs({
      stream: this.stream,
      documents: (topic) => this.documents.get(topic),
      take: (topic, data, whole) => (whole || this.documents.has(topic)) && this.documents.set(topic, data),
      show: (state) => this.shown.push(state.state),
      id: `page ${(pages += 1)}`,
      surroundings: browser.surroundings,
    });
  }

  want(want) {
    this.wanted = want;
    this.tabs.want(want);
  }

  /** A message comes on this page's own stream. */
  receive(topic, data, whole = true) {
    this.documents.set(topic, data);
    this.tabs.passMessage(topic, data, whole);
  }
}

async function calm(world, milliseconds = 20_000) {
  for (let passed = 0; passed < milliseconds; passed += 250) {
    world.pass(250);
    await world.settle1();
  }
}

World.prototype.settle1 = async function settle1() {
  for (let turn = 0; turn < 4; turn += 1) await Promise.resolve();
};

const CLUSTER = { topics: ["cluster", "news"], of: [] };

test("of many pages one streams, and all have the documents", async () => {
  const world = new World();
  const browser = new Browser(world);
  const all = Array.from({ length: 7 }, () => new Page(browser));
  for (const page of all) page.want(CLUSTER);
  await calm(world);
  const streaming = all.filter((page) => page.stream.wanted);
  assert.equal(streaming.length, 1);
  assert.ok(streaming[0].tabs.leading);
  streaming[0].receive("cluster", { members: {} });
  await calm(world, 500);
  assert.ok(all.every((page) => page.documents.get("cluster")));
});

test("a page that comes later gets the whole documents at once", async () => {
  const world = new World();
  const browser = new Browser(world);
  const first = new Page(browser);
  first.want(CLUSTER);
  await calm(world);
  first.receive("session", { scope: "read" });
  first.receive("cluster", { members: { a: 1 } });
  const second = new Page(browser);
  second.want({ topics: ["cluster"] });
  await calm(world, 1000);
  assert.deepEqual(second.documents.get("cluster"), { members: { a: 1 } });
  assert.deepEqual(second.documents.get("session"), { scope: "read" });
  assert.equal(second.stream.wanted, null);
  assert.equal(second.shown.at(-1), "live");
});

test("when the leading page ends or is hidden, another leads, for the wants of all", async () => {
  for (const part of ["end", "hide"]) {
    const world = new World();
    const browser = new Browser(world);
    const [first, second, third] = [new Page(browser), new Page(browser), new Page(browser)];
    first.want(CLUSTER);
    await calm(world);
    second.want({ topics: ["cluster", "calls"] });
    third.want({ topics: ["methods"] });
    await calm(world);
    if (part === "end") first.tabs.end();
    else first.want(null);
    await calm(world);
    assert.equal(first.stream.wanted, null);
    const leading = [second, third].filter((page) => page.tabs.leading);
    assert.equal(leading.length, 1);
    assert.deepEqual(leading[0].stream.wanted.topics, ["calls", "cluster", "methods"], part);
  }
});

test("pages that look at different nodes stream these by themselves", async () => {
  const world = new World();
  const browser = new Browser(world);
  const [first, second] = [new Page(browser), new Page(browser)];
  first.want({ topics: ["cluster", "node"], node: "n1" });
  await calm(world);
  second.want({ topics: ["cluster", "node"], node: "n2" });
  await calm(world);
  assert.equal(first.stream.wanted.node, "n1");
  assert.deepEqual(second.stream.wanted, { topics: ["node"], node: "n2" });
  first.receive("node", { sid: "n1" });
  await calm(world, 500);
  assert.equal(second.documents.get("node"), undefined, "the other node's document is not taken");
});

test("a page behind a frozen leader streams by itself", async () => {
  const world = new World();
  const browser = new Browser(world);
  const frozen = new Page(browser);
  frozen.want(CLUSTER);
  await calm(world);
  frozen.tabs.channel.onmessage = () => {};
  frozen.tabs.channel.postMessage = () => {};
  const second = new Page(browser);
  second.want(CLUSTER);
  await calm(world);
  assert.deepEqual(second.stream.wanted.topics, ["cluster", "news"]);
});

test("a page whose leader freezes streams by itself after a while", async () => {
  const world = new World();
  const browser = new Browser(world);
  const [first, second] = [new Page(browser), new Page(browser)];
  first.want(CLUSTER);
  await calm(world);
  second.want(CLUSTER);
  await calm(world);
  assert.equal(second.stream.wanted, null);
  first.tabs.channel.onmessage = () => {};
  first.tabs.channel.postMessage = () => {};
  await calm(world);
  assert.deepEqual(second.stream.wanted, CLUSTER);
});

test("what only a page that ended had wanted is no longer streamed: at once if it says so, else after a while", async () => {
  for (const polite of [true, false]) {
    const world = new World();
    const browser = new Browser(world);
    const [first, second] = [new Page(browser), new Page(browser)];
    first.want(CLUSTER);
    await calm(world);
    second.want({ topics: ["calls"] });
    await calm(world, 1000);
    assert.ok(first.stream.wanted.topics.includes("calls"));
    if (polite) second.tabs.end();
    else {
      second.tabs.channel.close();
      world.clearInterval(second.tabs.timer);
    }
    await calm(world, polite ? 5000 : 20_000);
    assert.deepEqual(first.stream.wanted.topics, CLUSTER.topics);
  }
});

test("a new leader serves the others within a second", async () => {
  const world = new World();
  const browser = new Browser(world);
  const [first, second, third] = [new Page(browser), new Page(browser), new Page(browser)];
  for (const page of [first, second, third]) {
    page.want(page === third ? { topics: ["calls"] } : CLUSTER);
    await calm(world, 5000);
  }
  first.tabs.end();
  await calm(world, 1000);
  assert.ok(second.tabs.leading);
  assert.deepEqual(second.stream.wanted.topics, ["calls", "cluster", "news"]);
  assert.equal(third.stream.wanted, null);
});

test("without Web Locks each page streams by itself", () => {
  const world = new World();
  const page = new Page({ surroundings: world });
  page.want(CLUSTER);
  assert.deepEqual(page.stream.wanted, CLUSTER);
  page.want(null);
  assert.equal(page.stream.wanted, null);
  page.tabs.end();
});

test("a follower that wants to connect again has the leader do so", async () => {
  const world = new World();
  const browser = new Browser(world);
  const [first, second] = [new Page(browser), new Page(browser)];
  first.want(CLUSTER);
  await calm(world);
  second.want(CLUSTER);
  await calm(world, 1000);
  second.tabs.retry();
  await calm(world, 500);
  assert.equal(first.stream.retried, 1);
});

/** Numbers from a seed (mulberry32). */
function seeded(seed) {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const SEEDS = Number(process.env.TRIONET_PAGE_SEEDS ?? 25);

test(`after any coming and going, each page in sight is served, and what is shared is streamed once (${SEEDS} seeds)`, async () => {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const random = seeded(seed);
    const world = new World();
    const browser = new Browser(world);
    let open = [];
    for (let step = 0; step < 25; step += 1) {
      const page = open[random(open.length || 1)];
      const act = random(6);
      if (act === 0 || !page) open.push(new Page(browser));
      else if (act === 1) {
        page.tabs.end();
        open = open.filter((one) => one !== page);
      } else if (act === 2) page.want(null);
      else page.want({ topics: ["cluster", ...["news", "calls", "node"].filter(() => random(2))], node: `n${random(2)}` });
      world.pass(random(3) * random(900));
      await world.settle1();
    }
    await calm(world);
    const seen = open.filter((page) => page.wanted);
    const leading = open.filter((page) => page.tabs.leading);
    assert.equal(leading.length, seen.length ? 1 : 0, `seed ${seed}: one page leads`);
    for (const page of open) if (!page.wanted) assert.equal(page.stream.wanted, null, `seed ${seed}: a hidden page streams`);
    for (const page of seen) {
      for (const topic of page.wanted.topics) {
        const own = covers(page.stream.wanted, page.wanted, topic);
        const led = covers(leading[0].stream.wanted, page.wanted, topic);
        assert.ok(own || led, `seed ${seed}: ${topic} is not served`);
      }
    }
    const wanted = new Set(seen.flatMap((page) => page.wanted.topics));
    for (const topic of leading[0]?.stream.wanted.topics ?? []) assert.ok(wanted.has(topic), `seed ${seed}: nobody wants ${topic}`);
    for (const topic of ["cluster", "news", "calls"]) {
      assert.ok(seen.filter((page) => page.stream.wanted?.topics.includes(topic)).length <= 1, `seed ${seed}: ${topic} is streamed twice`);
    }
  }
});
