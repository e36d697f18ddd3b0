// One stream of documents from the node, kept open: it connects again with backoff, and says what state it is in.
//
// States: "idle" (nothing wanted), "connecting", "live", "lost" (tried again at `retryAt`), "locked" (a token is needed).

import { EventReader } from "./events.js";

export const FIRST_RETRY_MS = 500;
export const LAST_RETRY_MS = 15_000;
export const SILENCE_MS = 12_000; // the node sends a comment every 5 s

const SILENT = "the node is silent";

/** The wait before attempt number `failures`, with jitter, so that many pages don't come at once. */
export function retryAfterMs(failures, random) {
  const ceiling = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 10));
  return ceiling * (0.5 + random / 2);
}

/** The query of what is wanted, in a fixed order: "topics=a,b&of=x". Null if nothing is. */
export function queryOf(want) {
  if (!want?.topics?.length) return null;
  const parts = [`topics=${want.topics.map(encodeURIComponent).join(",")}`];
  if (want.of?.length) parts.push(`of=${want.of.map(encodeURIComponent).join(",")}`);
  for (const name of ["node", "rumor"]) if (want[name]) parts.push(`${name}=${encodeURIComponent(want[name])}`);
  return parts.join("&");
}

export class Stream {
  #query = null;
  #controller = null;
  #timer = null;
  #failures = 0;
  #state = { state: "idle", since: 0 };

  /**
   * Args:
   *   url: of the stream, without a query.
   *   session: gives headers(), and hears refused() when the node wants a token.
   *   onMessage(topic, data, whole): whole is true for the first message of a topic.
   *   onState(state): {state, since (ms), text?, retryAt? (ms), heardAt? (ms)}; heardAt, of a node that is silent.
   */
  constructor({ url, session, onMessage, onState, surroundings = globalThis }) {
    Object.assign(this, { url, session, onMessage, onState, surroundings });
  }

  get state() {
    return this.#state;
  }

  /** Stream what is wanted; null ends the stream. The same again changes nothing. */
  want(want) {
    const query = queryOf(want);
    if (query === this.#query) return;
    this.#query = query;
    this.#failures = 0;
    this.#restart();
  }

  /** Try again at once: the reader asks for it, or has given a token. */
  retry() {
    if (this.#query !== null && this.#state.state !== "live") this.#restart();
  }

  #restart() {
    this.#controller?.abort();
    this.#controller = null;
    this.surroundings.clearTimeout(this.#timer);
    if (this.#query === null) this.#show("idle");
    else this.#run(this.#query);
  }

  async #run(query) {
    const controller = new AbortController();
    this.#controller = controller;
    if (this.#state.state === "idle") this.#show("connecting");
    const watch = this.#watchSilence(controller);
    try {
      await this.#read(query, controller.signal, watch);
      this.#lost(controller, "the node has ended the stream");
    } catch (error) {
      if (error?.locked) this.#locked(controller, error.message);
      else this.#lost(controller, reasonOf(error, controller));
    } finally {
      watch.end();
    }
  }

  async #read(query, signal, watch) {
    const response = await this.surroundings.fetch(`${this.url}?${query}`, {
      headers: { Accept: "text/event-stream", ...this.session.headers() },
      cache: "no-store",
      signal,
    });
    if (!response.ok) throw await refusalOf(response);
    const seen = new Set();
    const events = new EventReader();
    const text = new TextDecoder();
    const reader = response.body.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done || signal.aborted) return;
      watch.heard();
      this.#failures = 0;
      if (this.#state.state !== "live") this.#show("live");
      for (const message of events.feed(text.decode(value, { stream: true }))) {
        this.onMessage(message.event, JSON.parse(message.data), !seen.has(message.event));
        seen.add(message.event);
      }
    }
  }

  #watchSilence(controller) {
    let timer = null;
    const heard = () => {
      this.surroundings.clearTimeout(timer);
      timer = this.surroundings.setTimeout(() => controller.abort(new Error(SILENT)), SILENCE_MS);
    };
    heard();
    return { heard, end: () => this.surroundings.clearTimeout(timer) };
  }

  #locked(controller, text) {
    if (controller !== this.#controller) return;
    this.#show("locked", { text });
    this.session.refused(text);
  }

  #lost(controller, text) {
    if (controller !== this.#controller) return;
    this.#failures += 1;
    const wait = retryAfterMs(this.#failures, this.surroundings.Math.random());
    const now = this.surroundings.Date.now();
    const silent = text === SILENT ? { heardAt: now - SILENCE_MS } : {};
    this.#show("lost", { text, retryAt: now + wait, ...silent });
    this.#timer = this.surroundings.setTimeout(() => this.#run(this.#query), wait);
  }

  #show(state, more = {}) {
    const now = this.surroundings.Date.now();
    const since = state === this.#state.state ? this.#state.since : now;
    this.#state = { state, since, ...more };
    this.onState(this.#state);
  }
}

async function refusalOf(response) {
  const body = await response.text().catch(() => "");
  let text = `the node answers ${response.status}`;
  try {
    text = JSON.parse(body).error.text ?? text;
  } catch {
    // Not the node itself: a proxy answers in its own words.
  }
  const error = new Error(text);
  error.locked = response.status === 401;
  return error;
}

function reasonOf(error, controller) {
  if (controller.signal.aborted) return controller.signal.reason?.message ?? "the stream was closed";
  return error instanceof TypeError ? "the node does not answer" : String(error?.message ?? error);
}
