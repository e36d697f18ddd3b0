// One method: what it does, its form, the call, and what came of it.

import { addressOf } from "./call.js";
import { asCurl, asPython } from "./copy-as.js";
import { h, setAttr, setText } from "./dom.js";
import { clock, cut, ms } from "./format.js";
import { MethodForm } from "./method-form.js";
import { markOf } from "./method-list.js";
import { ItemList, outcome } from "./outcome.js";
import { streamed } from "./stream-call.js";
import { stateBadge } from "./states.js";
import { callOf, dangerOf, deedOf, placeOf, scopeOf } from "./target.js";
import { isIndefinite, unwrapped } from "./values.js";

const LIMIT_S = 30;
const TICK_MS = 100;

export class MethodCard {
  /** Args: onDone(entry): a call has ended, for the history. */
  constructor(app, onDone) {
    Object.assign(this, { app, onDone });
    this.element = h("section", { class: "card method-card", "aria-label": "Method" });
    this.#empty("Choose a method from the list.");
  }

  /** Show a method of a target. Args: size: of its group. before: what to fill in. */
  show({ target, service, method, form, size, before, past }) {
    const key = JSON.stringify([target.kind, target.name, service, method, form]);
    this.size = size;
    if (key === this.key && !past) {
      setText(this.deed, deedOf(target, form, size));
      this.#permit();
      return;
    }
    this.stop();
    Object.assign(this, { key, target, service, method, form });
    this.fields = new MethodForm(form, before);
    this.result = h("div", { class: "result" }, past ?? null);
    this.deed = h("p", { class: "deed" }, deedOf(target, form, size));
    setAttr(this.deed, "data-acts", form.is_read ? null : "true");
    this.callButton = h("button", { type: "submit", class: "button primary" }, form.is_read ? "Call" : "Call, and act");
    this.stopButton = h("button", { type: "button", class: "button", hidden: true, onclick: () => this.stop() }, form.is_stream ? "Stop" : "Cancel");
    this.why = h("span", { class: "muted", id: "call-why" });
    this.limit = h("input", { class: "field limit", type: "text", inputmode: "decimal", value: String(LIMIT_S), "aria-label": "Time limit in seconds", autocomplete: "off" });
    const limit = form.is_stream ? null : h("label", { class: "limit-label muted" }, "at most ", this.limit, " s");
    this.running = h("span", { class: "muted num", "aria-hidden": "true" });
    this.told = h("span", { class: "sr-only", role: "status" });
    this.element.replaceChildren(
      h("div", { class: "card-head" }, h("h2", null, h("code", null, `${service}.${method}`)), h("span", { class: "tag" }, markOf(form)), h("span", { class: "grow" }), h("span", { class: "muted" }, cut(placeOf(target, size), 80))),
      h(
        "form",
        { class: "card-body stack", onsubmit: (event) => this.#submitted(event), novalidate: true },
        h("p", { class: "signature" }, h("code", null, form.signature)),
        form.doc ? h("p", null, form.doc) : null,
        this.fields.element,
        this.deed,
        h("div", { class: "toolbar method-bar" }, this.callButton, this.stopButton, limit, this.running, this.told, this.why, h("span", { class: "grow" }), this.#copyButton("Copy as curl", (call) => this.#curl(call)), this.#copyButton("Copy as Python", asPython)),
      ),
      this.result,
    );
    this.#permit();
  }

  /** Show that there is no method to show, and why. */
  showNone(text) {
    if (this.key === undefined && this.nothing === text) return;
    this.stop();
    this.#empty(text);
  }

  /** Whether it shows this method of this target. */
  isOf(target, service, method) {
    return this.key !== undefined && this.target.kind === target.kind && this.target.name === target.name && this.service === service && this.method === method;
  }

  /** What is written in the form now. */
  get written() {
    return this.fields?.written;
  }

  /** Stop the call that is running, if there is one: it is cancelled on the node, too. */
  stop() {
    this.controller?.abort();
    this.controller = null;
  }

  #empty(text) {
    this.key = undefined;
    this.nothing = text;
    this.element.replaceChildren(h("p", { class: "empty" }, text));
  }

  #permit() {
    const scope = scopeOf(this.target, this.form);
    const reason = scope === "none" ? "Only nodes may call it" : this.app.reason(scope);
    setAttr(this.callButton, "disabled", Boolean(reason) || Boolean(this.controller));
    setAttr(this.callButton, "title", reason);
    setText(this.why, reason ?? "");
    setAttr(this.callButton, "aria-describedby", reason ? "call-why" : null);
  }

  #copyButton(word, textOf) {
    const copy = async () => {
      const given = this.fields.read();
      if (!given) return;
      const text = textOf(this.#callOf(given));
      try {
        await navigator.clipboard.writeText(text);
        this.app.say("Copied.");
      } catch {
        this.result.replaceChildren(h("div", { class: "outcome" }, h("h3", null, `${word}: select and copy`), h("pre", { class: "value-text", tabindex: "0" }, text)));
      }
    };
    return h("button", { type: "button", class: "button quiet", onclick: copy }, word);
  }

