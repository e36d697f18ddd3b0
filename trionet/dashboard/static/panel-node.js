// One node.

import { h } from "./dom.js";

function mount(root, app, route) {
  root.append(h("p", { class: "empty" }, `The node ${app.label(route.segments[0] ?? app.store.get("cluster")?.self)}`));
}

export default { id: "node", title: "Node", topics: () => ["node"], mount };
