// Shortcuts of the keyboard, and the help that lists them. They can be switched off, as WCAG 2.1.4 asks.

import { ask } from "./dialogs.js";
import { h } from "./dom.js";
import { PANELS } from "./panels.js";
import { stateBadge } from "./states.js";

const OFF = "trionet-keys-off";
const SIGNS = [
  ["alive", "answers its peers"],
  ["suspect", "did not answer; has a short time to refute it"],
  ["failed", "taken for dead by the cluster"],
  ["left", "has said goodbye"],
  ["joining", "known, not yet heard of"],
];

export class Keys {
  constructor(app) {
    this.app = app;
    this.on = !stored();
    document.getElementById("help").addEventListener("click", () => this.help());
    addEventListener("keydown", (event) => this.#pressed(event));
  }

  #pressed(event) {
    if (!this.on || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable], dialog")) return;
    const panel = PANELS[Number(event.key) - 1];
    if (panel) this.app.go(`#/${panel.id}`);
    else if (event.key === "?") this.help();
    else if (event.key === "t") this.app.frame.nextTheme();
    else if (event.key === "r") this.app.retry();
    else if (event.key === "/" && this.#filter()) event.preventDefault();
  }

  #filter() {
    const field = document.querySelector("main input[type=search]");
    field?.focus();
    return Boolean(field);
  }

  help() {
    const row = (key, effect) => [h("dt", null, h("kbd", null, key)), h("dd", null, effect)];
    ask((close) => [
      h("h2", { id: "dialog-title" }, "Keyboard and signs"),
      h("dl", { class: "pairs" }, ...PANELS.map((panel, index) => row(index + 1, panel.title)), row("/", "Filter"), row("t", "Theme: system, light, dark"), row("r", "Connect again now"), row("?", "This help"), row("Esc", "Close")),
      h("label", null, h("input", { type: "checkbox", checked: this.on, onchange: (event) => this.#switch(event.target.checked) }), " Shortcuts are on"),
      h("h3", null, "Signs"),
      h("dl", { class: "pairs" }, ...SIGNS.map(([state, text]) => [h("dt", null, stateBadge(state)), h("dd", null, text)])),
      h("div", { class: "actions" }, h("button", { type: "button", class: "button", autofocus: true, onclick: () => close("") }, "Close")),
    ]);
  }

  #switch(on) {
    this.on = on;
    try {
      if (on) localStorage.removeItem(OFF);
      else localStorage.setItem(OFF, "1");
    } catch {
      // No storage: it holds for this page.
    }
  }
}

function stored() {
  try {
    return localStorage.getItem(OFF) !== null;
  } catch {
    return false;
  }
}
