// Questions and short messages: real <dialog> elements, so focus, Escape and screen readers work as everywhere.

import { h } from "./dom.js";

/** Show a dialog; return a promise of its return value ("" for closed without an answer). A signal closes it. */
export function ask(make, signal) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" });
    const close = (value) => dialog.close(value);
    dialog.append(...make(close));
    signal?.addEventListener("abort", () => close(""));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
    dialog.addEventListener("click", (event) => event.target === dialog && close(""));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Ask whether to do something. The way out has the focus when it is dangerous. */
export async function confirm({ title, text, action, danger = false }) {
  const answer = await ask((close) => [
    h("h2", { id: "dialog-title" }, title),
    typeof text === "string" ? h("p", null, text) : text,
    h(
      "div",
      { class: "actions" },
      h("button", { type: "button", class: "button", autofocus: danger, onclick: () => close("") }, "Keep as it is"),
      h("button", { type: "button", class: danger ? "button danger" : "button primary", autofocus: !danger, onclick: () => close("yes") }, action),
    ),
  ]);
  return answer === "yes";
}

/** Ask for a token. Resolves to its text, or "" where none is given, or the signal says that it is no longer needed. */
export function askToken(reason, signal) {
  return ask((close) => {
    const field = h("input", { class: "field mono", type: "password", name: "token", autocomplete: "off", autofocus: true, required: true, spellcheck: "false", "aria-describedby": "token-how" });
    const submit = (event) => {
      event.preventDefault();
      close(field.value.trim());
    };
    return [
      h("h2", { id: "dialog-title" }, "This node needs a token"),
      h(
        "form",
        { class: "stack", onsubmit: submit },
        reason ? h("p", { class: "muted" }, reason) : null,
        h("label", { class: "stack" }, "Token", field),
        h("p", { id: "token-how", class: "muted" }, "From a terminal with the key, ", h("code", null, `trionet dashboard ${location.host} --key-file FILE`), " opens this page with one. Or make one: ", h("code", null, "trionet keys token --key-file FILE --scope read")),
        h("div", { class: "actions" }, h("button", { type: "submit", class: "button primary" }, "Use this token")),
      ),
    ];
  }, signal);
}

const SHOWN_MS = 6000;

/** Say something short, once: seen in the corner, and spoken politely. */
export function say(text) {
  const toast = h("div", { class: "toast" }, text);
  document.getElementById("toasts").append(toast);
  setTimeout(() => toast.remove(), SHOWN_MS);
}
