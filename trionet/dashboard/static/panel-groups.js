// The groups of the node, and where other nodes hold something else under the same name.

import { agreementOf, CELLS, inOrder, matrixOf, wordsOf } from "./group-views.js";
import { h, keyed, setAttr, setText, svg } from "./dom.js";
import { count, cut, plural } from "./format.js";
import { glyph, setGlyph, setState, stateBadge } from "./states.js";

const COLUMNS = ["Group", "Members", "As others see it", "Rule"];
const MOST_COLUMNS = 64;
const GLYPHS = { has: "alive", lacks: "failed", extra: "joining", none: "absent", unknown: "left" };

class GroupsPanel {
  constructor(root, app, route) {
    this.app = app;
    this.gid = route.segments[0];
    this.title = h("h1", null, "Groups");
    this.body = h("tbody");
    this.detail = h("section", { class: "card group-card", "aria-label": "One group" });
    const head = h("tr", null, ...COLUMNS.map((name) => h("th", { scope: "col", class: name === "Members" ? "num" : null }, name)));
    const table = h("div", { class: "card table-wrap", tabindex: "0", role: "group", "aria-label": "Groups" }, h("table", { class: "data groups-table" }, h("thead", null, head), this.body));
    root.append(h("div", { class: "panel-head" }, this.title), h("div", { class: "groups-grid" }, table, this.detail));
    this.#buildDetail();
    this.off = app.store.on("groups", () => this.#show());
    this.update(route);
  }

  update(route) {
    this.gid = route.segments[0];
    this.#show();
  }

  #show() {
    const groups = this.app.store.get("groups");
    if (!groups) return;
    const rows = Object.entries(groups).sort(byName);
    setText(this.title, plural(rows.length, "group"));
    keyed(this.body, rows, ([gid]) => gid, makeRow, (row, [gid, group]) => this.#updateRow(row, gid, group));
    const gid = this.gid ?? "all";
    const isKnown = Object.hasOwn(groups, gid);
    for (const part of [this.about, this.call]) setAttr(part, "hidden", !isKnown);
    if (isKnown) this.#showDetail(gid, groups[gid]);
    else setText(this.name, `${cut(gid, 80)}: no known node has such a group`);
  }

  #updateRow(row, gid, group) {
    const [name, members, agreement, rule] = row.cells;
    const link = name.firstChild;
    setAttr(link, "href", this.app.hash("groups", [gid]));
    setAttr(link, "aria-current", gid === (this.gid ?? "all") ? "true" : null);
    setText(link, gid);
    setText(members, count(group.size));
    const { state, text } = agreementOf(group);
    setState(agreement.firstChild, state, text);
    setText(rule, ruleOf(gid, group));
  }

