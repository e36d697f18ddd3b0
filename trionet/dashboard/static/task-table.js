// The periodic tasks of all members, and the button that ends one.

import { h, keyed, setAttr, setText } from "./dom.js";
import { count, cut, plural } from "./format.js";
import { setState, stateBadge } from "./states.js";

const COLUMNS = ["State", "Runs", "Failures", "Every", "What", "Group", "Node", ""];
const NUMBERS = new Set(["Runs", "Failures", "Every"]);

export class TaskTable {
  constructor(app) {
    this.app = app;
    this.body = h("tbody");
    this.title = h("h2", null, "Periodic tasks");
    this.none = h("p", { class: "empty", hidden: true }, "No member runs a periodic task. ", h("code", null, "group.gossip.at(5.0, function)"), " starts one.");
    const head = h("tr", null, ...COLUMNS.map((name) => h("th", { scope: "col", class: NUMBERS.has(name) ? "num" : null }, name || h("span", { class: "sr-only" }, "Stop"))));
    this.table = h("div", { class: "table-wrap", tabindex: "0", role: "group", "aria-label": "Periodic tasks" }, h("table", { class: "data" }, h("thead", null, head), this.body));
    this.element = h("section", { class: "card task-card" }, this.title, this.table, this.none);
  }

  show(tasks) {
    if (!tasks) {
      setText(this.title, "Periodic tasks: asking the members…");
      return;
    }
    const rows = Object.entries(tasks).sort(([a, one], [b, other]) => (one.node === other.node ? (a < b ? -1 : 1) : one.node < other.node ? -1 : 1));
    setText(this.title, plural(rows.length, "periodic task"));
    setAttr(this.none, "hidden", rows.length > 0);
    setAttr(this.table, "hidden", rows.length === 0);
    keyed(this.body, rows, ([id]) => id, ([id, task]) => this.#make(id, task), (row, [, task]) => this.#update(row, task));
  }

  #make(id, task) {
    const stop = h("button", { type: "button", class: "button danger", onclick: () => this.#stop(id, task) }, "Stop");
    const cells = COLUMNS.slice(1, -1).map((name) => h("td", { class: NUMBERS.has(name) ? "num" : "mono" }));
    return h("tr", { title: id }, h("td", { class: "nowrap" }, stateBadge("waiting", "waiting")), ...cells, h("td", { class: "num" }, stop));
  }

  #update(row, task) {
    const [state, runs, failures, every, what, group, node] = row.cells;
    if (task.failures) setState(state.firstChild, "warning", task.is_running ? "runs, has failed" : "has failed");
    else setState(state.firstChild, task.is_running ? "running" : "waiting", task.is_running ? "runs now" : "waits");
    setText(runs, count(task.runs));
    setText(failures, count(task.failures));
    setText(every, everyText(task).replace(/^every /, ""));
    setText(what, cut(task.what, 80));
    setText(group, cut(task.gid, 60));
    setText(node, this.app.label(task.node));
    const button = row.cells[row.cells.length - 1].firstChild;
    const reason = this.app.reason("call");
    setAttr(button, "disabled", Boolean(reason));
    setAttr(button, "title", reason);
    setAttr(button, "aria-label", `Stop ${cut(task.what, 60)} on ${this.app.label(task.node)}`);
  }

  async #stop(id, task) {
    const isSure = await this.app.confirm({
      title: "Stop this periodic task?",
      text: `${cut(task.what, 80)}, ${everyText(task)} in the group ${cut(task.gid, 60)}, ends on ${this.app.label(task.node)}; a run in progress is cancelled. It is not started again by itself.`,
      action: "Stop it",
      danger: true,
    });
    if (!isSure) return;
    try {
      const answer = await this.app.call("local/gossip/del", [id]);
      this.app.say(answer.value ? "The task has ended." : "The task had ended already.");
    } catch (error) {
      this.app.say(`The task was not stopped: ${error.message}`);
    }
  }
}

/** How often a task runs, in words: "every 5 s". */
export function everyText({ interval_s, jitter_s }) {
  const every = interval_s >= 1 ? `${round(interval_s)} s` : `${round(1000 * interval_s)} ms`;
  return jitter_s > 0 ? `every ${every} + up to ${round(jitter_s)} s` : `every ${every}`;
}

function round(value) {
  return Number(value.toPrecision(4)).toLocaleString("en-US");
}
