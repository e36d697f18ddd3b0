// One node: how it is, its links, children, tasks, settings, and the tail of its log.

import { h, keyed, setAttr, setStyle, setText, showPairs } from "./dom.js";
import { age, bytes, clock, count, cut, plural, rate, seconds } from "./format.js";
import { goneWords, wordsOf } from "./members.js";
import { Growth, linesOfLog, settingsOf, stateOfLevel, tasksOf } from "./node-facts.js";
import { setState, stateBadge } from "./states.js";

const STATUS = [
  ["State", (status) => status.state],
  ["Up for", (status) => seconds(status.uptime_s)],
  ["Version", (status) => (status.version ? `trionet ${status.version}${status.python ? `, Python ${status.python}` : ""}` : undefined)],
  ["Process", (status) => (status.pid ? `${status.pid}${status.host ? ` on ${status.host}` : ""}` : undefined)],
  ["Protection", (status) => status.protection],
  ["Local health", (status) => (typeof status.health === "number" ? (status.health ? `${status.health}: slow` : "0: good") : undefined)],
  ["Heap", (status) => (typeof status.heap_used === "number" ? `${bytes(status.heap_used)}${status.heap_total ? ` of ${bytes(status.heap_total)}` : ""}` : undefined)],
];

class NodePanel {
  constructor(root, app, route) {
    Object.assign(this, { app, growth: new Growth(), following: true });
    this.badge = stateBadge("joining");
    this.title = h("h1", { class: "mono" });
    this.full = h("span", { class: "muted mono node-sid" });
    this.choice = h("select", { class: "field", "aria-label": "Another node", onchange: (event) => app.go(app.hash("node", [event.target.value])) });
    this.stop = h("button", { type: "button", class: "button danger", onclick: () => this.#stop() }, "Stop this node");
    this.notice = h("p", { class: "notice", "data-kind": "warning", hidden: true });
    this.cards = [this.#statusCard(), this.#statisticsCard(), this.#linksCard(), this.#childrenCard(), this.#tasksCard(), this.#configCard(), this.#logCard()];
    this.body = h("div", { class: "node-body" }, ...this.cards);
    root.append(h("div", { class: "panel-head" }, this.badge, this.title, this.full, h("span", { class: "grow" }), this.choice, this.stop), this.notice, this.body);
    this.offs = [app.store.on("node", () => this.draw()), app.store.on("cluster", () => this.draw()), app.session.onChange(() => this.draw())];
    this.update(route);
  }

  update(route) {
    this.asked = route.segments[0];
    this.following = true;
    this.growth = new Growth();
    this.draw();
  }

  unmount() {
    for (const off of this.offs) off();
  }

  get sid() {
    return this.asked ?? this.app.store.get("cluster")?.self;
  }

  draw() {
    const cluster = this.app.store.get("cluster");
    if (!cluster || document.hidden) return;
    const sid = this.sid;
    this.app.want({ topics: ["node"], node: sid });
    const document_ = this.app.store.get("node");
    const node = document_?.sid === sid ? document_ : undefined;
    const member = this.app.member(sid);
    this.#showHead(cluster, sid, member, node);
    setText(this.notice, this.#problem(member, node));
    this.notice.hidden = !this.notice.textContent;
    this.body.hidden = !node?.status;
    if (node?.status) this.#showCards(node);
  }

  #problem(member, node) {
    const last = node?.status ? " What is shown is the last that it gave." : "";
    if (goneWords(member)) return `It ${goneWords(member)}, and can't be asked.${last}`;
    if (!member && !node?.status) return `No member of this cluster has the SID ${cut(this.sid, 80)}.`;
    if (node?.error) return `It gives no figures: ${node.error}.${last}`;
    if (!node && member?.status !== "alive") return `It is ${member.status}, so it may not answer.`;
    return "";
  }

  #showHead(cluster, sid, member, node) {
    const state = member?.status ?? "absent";
    setState(this.badge, state);
    setText(this.title, member?.address ?? node?.address ?? cut(sid, 20));
    setText(this.full, sid);
    const members = Object.entries(cluster.members).filter(([key, one]) => one.status !== "left" || key === sid).sort(([, one], [, other]) => natural.compare(one.address, other.address));
    keyed(this.choice, members, ([one]) => one, ([one]) => h("option", { value: one }), (option, [, one]) => setText(option, `${one.address}${one.status === "alive" ? "" : ` (${one.status})`}`));
    if (this.choice.value !== sid && document.activeElement !== this.choice) this.choice.value = sid;
    const reason = this.app.reason("admin") ?? (state === "failed" || state === "left" ? `It is ${state}` : null);
    this.stop.disabled = Boolean(reason);
    setAttr(this.stop, "title", reason);
  }

  #showCards(node) {
    this.#showStatus(node);
    this.#showStatistics(node);
    this.#showLinks(node);
    this.#showChildren(node);
    this.#showTasks(node);
    this.#showConfig(node);
    this.#showLog(node);
  }

  #statusCard() {
    this.status = h("dl", { class: "pairs" });
    this.tags = h("p", { class: "node-tags" });
    return card("Now", "node-status", h("div", { class: "card-body" }, this.status, this.tags));
  }

