// The token of this tab, and what it permits. It lives in sessionStorage: not on disk for later, not in the URL.

const KEY = "trionet-token";
const ASK_MS = 250;
const ORDER = ["read", "call", "admin"];

/** Whether a token of one scope includes another. */
export function includes(scope, needed) {
  return ORDER.indexOf(scope) >= ORDER.indexOf(needed);
}

/** The one-minute token of a fragment such as "#token=abc", or null. */
export function tokenOfFragment(hash) {
  return new URLSearchParams(String(hash).replace(/^#/, "")).get("token");
}

export class Session {
  #token = null;
  #lacking = false;
  #known = { scope: "admin", keyed: false };
  #listeners = new Set();

  /** Args: url: where a one-minute token is exchanged. storage: a Storage, or null where there is none. */
  constructor({ url, storage, surroundings = globalThis }) {
    Object.assign(this, { url, storage, surroundings });
    this.#token = storage?.getItem(KEY) ?? null;
    this.#openChannel();
  }

  /** Answer other pages of this browser that ask for the token; ask them by askTabs(). */
  #openChannel() {
    const { BroadcastChannel } = this.surroundings;
    if (!BroadcastChannel) return;
    this.channel = new BroadcastChannel(KEY);
    this.channel.addEventListener("message", ({ data }) => {
      if (data.kind === "ask" && this.#token) this.channel.postMessage({ kind: "token", token: this.#token });
      else if (data.kind === "given" && this.#lacking && data.token !== this.#token) this.use(data.token);
    });
  }

  /** The token of another page of this browser, or "" after a short while. Not the one that was refused. */
  askTabs() {
    if (!this.channel) return Promise.resolve("");
    return new Promise((resolve) => {
      const answer = ({ data }) => data.kind === "token" && data.token !== this.#token && end(data.token);
      const timer = this.surroundings.setTimeout(() => end(""), ASK_MS);
      const end = (token) => {
        this.surroundings.clearTimeout(timer);
        this.channel.removeEventListener("message", answer);
        resolve(token);
      };
      this.channel.addEventListener("message", answer);
      this.channel.postMessage({ kind: "ask" });
    });
  }

  get token() {
    return this.#token;
  }

  /** {scope, keyed, expires?}, as the node says. */
  get known() {
    return this.#known;
  }

  headers() {
    return this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
  }

  can(scope) {
    return includes(this.#known.scope, scope);
  }

  onChange(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Give a token that the reader has typed to this page, and to all others of this browser that lack one. */
  give(token) {
    this.use(token);
    this.channel?.postMessage({ kind: "given", token });
  }

  /** Use a token that the reader, another tab, or the exchange gives. */
  use(token) {
    this.#token = token || null;
    this.#lacking = false;
    if (this.#token) this.storage?.setItem(KEY, this.#token);
    else this.storage?.removeItem(KEY);
    this.#tell("token");
  }

  /** Take what the node says of this token. */
  learn(known) {
    this.#lacking = false;
    this.#known = { scope: known.scope ?? "admin", keyed: Boolean(known.keyed), expires: known.expires };
    this.#tell("scope");
  }

  /** The node wants a token, or another one. */
  refused(text) {
    this.#lacking = true;
    this.#tell("refused", text);
  }

  /** Exchange a one-minute token for one of a session. Throws Error with the node's words. */
  async exchange(token) {
    const answer = await this.surroundings.fetch(this.url, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}` },
      cache: "no-store",
    });
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(body.error?.text ?? `the node answers ${answer.status}`);
    this.use(body.token);
    this.learn({ keyed: true, ...body });
  }

  #tell(what, text) {
    for (const listener of this.#listeners) listener(what, text);
  }
}
