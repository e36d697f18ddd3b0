// Elements without markup: all text is set by textContent, so what a peer says is never read as HTML.
// This module knows nothing of streams: a report that is one file uses it, too.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "open", "hidden", "indeterminate", "readOnly"]);
const FORBIDDEN = new Set(["style", "innerhtml", "outerhtml", "srcdoc"]);
const LINKS = /^(#|\.{0,2}\/|https?:\/\/)/i;

/** Make an HTML element: h("button", {class: "button", onclick: stop}, "Stop"). */
export function h(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Make an SVG element: svg("circle", {r: 4}). */
export function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) setAttr(element, name, value);
  append(element, children);
  return element;
}

/** Append children: nodes, texts, numbers, nested lists; null, undefined and booleans are left out. */
export function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || typeof child === "boolean") continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : String(child));
  }
}

/** Set an attribute, a property, or a listener ("onclick": a function); null or false removes it. */
export function setAttr(element, name, value) {
  if (FORBIDDEN.has(name.toLowerCase())) throw new TypeError(`${name} is not set from here`);
  if (name.startsWith("on")) {
    if (typeof value !== "function") throw new TypeError(`${name} needs a function`);
    element.addEventListener(name.slice(2).toLowerCase(), value);
  } else if (PROPERTIES.has(name)) {
    if (element[name] !== value) element[name] = value;
  } else if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else {
    const text = value === true ? "" : String(value);
    if (name === "href" && !LINKS.test(text)) throw new TypeError("a link goes to a page: # / http: https:");
    if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}

/** Set the text of a node, only when it differs: selections and live regions stay undisturbed. */
export function setText(node, text) {
  const wanted = text === null || text === undefined ? "" : String(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** Set a custom property or a CSS property through CSSOM, which the content security policy allows. */
export function setStyle(element, name, value) {
  if (element.style.getPropertyValue(name) !== String(value)) element.style.setProperty(name, value);
}

export function clear(element) {
  element.replaceChildren();
}

const kept = new WeakMap();

/**
 * Show one child per item, in order. Children with the same key are kept, so focus and selections stay.
 *
 * make(item, key) returns the element of a new item; update(element, item, key) brings one up to date.
 */
export function keyed(parent, items, keyOf, make, update = () => {}) {
  const before = kept.get(parent) ?? new Map();
  const after = new Map();
  let next = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    if (after.has(key)) continue;
    const element = before.get(key) ?? make(item, key);
    before.delete(key);
    after.set(key, element);
    update(element, item, key);
    if (element === next) next = next.nextSibling;
    else parent.insertBefore(element, next);
  }
  for (const element of before.values()) element.remove();
  kept.set(parent, after);
}

/** Show names and their texts in a <dl>: [{name, text}]. */
export function showPairs(list, facts) {
  const flat = facts.flatMap(({ name, text }) => [{ key: `dt ${name}`, tag: "dt", text: name }, { key: `dd ${name}`, tag: "dd", text }]);
  keyed(list, flat, (one) => one.key, (one) => h(one.tag), (element, one) => setText(element, one.text));
}
