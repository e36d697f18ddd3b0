// A rumor, live: send one, and watch it reach node after node, as these tell it themselves.

import { h, keyed, setAttr, setText, svg } from "./dom.js";
import { bytes, clock, count, cut, ms, plural } from "./format.js";
import { kindBadge } from "./outcome.js";
import { MethodForm } from "./method-form.js";
import { RumorPicture } from "./rumor-picture.js";
import { explained } from "./rumor-layout.js";
import { glyph, setState, stateBadge } from "./states.js";

const FIGURES = ["Reached", "Time to the last", "Copies", "Duplicates", "By push", "By pull", "Failed"];
const FRESH_S = 20;

class RumorPanel {
  constructor(root, app, route) {
    this.app = app;
    this.name = "";
    this.picture = new RumorPicture((sid) => app.label(sid));
    this.#buildSender();
    this.#buildProgress();
    this.latest = h("tbody");
    const head = h("tr", null, ...["Sent", "Method", "Group", "Origin", "Size"].map((name) => h("th", { scope: "col", class: name === "Size" ? "num" : null }, name)));
    this.latestBox = h("section", { class: "card", "aria-label": "Latest rumors" }, h("h2", null, "Latest rumors on this node"), h("div", { class: "table-wrap", tabindex: "0", role: "group", "aria-label": "Latest rumors" }, h("table", { class: "data" }, h("thead", null, head), this.latest)), (this.noLatest = h("p", { class: "empty", hidden: true }, "It holds none.")));
    root.append(h("div", { class: "panel-head" }, h("h1", null, "Rumor"), h("p", { class: "muted" }, "A rumor is a call that every member of a group makes to itself, once.")), h("div", { class: "rumor-grid" }, h("div", { class: "stack" }, this.sender, this.latestBox), this.progress));
    this.offs = [app.store.on("rumor", (document) => this.#showRumors(document)), ...["services", "groups"].map((topic) => app.store.on(topic, () => this.#showSender()))];
    this.update(route);
  }

  unmount() {
    for (const off of this.offs) off();
    this.picture.end();
  }

  update(route) {
    const [gid, id] = route.segments;
    const name = gid && id ? `${gid}:${id}` : "";
    if (name !== this.name) this.played = false;
    this.name = name;
    setAttr(this.body, "hidden", true);
    setText(this.about, name ? "Asking the members…" : "Send a rumor, or choose one of the latest: its path is drawn here.");
    setAttr(this.about, "hidden", false);
    this.#showRumors(this.app.store.get("rumor"));
    this.#showSender();
  }

  // ---- sending

  #buildSender() {
    this.groups = h("select", { class: "field", id: "rumor-group", onchange: () => this.#showSender() });
    this.methods = h("select", { class: "field", id: "rumor-method", onchange: () => this.#showSender() });
    this.form = h("div");
    this.deed = h("p", { class: "deed" });
    this.send = h("button", { type: "submit", class: "button primary" }, "Send the rumor");
    this.why = h("span", { class: "muted", id: "rumor-why" });
    this.failure = h("div", { role: "alert" });
    const row = (field, word) => h("div", { class: "form-row" }, h("label", { class: "form-name", for: field.id }, word), h("div", { class: "form-value" }, field));
    this.sender = h(
      "section",
      { class: "card", "aria-label": "Send a rumor" },
      h("h2", null, "Send a rumor"),
      h("form", { class: "card-body stack", novalidate: true, onsubmit: (event) => this.#submitted(event) }, row(this.groups, "Group"), row(this.methods, "Method"), this.form, this.deed, h("div", { class: "toolbar" }, this.send, this.why), this.failure),
    );
  }

  #showSender() {
    const groups = Object.entries(this.app.store.get("groups") ?? {}).filter(([, group]) => group.here);
    const services = this.app.store.get("services")?.local ?? {};
    if (!groups.length || !Object.keys(services).length) return;
    options(this.groups, groups.map(([gid, group]) => ({ value: gid, text: `${gid} (${plural(group.size, "member")})` })), "all");
    const methods = Object.entries(services).flatMap(([service, found]) => Object.entries(found).filter(([, form]) => !form.is_stream && form.scope !== "none").map(([method, form]) => ({ value: `${service}/${method}`, text: `${service}.${method}`, form })));
    methods.sort((a, b) => isBuiltIn(a.form) - isBuiltIn(b.form) || (a.value < b.value ? -1 : 1));
    options(this.methods, methods, methods[0]?.value);
    const chosen = methods.find((one) => one.value === this.methods.value);
    if (!chosen) return;
    const key = JSON.stringify([chosen.value, chosen.form]);
    if (key !== this.formKey) {
      this.formKey = key;
      this.chosen = chosen;
      this.fields = new MethodForm(chosen.form);
      this.form.replaceChildren(...(chosen.form.doc ? [h("p", { class: "muted" }, chosen.form.doc)] : []), this.fields.element);
    }
    const size = groups.find(([gid]) => gid === this.groups.value)?.[1].size;
    setText(this.deed, `Each of the ${plural(size, "member")} of ${this.groups.value} calls ${chosen.text} on itself, once. What it returns is not collected.`);
    setAttr(this.deed, "data-acts", chosen.form.is_read ? null : "true");
    const reason = this.app.reason(chosen.form.scope === "admin" ? "admin" : "call");
    setAttr(this.send, "disabled", Boolean(reason));
    setAttr(this.send, "title", reason);
    setText(this.why, reason ?? "");
  }

  async #submitted(event) {
    event.preventDefault();
    if (!this.fields || this.send.disabled) return;
    const given = this.fields.read();
    if (!given) return;
    const [service, method] = this.methods.value.split("/");
    const gid = this.groups.value;
    if (isBuiltIn(this.chosen.form) && !this.chosen.form.is_read) {
      const isSure = await this.app.confirm({ title: `Send ${service}.${method}?`, text: `It is trionet's own, and acts on each member of ${gid}. Members that join within its time to live get it, too.`, action: "Send it", danger: true });
      if (!isSure) return;
    }
    this.failure.replaceChildren();
    setAttr(this.send, "disabled", true);
    try {
      const named = Object.keys(given.kwargs).length ? { kwargs: given.kwargs } : {};
      const answer = await this.app.call(`${gid}/gossip/send`, [given.args, { service, method }], named);
      const id = answer.id ?? answer.value?.id;
      if (typeof id === "string") this.app.go(this.app.hash("rumor", [gid, id]));
    } catch (error) {
      this.failure.replaceChildren(h("p", null, kindBadge(error)), h("p", null, error.message));
    } finally {
      this.#showSender();
    }
  }

  // ---- following

  #buildProgress() {
    this.heading = h("h2", null, "Its path");
    this.state = stateBadge("waiting", "waiting");
    this.about = h("p", { class: "empty" });
    this.figures = FIGURES.map((name) => ({ name, value: h("dd", { class: "figure-value" }) }));
    this.lines = [h("p"), h("p")];
    this.failures = h("p", { class: "notice", "data-kind": "warning", hidden: true });
    this.table = h("tbody");
    const head = h("tr", null, ...["Node", "After", "By", "From", "Copies", "Its call"].map((name) => h("th", { scope: "col", class: name === "After" || name === "Copies" ? "num" : null }, name)));
    this.notes = h("p", { class: "muted" });
    this.body = h(
      "div",
      { class: "card-body stack", hidden: true },
      h("dl", { class: "figures" }, ...this.figures.map(({ name, value }) => h("div", null, h("dt", null, name), value))),
      h("div", { class: "explained" }, this.lines),
      this.failures,
      h("div", { class: "toolbar rumor-tools" }, h("span", { class: "rumor-legend" }, mark("push"), h("span", null, "by push"), mark("pull"), h("span", null, "by pull"), svg("svg", { viewBox: "-7 -7 14 14", class: "state-glyph", "aria-hidden": "true" }, glyph("failed")), h("span", null, "its call failed")), h("span", { class: "grow" }), this.picture.playButton),
      this.picture.element,
      this.notes,
      h("details", { class: "trace" }, h("summary", null, "All members as a table"), h("div", { class: "table-wrap", tabindex: "0", role: "group", "aria-label": "Members" }, h("table", { class: "data" }, h("thead", null, head), this.table))),
    );
    this.progress = h("section", { class: "card rumor-progress", "aria-label": "The path of a rumor" }, h("div", { class: "card-head" }, this.heading, h("span", { class: "grow" }), this.state), this.about, this.body);
  }

  #showRumors(document) {
    if (!document) return;
    this.#showLatest(document.latest ?? {});
    const progress = document.followed?.[this.name];
    setAttr(this.state, "hidden", !progress);
    if (!progress) return;
    setText(this.heading, progress.what ? `${cut(progress.what, 60)} in ${cut(progress.gid, 60)}` : `A rumor in ${cut(progress.gid, 60)}`);
    this.#showState(progress);
    setAttr(this.about, "hidden", true);
    setAttr(this.body, "hidden", false);
    this.#showFigures(progress);
    explained(progress).forEach((text, index) => setText(this.lines[index], text));
    setText(this.notes, notesOf(progress));
    const failed = Object.entries(progress.members).filter(([, one]) => one.failed !== undefined);
    setAttr(this.failures, "hidden", failed.length === 0);
    if (failed.length) setText(this.failures, `Its call has failed on ${plural(failed.length, "node")}, of those that have it: ${this.app.label(failed[0][0])} says ${cut(failed[0][1].failed, 160)}`);
    this.picture.show(progress);
    if (!this.played && Object.keys(progress.members).length > 1) {
      this.played = true;
      if (this.app.now() - (progress.sent ?? 0) < FRESH_S) this.picture.play();
    }
    const rows = Object.entries(progress.members).sort(([a, one], [b, other]) => one.ms - other.ms || (a < b ? -1 : 1));
    keyed(this.table, rows, ([sid]) => sid, () => h("tr", null, h("th", { scope: "row", class: "mono" }), h("td", { class: "num" }), h("td"), h("td", { class: "mono" }), h("td", { class: "num" }), h("td", { class: "wide" })), (row, [sid, one]) => {
      [this.app.label(sid), ms(one.ms), one.way, one.from ? this.app.label(one.from) : "", count(one.copies), one.failed === undefined ? "" : `failed: ${one.failed}`].forEach((text, index) => setText(row.cells[index], text));
    });
  }

  #showState(progress) {
    const missing = Object.keys(progress.lacking).length;
    const silent = Object.keys(progress.errors).length;
    if (progress.error) setState(this.state, "failed", cut(progress.error, 120));
    else if (progress.done) setState(this.state, "done", "all have it");
    else if (silent && !missing) setState(this.state, "warning", silent === 1 ? "1 member does not answer" : `${count(silent)} members don't answer`);
    else setState(this.state, "running", missing ? `${plural(missing, "member")} to go` : "spreading");
  }

  #showFigures(progress) {
    const ways = (way) => Object.values(progress.members).filter((one) => one.way === way).length;
    const reached = Object.keys(progress.members).length;
    const failed = Object.values(progress.members).filter((one) => one.failed !== undefined).length;
    const texts = [`${count(reached)} of ${count(Math.max(reached, progress.is_sampled ? progress.asked : progress.size))}`, ms(progress.last_ms), count(progress.copies), count(progress.duplicates), count(ways("push")), count(ways("pull")), count(failed)];
    this.figures.forEach(({ value }, index) => setText(value, texts[index]));
    setAttr(this.figures.at(-1).value.parentElement, "hidden", failed === 0);
    setAttr(this.figures.at(-1).value, "data-failed", "true");
  }

  #showLatest(latest) {
    const rows = Object.entries(latest).sort(([a, one], [b, other]) => other.sent - one.sent || (a < b ? -1 : 1));
    setAttr(this.noLatest, "hidden", rows.length > 0);
    keyed(this.latest, rows, ([id]) => id, ([id, one]) => this.#makeLatest(id, one), (row, [id, one]) => setAttr(row.cells[1].firstChild, "aria-current", `${one.gid}:${id}` === this.name ? "true" : null));
  }

  #makeLatest(id, one) {
    return h(
      "tr",
      null,
      h("td", { class: "nowrap muted" }, clock(one.sent)),
      h("td", null, h("a", { class: "mono", href: this.app.hash("rumor", [one.gid, id]) }, cut(one.what, 60))),
      h("td", { class: "mono" }, cut(one.gid, 40)),
      h("td", { class: "mono" }, cut(one.origin, 40)),
      h("td", { class: "num" }, bytes(one.bytes)),
    );
  }
}

