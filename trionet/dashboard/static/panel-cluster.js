// The members of the cluster.

import { h, keyed, setText } from "./dom.js";
import { plural, short } from "./format.js";
import { setState, stateBadge } from "./states.js";

function mount(root, app) {
  const title = h("h1", null, "Members");
  const body = h("tbody");
  const head = h("tr", null, ...["State", "Node", "Address", "Incarnation"].map((name) => h("th", { scope: "col" }, name)));
  root.append(h("div", { class: "panel-head" }, title), h("div", { class: "card table-wrap" }, h("table", { class: "data" }, h("thead", null, head), body)));
  return app.store.on("cluster", (cluster) => {
    const members = Object.entries(cluster.members);
    setText(title, plural(members.length, "member"));
    keyed(body, members, ([sid]) => sid, makeRow, updateRow);
  });
}

function makeRow([sid]) {
  return h("tr", { "data-sid": sid }, h("td", null, stateBadge("joining")), h("td", { class: "mono" }, short(sid)), h("td", { class: "mono" }), h("td", { class: "num" }));
}

function updateRow(row, [, member]) {
  setState(row.cells[0].firstChild, member.status);
  setText(row.cells[2], member.address);
  setText(row.cells[3], member.incarnation);
}

export default { id: "cluster", title: "Cluster", topics: () => ["cluster"], mount };
