// The methods of a node, or of a group: call one by a form made from its signature. And the periodic tasks.

import { h, keyed, setAttr, setText } from "./dom.js";
import { clock, cut, ms, plural, short } from "./format.js";
import { goneWords } from "./members.js";
import { MethodCard } from "./method-card.js";
import { countOf, MethodList, sectionsOf } from "./method-list.js";
import { setState, stateBadge } from "./states.js";
import { located, placeOf, targetOf } from "./target.js";
import { TaskTable } from "./task-table.js";

const MOST_PAST = 50;
const past = [];
let numbered = 0;

class ServicesPanel {
  constructor(root, app, route) {
    this.app = app;
    this.route = route;
    this.title = h("h1", null, "Services");
    this.tabs = ["Call a method", "Periodic tasks"].map((word, index) => h("button", { type: "button", class: "button", onclick: () => app.go(index ? "#/services/tasks" : "#/services") }, word));
    this.kinds = ["Node", "Group"].map((word) => h("button", { type: "button", class: "button", onclick: () => this.#chooseKind(word) }, word));
    this.names = h("select", { class: "field", "aria-label": "Which one", onchange: () => this.#go([this.#kind, this.names.value]) });
    this.list = new MethodList((method) => app.hash("services", [this.#kindOf(method), this.target.name, method.service, method.name]));
    this.card = new MethodCard(app, (entry) => this.#done(entry));
    this.about = h("p", { class: "muted services-about" });
    this.history = h("ol", { class: "history" });
    this.historyBox = h("section", { class: "card history-card", "aria-label": "Calls from this page" }, h("h2", null, "Calls from this page"), this.history);
    this.side = h("aside", { class: "card services-side" }, h("div", { class: "services-target" }, h("div", { class: "segmented", role: "group", "aria-label": "Call on" }, this.kinds), this.names), this.about, this.list.element);
    this.calling = h("div", { class: "services-grid" }, this.side, h("div", { class: "services-main" }, this.card.element, this.historyBox));
    this.tasks = new TaskTable(app);
    root.append(h("div", { class: "panel-head" }, this.title, h("div", { class: "segmented", role: "group", "aria-label": "View" }, this.tabs)), this.calling, this.tasks.element);
    this.offs = ["services", "groups", "cluster", "tasks"].map((topic) => app.store.on(topic, () => this.#show()));
    this.update(route);
  }

  unmount() {
    this.card.stop();
    for (const off of this.offs) off();
  }

  update(route) {
    this.route = route;
    this.wanted = undefined;
    this.#show();
  }

  get #kind() {
    return this.target.kind === "node" ? "node" : "group";
  }

  #kindOf(method) {
    return method.kind === "whole" ? "whole" : this.#kind;
  }

  #go(segments) {
    this.app.go(this.app.hash("services", segments));
  }

  #chooseKind(word) {
    if (word === "Group") this.#go(["group", this.target.kind === "node" ? "all" : this.target.name]);
    else this.#go(["node", this.self ?? ""]);
  }

  get self() {
    return this.app.store.get("cluster")?.self;
  }

  #show() {
    const isTasks = this.route.segments[0] === "tasks";
    this.tabs.forEach((tab, index) => setAttr(tab, "aria-pressed", String(isTasks === (index === 1))));
    setAttr(this.calling, "hidden", isTasks);
    setAttr(this.tasks.element, "hidden", !isTasks);
    if (isTasks) this.tasks.show(this.app.store.get("tasks"));
    else if (this.self) this.#showCalling();
  }

  #showCalling() {
    const groups = this.app.store.get("groups") ?? {};
    this.target = located(targetOf(this.route.segments, this.self), this.self, (sid) => this.app.member(sid)?.address);
    const size = this.target.kind === "node" ? 1 : groups[this.target.name]?.size;
    this.kinds.forEach((button, index) => setAttr(button, "aria-pressed", String((this.target.kind === "node") === (index === 0))));
    this.#showNames(groups);
    this.#ask(groups[this.target.name]);
    const document = this.#document();
    const [, , service, method] = this.route.segments;
    const sections = document && !this.#whyNone(document) ? sectionsOf(document, this.target) : [];
    const kind = this.target.kind === "node" ? "node" : this.target.kind;
    this.list.show(sections, `${kind}/${service}/${method}`);
    setText(this.about, this.#aboutText(document, sections, size));
    this.#showCard(document, service, method, size);
    this.#showHistory();
  }

  /** Ask for the methods of the node that stands for the target: itself, this node, or a member of a group without it. */
  #ask(group) {
    this.asked = this.target.kind === "node" ? this.target.name : this.target.kind === "group" ? memberOf(group, this.self) : this.self;
    const want = { ...topics({ segments: [] }), node: this.asked };
    const key = JSON.stringify([want, this.route]);
    if (key === this.wanted) return;
    this.wanted = key;
    this.app.want(want);
  }

  /** The methods of the node that is looked at; undefined until they came. */
  #document() {
    const document = this.app.store.get("services");
    return document?.node === this.asked ? document : undefined;
  }

  #aboutText(document, sections, size) {
    const none = this.#whyNone(document);
    if (none) return none;
    if (!document) return "Asking for its methods…";
    return `${countOf(sections)} on ${cut(placeOf(this.target, size), 80)}`;
  }

  /** Why no method of the target can be called; "" where they are known. */
  #whyNone(document) {
    const { kind, name } = this.target;
    const groups = this.app.store.get("groups");
    if (kind !== "node" && groups && !groups[name]?.here) return `This node has no group ${cut(name, 80)}.`;
    const member = kind === "node" ? this.app.member(name) : undefined;
    if (kind === "node" && !member) return `No member of this cluster has the SID ${cut(name, 80)}.`;
    if (goneWords(member)) return `Its methods are not known: it ${goneWords(member)}.`;
    return document?.error ? `Its methods are not known: ${document.error}` : "";
  }

  #showNames(groups) {
    const members = this.app.store.get("cluster")?.members ?? {};
    const isNode = this.target.kind === "node";
    const options = isNode ? Object.entries(members).map(([sid, one]) => ({ value: sid, text: `${one.address}${sid === this.self ? " (this node)" : one.status === "alive" ? "" : ` (${one.status})`}` })) : Object.entries(groups).filter(([, one]) => one.here).map(([gid, one]) => ({ value: gid, text: `${gid} (${plural(one.size, "member")})` }));
    if (!options.some((one) => one.value === this.target.name)) options.push({ value: this.target.name, text: isNode ? short(this.target.name) : this.target.name });
    keyed(this.names, options, (one) => one.value, (one) => h("option", { value: one.value }), (option, one) => setText(option, one.text));
    if (document.activeElement !== this.names) this.names.value = this.target.name;
  }

  #showCard(document, service, method, size) {
    const services = this.target.kind === "whole" ? document?.group : document?.local;
    const form = Object.hasOwn(services ?? {}, service) && Object.hasOwn(services[service], method) ? services[service][method] : undefined;
    if (form && (this.card.isOf(this.target, service, method) || !this.#whyNone(document))) {
      const again = this.again?.key === this.#keyOf(service, method) ? this.again : undefined;
      this.again = undefined;
      this.card.show({ target: this.target, service, method, form, size, before: again?.written, past: again?.shown });
    } else if (!document && method && !this.#whyNone()) {
      if (!this.card.isOf(this.target, service, method)) this.card.showNone("Asking for its methods…");
    } else {
      const none = this.#whyNone(document);
      this.card.showNone(none || method ? none || `There is no method ${service}.${method} here.` : "Choose a method from the list: a form is made from its signature.");
    }
  }

  #keyOf(service, method) {
    return [this.target.kind, this.target.name, service, method].join("/");
  }