function isBuiltIn(form) {
  return form.origin === "built in";
}

function mark(way) {
  return h("span", { class: `rumor-mark rumor-mark-${way}`, "aria-hidden": "true" });
}

function options(select, items, first) {
  const before = select.value;
  keyed(select, items, (one) => one.value, (one) => h("option", { value: one.value }), (option, one) => setText(option, one.text));
  if (!items.some((one) => one.value === before) || before === "") select.value = items.some((one) => one.value === first) ? first : (items[0]?.value ?? "");
}

function notesOf(progress) {
  const parts = ["Each member tells itself when it got the rumor, from whom, and how many copies came. Times are the rumor's age there: how long its holders kept it, and 1 ms for each; the network's own time is left out."];
  if (progress.is_sampled) parts.push(`${count(progress.asked)} of ${plural(progress.size, "member")} are asked, a random sample${progress.estimate === undefined ? "" : `; about ${count(progress.estimate)} of all have it`}.`);
  return parts.join(" ");
}

function topics(route) {
  const [gid, id] = route?.segments ?? [];
  const want = { topics: ["rumor", "services", "groups"] };
  return gid && id ? { ...want, rumor: `${gid}:${id}` } : want;
}

function mount(root, app, route) {
  const panel = new RumorPanel(root, app, route);
  return { unmount: () => panel.unmount(), update: (next) => panel.update(next) };
}

export default { id: "rumor", title: "Rumor", topics, mount };
