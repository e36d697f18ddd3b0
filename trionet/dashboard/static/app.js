// The page: its frame, its panels by hash, and what panels get as `app`.

import { addressOf, caller } from "./call.js";
import { askToken, confirm, say } from "./dialogs.js";
import { clear, h, setAttr } from "./dom.js";
import { Frame } from "./frame.js";
import { cut, short } from "./format.js";
import { Keys } from "./keys.js";
import { PANELS } from "./panels.js";
import { hashOf, routeOf } from "./route.js";
import { Session, tokenOfFragment } from "./session.js";
import { Store } from "./store.js";
import { Streams } from "./streams.js";
import { Tabs } from "./tabs.js";
import { wellFormed } from "./wants.js";

const FRAME_WANTS = { topics: ["cluster"] };
const DEBOUNCE_MS = 120;
const HIDDEN_MS = 3000;

class App {
  constructor() {
    this.root = new URL("../", import.meta.url);
    this.session = new Session({ url: new URL("session", import.meta.url), storage: storage() });
    this.store = new Store(() => this.#wanted());
    this.stream = new Streams({
      url: new URL("stream", import.meta.url),
      session: this.session,
      onMessage: (topic, data, whole) => {
        this.#message(topic, data, whole);
        this.tabs.passMessage(topic, data, whole);
      },
      onState: (state) => {
        if (state.state !== "idle") this.frame.showLink(state);
        this.tabs.passState(state);
      },
    });
    this.tabs = new Tabs({
      stream: this.stream,
      documents: (topic) => (topic === "session" ? this.session.known : this.store.get(topic)),
      take: (topic, data, whole) => this.#message(topic, data, whole),
      show: (state) => this.frame.showLink(state),
      id: crypto.getRandomValues(new Uint32Array(2)).join("-"),
    });
    this.call = caller({ root: this.root, session: this.session, place: (name) => this.#place(name) });
    this.confirm = confirm;
    this.say = say;
    this.frame = new Frame(this);
    this.keys = new Keys(this);
  }

  async start() {
    this.session.onChange((what, text) => this.#sessionChanged(what, text));
    await this.#takeFragment();
    addEventListener("hashchange", () => this.#show());
    document.addEventListener("visibilitychange", () => this.#seen());
    addEventListener("pagehide", () => this.tabs.want(null));
    addEventListener("pageshow", ({ persisted }) => persisted && this.#wanted());
    this.store.on("cluster", (cluster) => this.#tick(cluster));
    await this.#show();
    this.store.want("frame", FRAME_WANTS);
  }

  /** Whether the token permits a scope: "read", "call" or "admin". */
  can(scope) {
    return this.session.can(scope);
  }

  /** Why a scope is not permitted, for a title; null where it is. */
  reason(scope) {
    return this.can(scope) ? null : `This needs a token with the scope ${scope}`;
  }

  /** Connect again at once. */
  retry() {
    this.tabs.retry();
  }

  /** Go to a hash: app.go("#/node/SID"). */
  go(hash) {
    location.hash = hash;
  }

  hash(panel, segments, query) {
    return hashOf(panel, segments, query);
  }

  /** A member of the cluster as the serving node knows it, or undefined. */
  member(sid) {
    const members = this.store.get("cluster")?.members;
    return members && Object.hasOwn(members, sid) ? members[sid] : undefined;
  }

  /** A member's address, or else the short form of its SID. */
  label(sid) {
    return cut(this.member(sid)?.address ?? short(sid), 60);
  }

  /** The server's clock, in seconds. */
  now() {
    return Date.now() / 1000 + (this.ahead ?? 0);
  }

  /** Change what the open panel wants of the stream. */
  want(want) {
    this.store.want("panel", wellFormed(Array.isArray(want) ? { topics: want } : want));
  }

  #place(name) {
    if (name === this.store.get("cluster")?.self) return { gid: "local" };
    const node = addressOf(this.member(name)?.address);
    return node ? { node } : null;
  }

  #tick(cluster) {
    if (typeof cluster.now === "number") this.ahead = cluster.now - Date.now() / 1000;
  }

  #wanted() {
    clearTimeout(this.debounce);
    this.debounce = setTimeout(() => {
      this.store.dropUnwanted();
      this.tabs.want(document.hidden ? null : this.store.wanted);
    }, DEBOUNCE_MS);
  }

  /** A page out of sight lets go of its stream after a while, so that a node gathers nothing for it. */
  #seen() {
    clearTimeout(this.hiding);
    if (document.hidden) this.hiding = setTimeout(() => this.#wanted(), HIDDEN_MS);
    else this.#wanted();
  }

  #message(topic, data, whole) {
    if (topic === "session") this.session.learn(data);
    else this.store.take(topic, data, whole);
  }

  async #takeFragment() {
    const token = tokenOfFragment(location.hash);
    if (!token) return;
    history.replaceState(null, "", `${location.pathname}${location.search}`);
    try {
      await this.session.exchange(token);
    } catch (error) {
      say(`The token of the link was not accepted: ${error.message}`);
    }
  }

  #sessionChanged(what, text) {
    this.frame.showSession(this.session.known);
    if (what === "refused") this.askToken(this.session.token ? text : "");
    else this.asking?.abort();
    if (what === "token") this.tabs.retry();
  }

  /** Ask other pages of this browser for a token, and else the reader. */
  async askToken(reason) {
    if (this.asking) return;
    this.asking = new AbortController();
    const found = await this.session.askTabs();
    const typed = found || this.asking.signal.aborted ? "" : await askToken(reason, this.asking.signal);
    this.asking = undefined;
    if (found) this.session.use(found);
    else if (typed) this.session.give(typed);
  }

  async #show() {
    const route = routeOf(location.hash);
    const panel = PANELS.find((one) => one.id === route.panel) ?? PANELS[0];
    this.frame.showTab(panel);
    if (this.shown?.panel === panel && this.shown.update) {
      this.want(this.shown.module.topics(route));
      this.shown.update(route);
      return;
    }
    this.shown?.unmount?.();
    const showing = { panel };
    this.shown = showing;
    const main = document.getElementById("main");
    try {
      const { default: module } = await panel.load();
      if (this.shown !== showing) return;
      clear(main);
      const root = h("div", { class: `panel panel-${panel.id}` });
      main.append(root);
      setAttr(main, "aria-label", panel.title);
      this.want(module.topics(route));
      const mounted = module.mount(root, this, route);
      Object.assign(showing, { module }, typeof mounted === "function" ? { unmount: mounted } : mounted);
    } catch (error) {
      if (this.shown === showing) this.#failed(main, panel, error);
    }
  }

  #failed(main, panel, error) {
    console.error(`the panel ${panel.id} did not open`, error);
    this.want(null);
    clear(main);
    main.append(h("p", { class: "notice", "data-kind": "error" }, `The panel "${panel.title}" did not open: ${error.message}`));
  }
}

function storage() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

new App().start();