  #done(entry) {
    past.unshift({ ...entry, number: ++numbered });
    past.length = Math.min(past.length, MOST_PAST);
    this.#showHistory();
  }

  #showHistory() {
    setAttr(this.historyBox, "hidden", past.length === 0);
    keyed(this.history, past, (one) => one.number, (one) => this.#makeEntry(one), (row, one) => setState(row.querySelector(".state"), one.state ?? "running", one.word ?? "running"));
  }

  #makeEntry(entry) {
    const { target, service, method } = entry.call;
    const again = () => {
      this.again = { ...entry, key: [target.kind, target.name, service, method].join("/") };
      const hash = this.app.hash("services", [target.kind, target.name, service, method]);
      if (location.hash === hash) this.#show();
      else this.app.go(hash);
    };
    return h(
      "li",
      { class: "history-entry" },
      h("span", { class: "muted num" }, clock(entry.at)),
      h("button", { type: "button", class: "history-call mono", onclick: again, title: "Show it again, with its arguments" }, `${service}.${method}`),
      h("span", { class: "muted history-place" }, cut(placeOf(target), 60)),
      stateBadge(entry.state ?? "running", entry.word ?? "running"),
      h("span", { class: "muted num" }, ms(entry.tookMs)),
    );
  }
}

/** A member of a group, this node if it is one. A large group is listed in part: then this node stands for it. */
function memberOf(group, self) {
  const members = Object.keys(group?.members ?? {});
  return members.length === 0 || members.length < group.size || members.includes(self) ? self : members[0];
}

function topics(route) {
  if (route?.segments?.[0] === "tasks") return { topics: ["tasks"] };
  const want = { topics: ["services", "groups"] };
  return route?.segments?.[0] === "node" && route.segments[1] ? { ...want, node: route.segments[1] } : want;
}

function mount(root, app, route) {
  const panel = new ServicesPanel(root, app, route);
  return { unmount: () => panel.unmount(), update: (next) => panel.update(next) };
}

export default { id: "services", title: "Services", topics, mount };
