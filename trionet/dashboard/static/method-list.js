// The services and methods of a target, as a list that one can filter; the user's own come first.

import { h, keyed, setAttr, setText } from "./dom.js";
import { plural } from "./format.js";

/** The sections of the list: [{key, title, services: [{name, methods: [{service, name, form, kind}]}]}]. */
export function sectionsOf(document, target) {
  const local = entriesOf(document.local, target.kind === "node" ? "node" : "group");
  const whole = target.kind === "node" ? [] : entriesOf(document.group, "whole");
  const isOwn = (service) => service.methods.every((method) => method.form.origin === "built in");
  const sections = [
    { key: "yours", title: target.kind === "node" ? "Yours" : "Yours, on each member", services: local.filter((one) => !isOwn(one)) },
    { key: "whole", title: "Of the group as one", services: whole },
    { key: "own", title: target.kind === "node" ? "trionet's own" : "trionet's own, on each member", services: local.filter(isOwn) },
  ];
  return sections.filter((section) => section.services.length);
}

function entriesOf(services, kind) {
  return Object.entries(services ?? {}).map(([service, methods]) => ({
    name: service,
    key: `${kind}/${service}`,
    methods: Object.entries(methods).map(([name, form]) => ({ service, name, form, kind, key: `${kind}/${service}/${name}` })),
  }));
}

/** The sections with the methods that a filter leaves: all its words are in "service.method", or in the docstring. */
export function filtered(sections, text) {
  const words = text.toLowerCase().split(/[\s/.]+/).filter(Boolean);
  if (!words.length) return sections;
  const fits = (method) => {
    const all = `${method.service}.${method.name} ${method.form.doc ?? ""}`.toLowerCase();
    return words.every((word) => all.includes(word));
  };
  const services = (section) => section.services.map((one) => ({ ...one, methods: one.methods.filter(fits) })).filter((one) => one.methods.length);
  return sections.map((section) => ({ ...section, services: services(section) })).filter((section) => section.services.length);
}

export class MethodList {
  /** Args: hrefOf(method): where its link goes. */
  constructor(hrefOf) {
    this.hrefOf = hrefOf;
    this.sections = [];
    this.chosen = "";
    this.filter = h("input", { class: "field", type: "search", placeholder: "Filter methods", "aria-label": "Filter methods", oninput: () => this.#show() });
    this.list = h("div", { class: "method-sections" });
    this.none = h("p", { class: "empty", hidden: true }, "No method fits the filter.");
    this.element = h("nav", { class: "method-list", "aria-label": "Methods" }, this.filter, this.list, this.none);
  }

  show(sections, chosen) {
    this.sections = sections;
    this.chosen = chosen;
    this.#show();
  }

  #show() {
    const sections = filtered(this.sections, this.filter.value);
    setAttr(this.none, "hidden", sections.length > 0 || this.sections.length === 0);
    keyed(this.list, sections, (one) => one.key, makeSection, (element, section) => this.#updateSection(element, section));
  }

  #updateSection(element, section) {
    setText(element.firstChild, section.title);
    keyed(element.lastChild, section.services, (one) => one.key, makeService, (item, service) => this.#updateService(item, service));
  }

  #updateService(item, service) {
    setText(item.firstChild, service.name);
    keyed(item.lastChild, service.methods, (one) => one.key, makeMethod, (row, method) => this.#updateMethod(row, method));
  }

  #updateMethod(row, method) {
    const link = row.firstChild;
    setAttr(link, "href", this.hrefOf(method));
    setAttr(link, "aria-current", method.key === this.chosen ? "true" : null);
    setAttr(link, "title", method.form.doc ?? null);
    setText(row.lastChild, markOf(method.form));
  }
}

/** "reads", "acts", and whether it streams. */
export function markOf(form) {
  return `${form.is_read ? "reads" : "acts"}${form.is_stream ? ", streams" : ""}`;
}

/** The number of methods, in words. */
export function countOf(sections) {
  return plural(sections.reduce((sum, section) => sum + section.services.reduce((all, one) => all + one.methods.length, 0), 0), "method");
}

function makeSection() {
  return h("section", { class: "method-section" }, h("h2", { class: "muted" }), h("ul"));
}

function makeService() {
  return h("li", { class: "method-service" }, h("p", { class: "method-service-name mono" }), h("ul"));
}

function makeMethod(method) {
  return h("li", { class: "method-item" }, h("a", { class: "mono" }, method.name), h("span", { class: "muted method-mark" }));
}
