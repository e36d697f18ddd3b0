// What surrounds the panels: tabs, whose view it is, the state of the connection, the theme.

import { h, keyed, setAttr, setText, svg } from "./dom.js";
import { clock, cut, seconds, short } from "./format.js";
import { PANELS } from "./panels.js";

const THEMES = ["system", "light", "dark"];
const WORDS = { idle: "idle", connecting: "connecting", live: "live", lost: "no connection", locked: "token needed" };
const KEY = "trionet-theme";
const SOON_S = 600;

export class Frame {
  constructor(app) {
    this.app = app;
    this.tabs = document.getElementById("tabs");
    this.outage = document.getElementById("outage");
    keyed(this.tabs, PANELS, (panel) => panel.id, (panel, id) => h("a", { class: "tab", href: `#/${id}`, "data-panel": id }, panel.title));
    this.theme = document.getElementById("theme");
    this.theme.addEventListener("click", () => this.nextTheme());
    this.#showTheme();
    this.trouble = document.getElementById("trouble");
    app.store.on("cluster", (cluster) => this.#showWhere(cluster));
    app.store.on("cluster", (cluster) => this.#speakOfFailures(cluster));
    app.store.on("feed", (feed) => this.#showTrouble(feed));
  }

  showTab(panel) {
    for (const tab of this.tabs.children) setAttr(tab, "aria-current", tab.dataset.panel === panel.id ? "page" : null);
    this.panel = panel;
    this.#showTitle();
  }

  showSession(known) {
    this.known = known;
    this.#showWhere(this.app.store.get("cluster"));
  }

  showLink(link) {
    this.link = link;
    const state = document.getElementById("link-state");
    setAttr(state, "data-state", link.state);
    setText(document.getElementById("link-word"), WORDS[link.state]);
    document.body.classList.toggle("stale", link.state === "lost" || link.state === "locked");
    clearInterval(this.countdown);
    if (link.state === "lost" && !this.lostAt) this.speak("No connection to the node.");
    if (link.state === "live" && this.lostAt) this.speak("Connected again.");
    if (link.state === "lost") {
      this.lostAt ??= link.heardAt ?? Date.now();
      this.countdown = setInterval(() => this.#showOutage(), 1000);
    } else if (link.state === "live" || link.state === "idle") this.lostAt = undefined;
    this.#showOutage();
  }

  nextTheme() {
    const now = document.documentElement.dataset.theme ?? "system";
    const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      if (next === "system") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, next);
    } catch {
      // No storage: the theme holds for this page.
    }
    this.#showTheme();
  }

  #showTheme() {
    const theme = document.documentElement.dataset.theme ?? "system";
    const label = { system: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" }[theme];
    setAttr(this.theme, "aria-label", label);
    setAttr(this.theme, "title", label);
    this.theme.replaceChildren(
      svg(
        "svg",
        { viewBox: "-9 -9 18 18", width: 18, height: 18, "aria-hidden": "true", class: "theme-icon" },
        svg("circle", { r: 6.5, class: "theme-edge" }),
        svg("path", { class: "theme-fill", d: { system: "M0-6.5A6.5 6.5 0 0 1 0 6.5Z", light: "M0-2.5A2.5 2.5 0 0 1 0 2.5A2.5 2.5 0 0 1 0-2.5Z", dark: "M-6.5 0A6.5 6.5 0 0 1 6.5 0A6.5 6.5 0 0 1-6.5 0Z" }[theme] }),
      ),
    );
  }

  #showWhere(cluster) {
    if (!cluster) return;
    const self = cluster.members?.[cluster.self];
    const scope = this.known?.keyed ? ` · may ${this.known.scope}${this.#tokenEnds()}` : "";
    setText(document.getElementById("where"), `${cluster.cluster ? `${cut(cluster.cluster, 40)} · ` : ""}seen from ${cut(self?.address ?? short(cluster.self), 60)}${scope}`);
    this.#showTitle();
  }

  /** For screen readers alone, and seldom: what one must not miss. */
  speak(text) {
    setText(document.getElementById("spoken"), text);
  }

  #speakOfFailures(cluster) {
    const failed = failedOf(cluster);
    const fresh = this.failed ? [...failed].filter((sid) => !this.failed.has(sid)) : [];
    this.failed = failed;
    if (fresh.length) this.speak(`${fresh.slice(0, 3).map((sid) => this.app.label(sid)).join(", ")}${fresh.length > 3 ? ` and ${fresh.length - 3} more` : ""} failed.`);
  }

  #showTrouble(feed) {
    const errors = Object.entries(feed.errors ?? {});
    this.trouble.hidden = errors.length === 0;
    setText(this.trouble, errors.map(([topic, text]) => `Not up to date: ${topic} (${cut(text, 200)})`).join(". "));
  }

  /** How long the token is good, when that is not long. */
  #tokenEnds() {
    const left = this.known.expires - this.app.now();
    return left < SOON_S ? ` for ${seconds(left)}` : "";
  }

  #showTitle() {
    const cluster = this.app.store?.get("cluster");
    const members = Object.values(cluster?.members ?? {});
    const trouble = members.filter((member) => member.status === "suspect" || member.status === "failed").length;
    document.title = `${trouble ? `(${trouble}) ` : ""}${this.panel?.title ?? "Cluster"} · ${cluster?.cluster || "trionet"}`;
  }

  #showOutage() {
    const { state, text, retryAt } = this.link;
    const lost = state === "lost" && Date.now() - this.lostAt >= 1000;
    this.outage.hidden = !lost && state !== "locked";
    if (this.outage.hidden) return;
    if (!this.outage.firstChild) this.#makeOutage();
    const [words, wait, retry, token] = this.outage.children;
    const since = this.lostAt / 1000;
    setText(words, lost ? `No connection since ${clock(since)} (${seconds(Date.now() / 1000 - since)}): ${cut(text, 200)}. What you see is from then.` : "The node needs a token, or another one.");
    setText(wait, lost ? `Next attempt in ${seconds(Math.max(0, Math.ceil((retryAt - Date.now()) / 1000)))}` : "");
    retry.hidden = !lost;
    token.hidden = lost;
  }

  #makeOutage() {
    const button = (word, act) => h("button", { type: "button", class: "button", onclick: act }, word);
    this.outage.append(h("span"), h("span", { class: "muted" }), button("Try now", () => this.app.retry()), button("Give a token", () => this.app.askToken(this.link.text)));
  }
}


function failedOf(cluster) {
  return new Set(Object.keys(cluster.members ?? {}).filter((sid) => cluster.members[sid].status === "failed"));
}