  #buildDetail() {
    this.name = h("h2", { class: "mono" });
    this.call = h("a", { class: "button" }, "Call it");
    this.rule = h("p");
    this.subset = h("p", { class: "muted" });
    this.templates = h("p", { class: "muted" });
    this.agreement = stateBadge("waiting", "");
    this.matrix = h("div", { class: "matrix-wrap", tabindex: "0", role: "group", "aria-label": "Who has which member" });
    this.views = h("ul", { class: "views" });
    this.legend = h("p", { class: "cell-legend muted" }, ...Object.entries(CELLS).map(([kind, words]) => h("span", { class: "legend-item" }, cellGlyph(kind), words)));
    this.members = h("ul", { class: "group-members" });
    this.rest = h("p", { class: "muted" });
    this.about = h("div", { class: "card-body stack" }, this.rule, this.subset, this.templates, this.agreement, this.views, this.matrix, this.legend, h("h3", null, "Members"), this.members, this.rest);
    this.detail.append(h("div", { class: "card-head" }, this.name, h("span", { class: "grow" }), this.call), this.about);
  }

  #showDetail(gid, group) {
    setText(this.name, gid);
    setAttr(this.call, "href", this.app.hash("services", ["group", gid]));
    setAttr(this.call, "hidden", !group.here);
    setText(this.rule, ruleSentence(gid, group));
    setText(this.subset, group.subset === undefined ? "" : `A rumor goes on to this many members from each holder: ${cut(group.subset, 80)}`);
    setText(this.templates, (group.templates ?? []).length ? `Its templates: ${group.templates.map((one) => cut(one, 40)).join(", ")}` : "");
    const { state, text } = agreementOf(group);
    setState(this.agreement, state, text);
    const label = (sid) => group.members[sid] ?? this.app.label(sid);
    const views = inOrder(group.views, label);
    keyed(this.views, views, ([sid]) => sid, ([sid]) => h("li", null, h("a", { class: "mono", href: this.app.hash("node", [sid]) }), h("span")), (item, [sid, view]) => {
      setText(item.firstChild, this.app.label(sid));
      setText(item.lastChild, ` ${wordsOf(view)}`);
    });
    const matrix = matrixOf(group, label);
    const isDrawn = views.length > 0 && matrix.columns.length <= MOST_COLUMNS && matrix.columns.length > 0;
    setAttr(this.matrix, "hidden", !isDrawn);
    setAttr(this.legend, "hidden", !isDrawn);
    if (isDrawn) this.#drawMatrix(gid, group, matrix);
    const members = inOrder(group.members, label);
    keyed(this.members, members, ([sid]) => sid, ([sid]) => h("li", null, h("a", { class: "mono", href: this.app.hash("node", [sid]) })), (item, [, address]) => setText(item.firstChild, address));
    const left = group.size - members.length;
    setText(this.rest, left > 0 ? `and ${count(left)} more: groups.get("${gid}") returns all` : members.length ? "" : "It has no members.");
  }

  /** Draw who has which member: a row a view, a column a member. A group of another shape is drawn anew. */
  #drawMatrix(gid, group, { columns, rows }) {
    const shape = JSON.stringify([gid, columns, rows.map((row) => row.sid)]);
    if (shape !== this.shape) {
      this.shape = shape;
      const head = h("tr", null, h("th", { scope: "col" }, "As seen by"), ...columns.map((sid) => h("th", { scope: "col", class: "matrix-column" }, h("span", { class: "mono" }, this.app.label(sid)))));
      const body = rows.map((row) => h("tr", null, h("th", { scope: "row", class: "mono nowrap" }), ...columns.map(() => h("td", null, cellGlyph("has"), h("span", { class: "sr-only" })))));
      this.matrix.replaceChildren(h("table", { class: "matrix" }, h("thead", null, head), h("tbody", null, ...body)));
    }
    rows.forEach((row, index) => {
      const cells = this.matrix.querySelector("tbody").rows[index].cells;
      setText(cells[0], row.sid ? this.app.label(row.sid) : group.same > 1 ? `this node and ${count(group.same - 1)} more` : "this node");
      row.cells.forEach((kind, column) => {
        const cell = cells[column + 1];
        setGlyph(cell.querySelector("path"), GLYPHS[kind]);
        setAttr(cell, "data-cell", kind);
        setText(cell.lastChild, CELLS[kind]);
      });
    });
  }
}

function cellGlyph(kind) {
  return svg("svg", { viewBox: "-7 -7 14 14", class: "state-glyph", "aria-hidden": "true" }, glyph(GLYPHS[kind]));
}

function byName([a], [b]) {
  return (b === "all") - (a === "all") || a.localeCompare(b, "en", { numeric: true });
}

function makeRow() {
  return h("tr", null, h("th", { scope: "row" }, h("a", { class: "mono" })), h("td", { class: "num" }), h("td", null, stateBadge("waiting", "")), h("td", { class: "muted" }));
}

function ruleOf(gid, group) {
  if (gid === "all") return "every known node";
  return group.where === undefined ? "listed" : group.where;
}

function ruleSentence(gid, group) {
  if (gid === "all") return "Every node that this node knows: the members of its cluster, and those that a group names.";
  if (group.where === undefined) return "Listed: its members are those that were put and added.";
  return `By rule: the present members of the cluster that match ${cut(group.where, 120)}`;
}

function mount(root, app, route) {
  const panel = new GroupsPanel(root, app, route);
  return { unmount: () => panel.off(), update: (next) => panel.update(next) };
}

export default { id: "groups", title: "Groups", topics: () => ["groups"], mount };
