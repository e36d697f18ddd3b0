// One stream: connecting, reading, losing, and connecting again. The network, the clock and chance are made here.

import assert from "node:assert/strict";
import { test } from "node:test";
import { LAST_RETRY_MS, queryOf, retryAfterMs, SILENCE_MS, Stream } from "../../../trionet/dashboard/static/stream.js";
import { gravest } from "../../../trionet/dashboard/static/streams.js";
import { World } from "./world.mjs";

function opened(world, session = {}) {
  const seen = { messages: [], states: [], refused: [] };
  const stream = new Stream({
    url: "http://node/dashboard/stream",
    session: { headers: () => ({ Authorization: "Bearer t" }), refused: (text) => seen.refused.push(text), ...session },
    onMessage: (...message) => seen.messages.push(message),
    onState: ({ state }) => seen.states.push(state),
    surroundings: world,
  });
  return { stream, seen };
}

test("a stream sends the token, and gives the first message of a topic as a whole", async () => {
  const world = new World();
  const { stream, seen } = opened(world);
  stream.want({ topics: ["cluster", "news"], of: ["a b"] });
  const [request] = await world.requests(1);
  assert.equal(request.url, "http://node/dashboard/stream?topics=cluster,news&of=a%20b");
  assert.equal(request.headers.Authorization, "Bearer t");
  request.open();
  request.send('event: cluster\ndata: {"a":1}\n\nevent: cluster\ndata: {"a":2}\n\nevent: news\nda');
  request.send("ta: {}\n\n");
  await world.settle();
  assert.deepEqual(seen.messages, [["cluster", { a: 1 }, true], ["cluster", { a: 2 }, false], ["news", {}, true]]);
  assert.deepEqual(seen.states, ["connecting", "live"]);
});

test("a lost stream is tried again, ever more rarely, and its first messages are whole again", async () => {
  const world = new World();
  const { stream, seen } = opened(world);
  stream.want({ topics: ["cluster"] });
  const waits = [];
  for (let count = 1; count <= 8; count += 1) {
    (await world.requests(count)).at(-1).fail();
    await world.settle();
    assert.equal(stream.state.state, "lost");
    waits.push(stream.state.retryAt - world.now);
    world.pass(waits.at(-1));
  }
  assert.ok(waits.every((wait, index) => index === 0 || wait >= waits[index - 1]), String(waits));
  assert.ok(waits.at(-1) <= LAST_RETRY_MS);
  const since = stream.state.since;
  assert.equal(since, 0, "lost since the first failure");
  const request = (await world.requests(9)).at(-1);
  request.open();
  request.send('event: cluster\ndata: {"a":1}\n\n');
  await world.settle();
  assert.deepEqual(seen.messages, [["cluster", { a: 1 }, true]]);
  request.end();
  await world.settle();
  assert.equal(stream.state.state, "lost");
  assert.ok(stream.state.retryAt - world.now <= 500, "after a success it begins anew");
});

test("a node that is silent for longer than its comments take is lost", async () => {
  const world = new World();
  const { stream } = opened(world);
  stream.want({ topics: ["cluster"] });
  const [request] = await world.requests(1);
  request.open();
  request.send(": \n\n");
  await world.settle();
  world.pass(SILENCE_MS - 1);
  await world.settle();
  assert.equal(stream.state.state, "live");
  world.pass(2);
  await world.settle();
  assert.equal(stream.state.state, "lost");
  assert.equal(stream.state.text, "the node is silent");
  assert.equal(stream.state.heardAt, stream.state.since - SILENCE_MS, "what is on the page is from then");
});

test("401 asks for a token, and is not tried again without one", async () => {
  const world = new World();
  const { stream, seen } = opened(world);
  stream.want({ topics: ["cluster"] });
  (await world.requests(1))[0].refuse(401, { error: { text: "this needs a token" } });
  await world.settle();
  assert.deepEqual(seen.refused, ["this needs a token"]);
  assert.equal(stream.state.state, "locked");
  world.pass(60_000);
  await world.settle();
  assert.equal(world.count, 1);
  stream.retry();
  await world.requests(2);
});

test("any other refusal is shown in the node's words", async () => {
  const world = new World();
  const { stream } = opened(world);
  stream.want({ topics: ["cluster"] });
  (await world.requests(1))[0].refuse(503, { error: { text: "the node is stopping" } });
  await world.settle();
  assert.equal(stream.state.text, "the node is stopping");
});

test("another want ends the stream before, whose late messages are not heard", async () => {
  const world = new World();
  const { stream, seen } = opened(world);
  stream.want({ topics: ["cluster"] });
  const [first] = await world.requests(1);
  first.open();
  stream.want({ topics: ["cluster"] });
  stream.want({ topics: ["news"] });
  const [, second] = await world.requests(2);
  assert.ok(first.signal.aborted);
  first.send("event: cluster\ndata: {}\n\n");
  second.open();
  second.send("event: news\ndata: {}\n\n");
  await world.settle();
  assert.deepEqual(seen.messages, [["news", {}, true]]);
  stream.want(null);
  await world.settle();
  assert.ok(second.signal.aborted);
  assert.equal(stream.state.state, "idle");
  world.pass(60_000);
  await world.settle();
  assert.equal(world.count, 2);
});

test("the wait before a retry has jitter and a ceiling", () => {
  assert.equal(retryAfterMs(1, 0), 250);
  assert.equal(retryAfterMs(1, 1), 500);
  assert.equal(retryAfterMs(1000, 1), LAST_RETRY_MS);
});

test("nothing wanted is no query", () => {
  assert.equal(queryOf(null), null);
  assert.equal(queryOf({ topics: [] }), null);
  assert.equal(queryOf({ topics: ["node"], node: "a&b" }), "topics=node&node=a%26b");
});

test("of several streams the gravest state is shown", () => {
  assert.equal(gravest([{ state: "idle" }, { state: "live" }]).state, "live");
  assert.equal(gravest([{ state: "live" }, { state: "lost", text: "x" }]).text, "x");
});
