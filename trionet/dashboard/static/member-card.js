// One member in short, beside the ring: its state, its figures, and who sees it how.

import { h, keyed, setAttr, setText, showPairs } from "./dom.js";
import { age, bytes, count, MISSING, ms, plural, rate, seconds } from "./format.js";
import { healthText } from "./members-table.js";
import { tagTexts } from "./members.js";
import { setState, stateBadge } from "./states.js";

const natural = new Intl.Collator("en", { numeric: true });
const FACTS = [
  ["Node", (row) => row.sid],
  ["Suspected by", (row, app) => (row.by?.length ? named(row.by, app, 8) : MISSING)],
  ["Incarnation", (row) => String(row.incarnation ?? MISSING)],
  ["Version", (row) => row.version ?? MISSING],
  ["Up for", (row) => seconds(row.uptime_s)],
  ["Round trip", (row) => ms(row.rtt_ms)],
  ["Lag of its loop", (row) => ms(row.lag_ms)],
  ["Local health", healthText],
  ["Calls", (row) => (typeof row.calls_per_s === "number" ? `${rate(row.calls_per_s)} per second, ${count(row.running)} running` : MISSING)],
  ["Links", (row) => count(row.links)],
  ["Heap", (row) => bytes(row.heap_used)],
];

export class MemberCard {
  constructor({ app, onClose }) {
    this.app = app;
    this.title = h("h2", { class: "mono" });
    this.badge = stateBadge("joining");
    this.facts = h("dl", { class: "pairs" });
    this.tags = h("p", { class: "member-tags", "aria-label": "Tags" });
    this.error = h("p", { class: "notice", "data-kind": "warning", hidden: true });
    this.views = h("ul", { class: "views" });
    this.link = h("a", { class: "button" }, "Open this node");
    this.element = h(
      "section",
      { class: "card member-card", "aria-label": "The chosen member", hidden: true },
      h("div", { class: "card-head" }, this.title, h("span", { class: "grow" }), this.badge, h("button", { type: "button", class: "button quiet icon", "aria-label": "Close", onclick: onClose }, "×")),
      h("div", { class: "card-body stack" }, this.error, this.facts, this.tags, h("h3", null, "Seen by the others"), this.views, h("div", null, this.link)),
    );
  }

  show(row, opinions, asked) {
    this.element.hidden = !row;
    if (!row) return;
    setText(this.title, row.address);
    setState(this.badge, row.status, `${row.status} for ${age(this.app.now() - row.since)}`);
    showPairs(this.facts, FACTS.map(([name, text]) => ({ name, text: text(row, this.app) })).filter(({ text }) => text !== MISSING));
    keyed(this.tags, tagTexts(row.tags), (text) => text, (text) => h("span", { class: "tag", title: text }, text));
    this.error.hidden = !row.error;
    setText(this.error, row.error ? `It gives no figures: ${row.error}` : "");
    setAttr(this.link, "href", this.app.hash("node", [row.sid]));
    keyed(this.views, this.#lines(row, opinions, asked), (line) => line.state, (line) => h("li", null, stateBadge(line.state), h("span")), (item, line) => setText(item.lastChild, line.text));
  }

  #lines(row, opinions, asked) {
    const { own, others } = opinions.of(row.sid);
    const agreeing = opinions.viewersOf(row.sid, own).length;
    const here = agreeing > 1 ? `here and by ${plural(agreeing - 1, "other")} of ${asked - 1} asked` : "here";
    const lines = [...others].map(([state, viewers]) => ({ state, text: `by ${named(viewers, this.app)}` }));
    return [{ state: own, text: others.size ? here : `${here}; no member sees it otherwise` }, ...lines];
  }
}

/** Some names, and how many more. */
export function named(sids, app, most = 4) {
  const names = sids.map((sid) => app.label(sid)).sort(natural.compare).slice(0, most);
  return sids.length > most ? `${names.join(", ")} and ${sids.length - most} more` : names.join(", ");
}
