// The members of the cluster: a ring or a table, who suspects whom, and what happened.

import { h, keyed, setAttr, setText } from "./dom.js";
import { age, plural } from "./format.js";
import { MemberCard, named } from "./member-card.js";
import { ALL_MEASURED, MembersTable } from "./members-table.js";
import { countsOf, findingsOf, matches, opinionsOf, rowsOf, STATES, wordsOf } from "./members.js";
import { Ring } from "./ring.js";
import { setState, stateBadge } from "./states.js";
import { Timeline } from "./timeline.js";
import { OF_LIMIT } from "./wants.js";

const TOPICS = ["cluster", "news"];
const FINDINGS = 6;
const FEW = 20;

class ClusterPanel {
  constructor(root, app, route) {
    Object.assign(this, { app, states: new Set(), words: [], inSight: [], frame: 0 });
    const pick = (sid) => app.go(this.#placeOf(sid === this.picked ? undefined : sid));
    this.ring = new Ring({ app, onPick: pick });
    this.table = new MembersTable({ app, onSight: (sids) => this.#sighted(sids), onChange: () => this.draw(), placeOf: (sid) => this.#placeOf(sid) });
    this.card = new MemberCard({ app, onClose: () => app.go(this.#placeOf(undefined)) });
    this.timeline = new Timeline({ app, onPick: pick });
    this.title = h("h1", { class: "cluster-title" }, "Cluster");
    this.chips = h("div", { class: "toolbar chips", role: "group", "aria-label": "Show only these states" });
    this.filter = h("input", { class: "field filter", type: "search", placeholder: "Filter  /", "aria-label": "Filter by address, node, state, version or tag", "aria-keyshortcuts": "/", spellcheck: "false", oninput: () => this.#filtered() });
    this.asRing = h("button", { type: "button", class: "button", onclick: () => this.#look("ring") }, "Ring");
    this.asTable = h("button", { type: "button", class: "button", onclick: () => this.#look("table") }, "Table");
    this.shown = h("span", { class: "muted nowrap" });
    this.findings = h("ul", { class: "findings", "aria-label": "To look at" });
    this.legend = makeLegend();
    this.ringCard = h("section", { class: "card ring-card", "aria-label": "Ring" }, this.ring.element, this.legend);
    this.above = h("div", { class: "cluster-above" });
    this.side = h("div", { class: "cluster-side" }, this.card.element, this.findings);
    this.main = h("div", { class: "cluster-main" }, this.ringCard, this.table.element);
    this.body = h("div", { class: "cluster-body", hidden: true }, this.main, this.side);
    this.waiting = h("p", { class: "empty" }, "Waiting for what this node knows.");
    root.append(
      h("div", { class: "panel-head" }, this.title, this.chips, h("span", { class: "grow" }), this.shown, this.filter, h("div", { class: "segmented", role: "group", "aria-label": "Shown as" }, this.asRing, this.asTable)),
      this.waiting,
      this.above,
      this.body,
    );
    this.offs = [app.store.on("cluster", () => this.soon()), app.store.on("details", () => this.soon()), app.store.on("news", () => this.soon())];
    this.update(route);
  }

  update(route) {
    this.of = undefined;
    this.picked = route.segments[0];
    this.asked = route.query.as;
    this.draw();
  }

  unmount() {
    cancelAnimationFrame(this.frame);
    for (const off of this.offs) off();
    this.table.end();
    this.timeline.end();
  }

  /** Draw once for all documents that came together. */
  soon() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    const cluster = this.app.store.get("cluster");
    if (!cluster || document.hidden) return;
    const details = this.app.store.get("details") ?? {};
    const opinions = opinionsOf(cluster);
    const all = rowsOf(cluster, details, opinions);
    const counts = countsOf(cluster.members);
    const rows = all.filter((row) => (!this.states.size || this.states.has(row.status)) && matches(row, this.words));
    const ring = this.#isRing(all.length);
    setText(this.title, plural(all.length, "member"));
    setText(this.shown, rows.length === all.length ? "" : `${rows.length} shown`);
    this.#showChips(counts);
    setAttr(this.asRing, "aria-pressed", String(ring));
    setAttr(this.asTable, "aria-pressed", String(!ring));
    this.asRing.disabled = all.length > ALL_MEASURED;
    setAttr(this.asRing, "title", this.asRing.disabled ? `A ring shows up to ${ALL_MEASURED} members` : null);
    this.ringCard.hidden = !ring;
    this.table.element.hidden = ring;
    this.card.show(all.find((row) => row.sid === this.picked), opinions, opinions.asked);
    this.#showFindings(findingsOf(cluster, opinions, details), cluster.views_more);
    this.#arrange(ring);
    if (ring) this.ring.show({ cluster, rows, opinions, picked: this.picked, counts });
    else this.table.show({ cluster, rows, total: all.length, picked: this.picked });
    this.timeline.show(this.app.store.get("news"), this.app.now());
    this.total = all.length;
    this.waiting.hidden = true;
    this.body.hidden = false;
    this.#wantDetails(all);
  }

  /** Beside the ring there is room for what to look at and what happened; a table needs the width. */
  #arrange(ring) {
    const [place, news] = ring ? [this.side, this.side] : [this.above, this.timeline.element.lastChild];
    if (this.findings.parentElement !== place) place.append(this.findings);
    if (this.timeline.latest.parentElement !== news) news.append(this.timeline.latest);
    const below = ring ? this.main : this.body.parentElement;
    if (this.timeline.element.parentElement !== below) below.append(this.timeline.element);
    setAttr(this.body, "data-side", String(ring || !this.card.element.hidden));
  }

  #isRing(count) {
    if (count > ALL_MEASURED) return false;
    return this.asked !== "table";
  }

  #look(as) {
    this.app.go(this.#placeOf(this.picked, as));
  }

  /** The hash that shows a member, or none, in the form that is shown now. */
  #placeOf(sid, as = this.asked) {
    return this.app.hash("cluster", sid ? [sid] : [], { as: as === "table" ? as : "" });
  }

  #filtered() {
    this.words = wordsOf(this.filter.value);
    this.table.index = 0;
    this.draw();
  }

  #sighted(sids) {
    this.inSight = sids;
    if (this.total > ALL_MEASURED) this.#wantOf(this.#looked());
  }

  #looked() {
    return [...new Set([this.picked, ...this.inSight].filter(Boolean))].slice(0, OF_LIMIT);
  }

  #wantDetails(rows) {
    this.#wantOf(rows.length <= ALL_MEASURED ? rows.filter((row) => !row.gone).map((row) => row.sid) : this.#looked());
  }

  /** Want the details of these; what is wanted already stays as it is, so that a short way of scrolling changes nothing. */
  #wantOf(sids) {
    if (sids.length && sids.every((sid) => this.of?.has(sid)) && this.of.size <= sids.length + FEW) return;
    this.of = new Set(sids);
    this.app.want(sids.length ? { topics: [...TOPICS, "details"], of: [...sids].sort() } : TOPICS);
  }

  #showChips(counts) {
    const shown = Object.keys(counts).filter((state) => counts[state] > 0 || this.states.has(state));
    const ordered = [...STATES, ...shown.filter((state) => !STATES.includes(state))].filter((state) => shown.includes(state));
    keyed(this.chips, ordered, (state) => state, (state) => h("button", { type: "button", class: "button chip", onclick: () => this.#toggle(state) }, stateBadge(state)), (chip, state) => {
      setState(chip.firstChild, state, `${counts[state] ?? 0} ${state}`);
      setAttr(chip, "aria-pressed", String(this.states.has(state)));
    });
  }

  #toggle(state) {
    if (!this.states.delete(state)) this.states.add(state);
    this.table.index = 0;
    this.draw();
  }

  #showFindings(findings, unshown) {
    const most = this.allFindings ? findings.length : FINDINGS;
    const items = findings.slice(0, most).map((finding) => ({ ...finding, key: finding.kind === "slow" ? "slow" : `${finding.kind} ${finding.sid}` }));
    if (findings.length > FINDINGS) items.push({ key: "more", more: findings.length - items.length });
    if (unshown > 0) items.push({ key: "unshown", unshown });
    keyed(this.findings, items, (item) => item.key, (item) => this.#makeFinding(item), (element, item) => this.#updateFinding(element, item));
  }

  #toggleFindings() {
    this.allFindings = !this.allFindings;
    this.draw();
  }

  #makeFinding(item) {
    if (item.key === "unshown") return h("li", { class: "muted" });
    if (item.key === "more") return h("li", null, h("button", { type: "button", class: "button quiet", onclick: () => this.#toggleFindings() }));
    return h("li", { class: "finding", "data-kind": item.kind }, h("div", { class: "finding-head" }, stateBadge(item.state, ""), h("a", { class: "mono" }), " ", h("span", { class: "finding-what" })), h("ul", { class: "finding-views" }));
  }

  #updateFinding(element, item) {
    if (item.key === "unshown") return setText(element, `${item.unshown} more differences of views are not shown: there are too many`);
    if (item.key === "more") return setText(element.firstChild, item.more ? `and ${item.more} more` : "Show fewer");
    const [head, views] = element.children;
    setState(head.children[0], item.state, "");
    setText(head.children[1], this.app.label(item.sid));
    setAttr(head.children[1], "href", this.#placeOf(item.sid));
    setText(head.lastChild, sentenceOf(item, this.app));
    const lines = [...item.others].map(([state, viewers]) => ({ state, text: `seen by ${named(viewers, this.app)}` }));
    if (item.viewers.length) lines.unshift({ state: "suspect", text: `seen by ${named(item.viewers, this.app)}` });
    return keyed(views, lines, (line) => line.state, (line) => h("li", null, stateBadge(line.state), h("span")), (li, line) => setText(li.lastChild, line.text));
  }
}

function sentenceOf(item, app) {
  const since = typeof item.since === "number" ? age(app.now() - item.since) : "";
  if (item.kind === "suspected") return `is suspected for ${since}, by ${plural(item.viewers.length, "member")}`;
  if (item.kind === "failed") return `failed ${since} ago${item.agree > 1 ? `; ${item.agree} see it so` : ""}`;
  if (item.kind === "slow") return slowSentence(item, app);
  return `is seen in different states; here: ${app.member(item.sid)?.status ?? "absent"}`;
}

function slowSentence({ slow, health }, app) {
  const self = `is slow: local health ${health}`;
  return slow.length === 1 ? self : `and ${slow.length - 1} more are slow: ${named(slow.slice(1), app, 3)}; local health up to ${health}`;
}

function makeLegend() {
  const line = (name, text) => h("span", { class: "legend-item" }, h("span", { class: `legend-line legend-${name}`, "aria-hidden": "true" }), text);
  return h("p", { class: "legend muted" }, h("span", { class: "legend-item" }, h("span", { class: "legend-line legend-here", "aria-hidden": "true" }, "underlined"), "serves this page"), line("bar", "round trip from there"), line("suspect", "suspects"), line("failed", "takes for dead, others don't"), line("absent", "does not know"));
}

function mount(root, app, route) {
  const panel = new ClusterPanel(root, app, route);
  return { update: (next) => panel.update(next), unmount: () => panel.unmount() };
}

/** Details are wanted once the members are known: of these, or of those in sight. */
function topics() {
  return TOPICS;
}

export default { id: "cluster", title: "Cluster", topics, mount };
