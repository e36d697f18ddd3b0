// What surrounds the panels: tabs, whose view it is, the state of the connection, the theme.

import { h, keyed, setAttr, setText, svg } from "./dom.js";
import { clock, cut, seconds, short } from "./format.js";
import { PANELS } from "./panels.js";

const THEMES = ["system", "light", "dark"];
const WORDS = { idle: "idle", connecting: "connecting", live: "live", lost: "no connection", locked: "token needed" };
const KEY = "trionet-theme";

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
      this.lostAt ??= Date.now();
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
    const scope = this.known?.keyed ? ` · may ${this.known.scope}` : "";
    setText(document.getElementById("where"), `${cluster.cluster ? `${cluster.cluster} · ` : ""}seen from ${self?.address ?? short(cluster.self)}${scope}`);
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

  #showTitle() {
    const cluster = this.app.store?.get("cluster");
    const members = Object.values(cluster?.members ?? {});
    const trouble = members.filter((member) => member.status === "suspect" || member.status === "failed").length;
    document.title = `${trouble ? `(${trouble}) ` : ""}${this.panel?.title ?? "Cluster"} · ${cluster?.cluster || "trionet"}`;
  }

  #showOutage() {
    const link = this.link;
    this.outage.hidden = link.state !== "lost" || Date.now() - this.lostAt < 1000;
    if (this.outage.hidden) return;
    this.text ??= h("span");
    this.wait ??= h("span", { class: "muted" });
    this.retry ??= h("button", { type: "button", class: "button", onclick: () => this.app.retry() }, "Try now");
    if (!this.outage.firstChild) this.outage.append(this.text, this.wait, this.retry);
    const since = this.lostAt / 1000;
    setText(this.text, `No connection since ${clock(since)} (${seconds(Date.now() / 1000 - since)}): ${link.text}. What you see is from then.`);
    setText(this.wait, `Next attempt in ${seconds(Math.max(0, Math.ceil((link.retryAt - Date.now()) / 1000)))}`);
  }
}


function failedOf(cluster) {
  return new Set(Object.keys(cluster.members ?? {}).filter((sid) => cluster.members[sid].status === "failed"));
}