  #callOf(given) {
    return callOf(this.target, this.service, this.method, given, this.form.is_stream);
  }

  #curl(call) {
    return asCurl(call, { root: this.app.root, place: placeFinder(this.app), isKeyed: this.app.session.known.keyed });
  }

  async #submitted(event) {
    event.preventDefault();
    if (this.controller || this.callButton.disabled) return;
    const given = this.fields.read();
    if (!given) return;
    const limit_s = this.form.is_stream ? undefined : Number(this.limit.value);
    const isLimit = limit_s === undefined || (limit_s > 0 && limit_s <= 86_400);
    setAttr(this.limit, "aria-invalid", isLimit ? null : "true");
    if (!isLimit) {
      this.limit.focus();
      return;
    }
    const danger = dangerOf(this.target, this.service, this.method, this.size);
    if (danger && !(await this.app.confirm({ title: `Call ${this.service}.${this.method}?`, text: danger, action: "Call it", danger: true }))) return;
    await this.#run(this.#callOf(given), limit_s);
  }

  async #run(call, timeout_s) {
    const controller = new AbortController();
    const entry = { call, form: this.form, written: this.fields.written, at: Date.now() / 1000, key: this.key };
    this.controller = controller;
    const begun = performance.now();
    const took = () => performance.now() - begun;
    const ticking = setInterval(() => setText(this.running, ms(took())), TICK_MS);
    setAttr(this.stopButton, "hidden", false);
    setText(this.told, "Running");
    this.#permit();
    this.result.replaceChildren();
    try {
      if (call.isStream) await this.#stream(call, controller.signal, took, entry);
      else await this.#once(call, controller.signal, timeout_s, took, entry);
    } finally {
      clearInterval(ticking);
      if (this.controller === controller) this.controller = null;
      if (this.key === entry.key) {
        setText(this.running, "");
        setText(this.told, `${entry.word}, after ${ms(entry.tookMs)}`);
        setAttr(this.stopButton, "hidden", true);
        this.#permit();
      }
      this.onDone(entry);
    }
  }

  async #once(call, signal, timeout_s, took, entry) {
    const label = (sid) => this.app.label(sid);
    let shown;
    try {
      const kwargs = call.target.kind === "group" ? { ...call.kwargs, partial: true } : call.kwargs; // what has come when its time is over
      const answer = await this.app.call(call.path, call.args, kwargs, { signal, timeout_s });
      const failed = Object.keys(answer.errors ?? {}).length;
      Object.assign(entry, failed ? { state: "failed", word: `${failed} of ${failed + Object.keys(answer.values ?? {}).length} failed` } : { state: "ok", word: "value" });
      shown = outcome({ answer, tookMs: took(), label });
    } catch (error) {
      if (error.name === "AbortError") {
        Object.assign(entry, { state: "cancelled", word: "cancelled" });
        shown = h("div", { class: "outcome" }, h("div", { class: "outcome-head" }, stateBadge("cancelled", "cancelled by you: it may have happened"), h("span", { class: "muted num" }, ms(took()))));
      } else {
        const told = isForwarded(call) ? unwrapped(error) : error;
        Object.assign(entry, { state: isIndefinite(told) ? "suspect" : "failed", word: told.name });
        if (this.key === entry.key) this.fields.refuse(told);
        shown = outcome({ error: told, tookMs: took(), label });
      }
    }
    Object.assign(entry, { tookMs: took(), shown });
    if (this.key === entry.key) this.result.replaceChildren(shown);
  }

  async #stream(call, signal, took, entry) {
    const list = new ItemList((sid) => this.app.label(sid));
    entry.shown = list.element;
    this.result.replaceChildren(list.element);
    try {
      const surroundings = { root: this.app.root, session: this.app.session, place: placeFinder(this.app), signal };
      for await (const item of streamed(call.path, call.args, call.kwargs, surroundings)) list.add(item, took(), call.target.kind === "group");
      list.finish("done", "ended", took());
      Object.assign(entry, { state: "ok", word: `${list.total} items` });
    } catch (error) {
      if (error.name === "AbortError") {
        list.finish("cancelled", "stopped by you", took());
        Object.assign(entry, { state: "cancelled", word: `stopped after ${list.total} items` });
      } else {
        const told = isForwarded(call) ? unwrapped(error) : error;
        if (this.key === entry.key) this.fields.refuse(told);
        list.finish("failed", told.name, took(), told);
        Object.assign(entry, { state: "failed", word: told.name });
      }
    }
    entry.tookMs = took();
  }
}

/** A line of the history. */
export function entryText(entry) {
  return `${clock(entry.at)}  ${entry.call.service}.${entry.call.method}`;
}

function isForwarded({ target }) {
  return target.kind === "node" && !target.isSelf;
}

/** The function that says where a call to a name goes, as app.call does it. */
export function placeFinder(app) {
  return (name) => {
    if (name === app.store.get("cluster")?.self) return { gid: "local" };
    const node = addressOf(app.member(name)?.address);
    return node ? { node } : null;
  };
}