  #showStatus({ status, tags }) {
    const facts = STATUS.map(([name, text]) => ({ name, text: text(status) })).filter(({ text }) => text !== undefined);
    showPairs(this.status, facts);
    keyed(this.tags, Object.entries(tags ?? {}), ([name]) => name, () => h("span", { class: "tag" }), (tag, [name, value]) => setText(tag, `${name}=${cut(typeof value === "string" ? value : JSON.stringify(value), 60)}`));
  }

  #statisticsCard() {
    this.statistics = h("tbody");
    return card("Figures", "node-statistics", scroller("Figures", h("table", { class: "data" }, h("thead", { class: "sr-only" }, h("tr", null, h("th", { scope: "col" }, "Figure"), h("th", { scope: "col" }, "Value"), h("th", { scope: "col" }, "Growth"))), this.statistics)));
  }

  #showStatistics({ statistics }) {
    const rates = this.growth.of(statistics ?? {}, Date.now() / 1000);
    const rows = Object.entries(statistics ?? {}).map(([name, value]) => ({ name, value, rate: rates[name] }));
    keyed(this.statistics, rows, (row) => row.name, (row) => h("tr", null, h("th", { scope: "row" }, row.name.replaceAll("_", " ")), h("td", { class: "num" }), h("td", { class: "num muted" })), (element, row) => {
      setText(element.cells[1], figure(row.name, row.value));
      setText(element.cells[2], row.rate ? `+${row.name.startsWith("bytes") ? bytes(row.rate) : rate(row.rate)}/s` : "");
    });
  }

  #linksCard() {
    this.links = h("tbody");
    this.noLinks = h("p", { class: "empty" }, "No open links.");
    const head = [["Peer"], ["Direction"], ["Open for", "num"], ["Calls", "num"], ["Queued", "num"]];
    return card("Links", "node-links", scroller("Links", table(head, this.links), this.noLinks));
  }

  #showLinks({ links }) {
    const rows = Object.entries(links ?? {}).sort(([one], [other]) => natural.compare(one, other));
    this.noLinks.hidden = rows.length > 0;
    for (const name of ["age_s", "calls"]) this.links.parentElement.classList.toggle(`without-${name}`, !rows.some(([, link]) => typeof link[name] === "number"));
    keyed(this.links, rows, ([key]) => key, ([key, link]) => h("tr", null, h("th", { scope: "row", class: "mono" }, cut(link.peer ?? key, 60)), h("td"), h("td", { class: "num" }), h("td", { class: "num" }), h("td", { class: "num" })), (row, [, link]) => {
      setText(row.cells[1], link.direction === "out" ? "→ out" : "← in");
      setText(row.cells[2], age(link.age_s));
      setText(row.cells[3], count(link.calls));
      setText(row.cells[4], link.queued_bytes ? bytes(link.queued_bytes) : "0");
    });
  }

  #childrenCard() {
    this.children = h("tbody");
    this.noChildren = h("p", { class: "empty" }, "It has spawned no nodes.");
    return card("Children", "node-children", scroller("Children", table([["Address"], ["Launcher"], ["State"], ["Booted", "num"]], this.children), this.noChildren));
  }

  #showChildren({ children }) {
    const rows = Object.entries(children ?? {});
    this.noChildren.hidden = rows.length > 0;
    const known = new Map(Object.entries(this.app.store.get("cluster").members).map(([sid, member]) => [member.address, sid]));
    keyed(this.children, rows, ([key]) => key, () => h("tr", null, h("th", { scope: "row", class: "mono" }, h("a")), h("td"), h("td"), h("td", { class: "num" })), (row, [, child]) => {
      const sid = known.get(child.address);
      setText(row.cells[0].firstChild, child.address ?? "not yet");
      setAttr(row.cells[0].firstChild, "href", sid ? this.app.hash("node", [sid]) : null);
      setText(row.cells[1], cut(child.launcher, 40));
      setText(row.cells[2], cut(child.state, 40));
      setText(row.cells[3], typeof child.booted === "number" ? clock(child.booted) : "–");
    });
  }

  #tasksCard() {
    this.tasks = h("ul", { class: "tasks" });
    this.taskCount = h("span", { class: "muted" });
    return card("Tasks", "node-tasks", scroller("Tasks", this.tasks), this.taskCount);
  }

  #showTasks({ tasks }) {
    const rows = tasksOf(tasks);
    setText(this.taskCount, plural(rows.length, "task"));
    keyed(this.tasks, rows, (task) => task.id, () => h("li", null, h("span", { class: "sr-only" }), h("span", { class: "task-name" }), h("span", { class: "muted task-at mono" })), (item, task) => {
      setStyle(item, "--depth", Math.min(task.depth, 20));
      setText(item.children[0], `level ${task.depth + 1}: `);
      setText(item.children[1], cut(task.name, 120));
      setText(item.children[2], task.at ? cut(task.at, 160) : "");
    });
  }

  #configCard() {
    this.config = h("tbody");
    this.allConfig = h("input", { type: "checkbox", onchange: () => this.draw() });
    this.configCount = h("span", { class: "muted" });
    return card("Configuration", "node-config", scroller("Configuration", table([["Setting"], ["Value"], ["Default"]], this.config)), this.configCount, h("label", { class: "nowrap" }, this.allConfig, " all settings"));
  }

  #showConfig({ config }) {
    const all = settingsOf(config);
    const changed = all.filter((setting) => setting.changed);
    setText(this.configCount, `${changed.length} of ${all.length} changed`);
    keyed(this.config, this.allConfig.checked ? all : changed, (setting) => setting.name, (setting) => h("tr", null, h("th", { scope: "row", class: "mono" }, setting.name), h("td", { class: "mono" }), h("td", { class: "mono muted" })), (row, setting) => {
      setAttr(row, "data-changed", setting.changed || null);
      setText(row.cells[1], setting.text);
      setText(row.cells[2], setting.changed ? setting.usual : "the same");
    });
  }

  #logCard() {
    this.level = h("select", { class: "field", "aria-label": "Least level", onchange: () => this.draw() }, ...["DEBUG", "INFO", "WARNING", "ERROR"].map((level) => h("option", { value: level }, level === "DEBUG" ? "all levels" : `${level} and above`)));
    this.logFilter = h("input", { class: "field filter", type: "search", placeholder: "Filter  /", "aria-label": "Filter the log", "aria-keyshortcuts": "/", spellcheck: "false", oninput: () => this.draw() });
    this.log = h("ol", { class: "log", tabindex: 0, "aria-label": "Log records, the latest last", onscroll: () => this.#scrolled() });
    this.noLog = h("p", { class: "empty" }, "No record fits.");
    this.latest = h("button", { type: "button", class: "button", hidden: true, onclick: () => this.#follow() }, "To the latest");
    return card("Log", "node-log", h("div", null, this.log, this.noLog), this.latest, this.level, this.logFilter);
  }

  #showLog({ log }) {
    const lines = linesOfLog(log, this.level.value, wordsOf(this.logFilter.value));
    this.noLog.hidden = lines.length > 0;
    setText(this.noLog, Object.keys(log ?? {}).length ? "No record fits." : "It has logged nothing yet.");
    this.log.hidden = lines.length === 0;
    keyed(this.log, lines, (line) => line.number, (line) => h("li", { class: "log-line", "data-level": line.level }, h("time", { class: "mono muted" }, clock(line.time)), stateBadge(stateOfLevel(line.level), cut(line.level, 10)), h("span", { class: "muted log-logger" }, cut(line.logger, 60)), h("span", { class: "log-text" }, cut(line.text, 4000))));
    if (this.following) this.log.scrollTop = this.log.scrollHeight;
  }

  #scrolled() {
    this.following = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 30;
    this.latest.hidden = this.following;
  }

  #follow() {
    this.following = true;
    this.log.scrollTop = this.log.scrollHeight;
  }

  async #stop() {
    const sid = this.sid;
    const here = sid === this.app.store.get("cluster")?.self;
    const address = this.app.label(sid);
    const text = `It leaves the cluster, finishes the calls in progress for up to its stop_grace_s, and ends. Its children stop with it. Nothing here starts it again.${here ? " It is the node that serves this page: the page loses its connection." : ""}`;
    if (!(await this.app.confirm({ title: `Stop ${address}?`, text, action: "Stop it", danger: true }))) return;
    try {
      await this.app.call(`${sid}/status/stop`);
      this.app.say(`${address} is stopping.`);
    } catch (error) {
      this.app.say(`${address} was not stopped: ${error.text ?? error.message}`);
    }
  }
}

const natural = new Intl.Collator("en", { numeric: true });

function card(title, name, content, ...tools) {
  return h("section", { class: `card ${name}`, "aria-label": title }, h("div", { class: "card-head" }, h("h2", null, title), h("span", { class: "grow" }), ...tools), content);
}

function scroller(label, ...content) {
  return h("div", { class: "table-wrap scroller", tabindex: 0, role: "group", "aria-label": label }, ...content);
}

function table(heads, body) {
  return h("table", { class: "data" }, h("thead", null, h("tr", null, ...heads.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)))), body);
}

function figure(name, value) {
  if (typeof value !== "number") return cut(typeof value === "object" ? JSON.stringify(value) : value, 60);
  if (/(^|_)bytes(_|$)|heap/.test(name)) return bytes(value);
  return Number.isInteger(value) ? count(value) : value.toPrecision(3);
}

function mount(root, app, route) {
  const panel = new NodePanel(root, app, route);
  return { update: (next) => panel.update(next), unmount: () => panel.unmount() };
}

function topics({ segments }) {
  return segments[0] ? { topics: ["node"], node: segments[0] } : null;
}

export default { id: "node", title: "Node", topics, mount };
