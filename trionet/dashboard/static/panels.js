// The panels, in the order of the tabs and of the keys 1 to 7. Each is loaded when it is first opened.

export const PANELS = [
  { id: "cluster", title: "Cluster", load: () => import("./panel-cluster.js") },
  { id: "node", title: "Node", load: () => import("./panel-node.js") },
  { id: "calls", title: "Calls", load: () => import("./panel-calls.js") },
  { id: "methods", title: "Methods", load: () => import("./panel-methods.js") },
  { id: "groups", title: "Groups", load: () => import("./panel-groups.js") },
  { id: "services", title: "Services", load: () => import("./panel-services.js") },
  { id: "rumor", title: "Rumor", load: () => import("./panel-rumor.js") },
];
