// One stream per browser. A browser opens six connections to a node, so with a stream each the seventh page would not load.
//
// Of the pages in sight, the one that holds the Web Lock streams for all ("leads"), and passes messages on by a
// BroadcastChannel. A page whose wants the leader's stream can't serve (another node is looked at) streams these itself.
// Without Web Locks, which browsers give only to https: and to localhost, each page streams by itself. A hidden page wants nothing.

import { combined, covers, uncovered } from "./wants.js";

export const LOCK = "trionet-dashboard";
const RENEW_MS = 4000; // how often a follower says what it wants
const FORGET_MS = 13_000; // when the leader takes a silent follower for gone
const PATIENCE_MS = 1500; // how long a follower waits for a leader before it streams itself
const SETTLE_MS = 250; // how long it waits for the leader to stream more
const GATHER_MS = 60; // how long a leader gathers wants that come together
const OWN = new Set(["session", "feed"]); // what a stream tells of itself

export class Tabs {
  #want = null;
  #given = null;
  #leading = false;
  #release = null;
  #asked = null;
  #followers = new Map();
  #heard = 0;
  #led = null;
  #settling = null;
  #gathering = null;

  /**
   * Args:
   *   stream: the stream of this page: want(want), retry(), state.
   *   documents: topic -> document, as far as this page has them; the leader sends them to followers.
   *   take(topic, data, whole): a message from the leader.
   *   show(state): the state of the leader's stream.
   *   id: of this page; any text that no other page has.
   */
  constructor({ stream, documents, take, show, id, surroundings = globalThis }) {
    Object.assign(this, { stream, documents, take, show, id, surroundings });
    const { navigator, BroadcastChannel } = surroundings;
    this.shared = Boolean(navigator?.locks && BroadcastChannel);
    if (!this.shared) return;
    this.channel = new BroadcastChannel(LOCK);
    this.channel.onmessage = ({ data }) => this.#hear(data);
    this.timer = surroundings.setInterval(() => this.#tick(), RENEW_MS);
  }

  get leading() {
    return this.#leading;
  }

  /** Say what this page wants; null while it is hidden. */
  want(want) {
    this.#want = want;
    if (!this.shared) this.stream.want(want);
    else if (want === null) this.#leave();
    else this.#join();
  }

  /** A message or a state of this page's own stream: the leader passes it on. */
  passMessage(topic, data, whole) {
    if (this.#leading) this.channel.postMessage({ kind: "message", topic, data, whole });
  }

  passState(state) {
    if (this.#leading) this.channel.postMessage({ kind: "state", state, given: this.#given });
  }

  /** Connect again at once, or have the leader do so. */
  retry() {
    this.stream.retry();
    if (this.shared && !this.#leading) this.channel.postMessage({ kind: "retry" });
  }

  /** End with the page. */
  end() {
    if (!this.shared) return;
    this.#leave();
    this.surroundings.clearInterval(this.timer);
    this.channel.close();
  }

  #join() {
    if (this.#leading) this.#lead();
    else {
      this.#request();
      this.#follow();
    }
  }

  #leave() {
    this.#asked?.abort();
    this.#asked = null;
    this.#release?.();
    this.#release = null;
    if (!this.#leading) this.channel.postMessage({ kind: "bye", from: this.id });
    this.#leading = false;
    this.#followers.clear();
    this.#given = null;
    this.#led = null;
    this.surroundings.clearTimeout(this.#settling);
    this.surroundings.clearTimeout(this.#gathering);
    this.stream.want(null);
  }

  #request() {
    if (this.#asked) return;
    const asked = new AbortController();
    this.#asked = asked;
    this.#heard = this.#now();
    const held = () =>
      new Promise((release) => {
        if (asked.signal.aborted) return release();
        this.#release = release;
        this.#leading = true;
        this.channel.postMessage({ kind: "who" });
        return this.#lead();
      });
    this.surroundings.navigator.locks.request(LOCK, { signal: asked.signal }, held).catch(() => {});
  }

  #lead() {
    const given = combined([this.#want, ...[...this.#followers.values()].map((one) => one.want)]);
    const changed = JSON.stringify(given) !== JSON.stringify(this.#given);
    this.#given = given;
    this.stream.want(given);
    if (changed) this.channel.postMessage({ kind: "given", given });
  }

  #follow() {
    this.channel.postMessage({ kind: "want", from: this.id, want: this.#want });
    this.#settleSoon();
  }

  #settleSoon() {
    this.surroundings.clearTimeout(this.#settling);
    this.#settling = this.surroundings.setTimeout(() => this.#settle(), this.#given ? SETTLE_MS : PATIENCE_MS);
  }

  /** Stream what the leader doesn't; all, where none speaks: it may be frozen. */
  #settle() {
    if (this.#leading || !this.#want) return;
    const rest = uncovered(this.#given, this.#want);
    this.stream.want(rest);
    if (!rest && this.#led) this.show(this.#led);
  }

  #tick() {
    if (!this.#want) return;
    if (!this.#leading) {
      if (this.#now() - this.#heard > FORGET_MS) this.#given = null; // the leader is gone or frozen
      this.#follow();
      return;
    }
    for (const [id, one] of this.#followers) if (this.#now() - one.heard > FORGET_MS) this.#followers.delete(id);
    this.#lead();
    this.channel.postMessage({ kind: "given", given: this.#given });
  }

  #hear(message) {
    if (this.#leading) this.#hearFollower(message);
    else if (this.#want) this.#hearLeader(message);
  }

  #hearFollower({ kind, from, want }) {
    if (kind === "retry") this.stream.retry();
    else if (kind === "bye") this.#followers.delete(from);
    else if (kind === "want") {
      const before = this.#followers.get(from);
      this.#followers.set(from, { want, heard: this.#now() });
      if (JSON.stringify(before?.want) === JSON.stringify(want)) return;
      this.surroundings.clearTimeout(this.#gathering);
      this.#gathering = this.surroundings.setTimeout(() => this.#leading && this.#greet(want), GATHER_MS);
    }
  }

  #greet(want) {
    this.#lead();
    this.channel.postMessage({ kind: "state", state: this.stream.state, given: this.#given });
    for (const topic of [...OWN, ...(want?.topics ?? [])]) {
      const data = this.documents(topic);
      if (data !== undefined && (OWN.has(topic) || covers(this.#given, want, topic))) this.channel.postMessage({ kind: "message", topic, data, whole: true });
    }
  }

  #hearLeader({ kind, topic, data, whole, state, given }) {
    if (kind === "who") {
      this.#given = null;
      this.#heard = this.#now();
      this.#follow();
    } else if (kind === "message") {
      this.#heard = this.#now();
      if (OWN.has(topic) || covers(this.#given, this.#want, topic)) this.take(topic, data, whole);
    } else if (kind === "given" || kind === "state") {
      this.#heard = this.#now();
      this.#given = given;
      if (state) this.#led = state;
      if (uncovered(given, this.#want)) this.#settleSoon();
      else this.#settle();
    }
  }

  #now() {
    return this.surroundings.Date.now();
  }
}
