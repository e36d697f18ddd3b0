// A form made from a method's signature: one field a parameter, typed; what is wrong is told at the field.

import { argumentsOf, defaultOf, fieldOf, fieldText, hasDefault, HINTS, isLeftOut } from "./arguments.js";
import { cut } from "./format.js";
import { h, setAttr, setText } from "./dom.js";

const RAW = [
  { name: "args", kind: "rest", type: "json" },
  { name: "kwargs", kind: "named", type: "json" },
];
const AREAS = new Set(["list", "dict", "json"]);
let made = 0;

export class MethodForm {
  /** Args: form: the method as the node describes it. before: what was written before, by the fields' names. */
  constructor(form, before = {}) {
    this.parameters = form.parameters ?? RAW;
    this.fields = this.parameters.map((parameter) => new Field(parameter, before[parameter.name]));
    this.summary = h("p", { class: "form-errors", role: "alert", hidden: true });
    const note = form.parameters ? null : h("p", { class: "muted" }, "This method tells no signature: write its arguments as JSON.");
    const none = this.parameters.length ? null : h("p", { class: "muted" }, "It takes no arguments.");
    this.element = h("div", { class: "method-form" }, note, none, ...this.fields.map((field) => field.element), this.summary);
  }

  /** What is written, by the fields' names. */
  get written() {
    return Object.fromEntries(this.fields.map((field) => [field.parameter.name, field.written]));
  }

  /** Return {args, kwargs}; or null, and mark the fields that are wrong and go to the first. */
  read() {
    const { args, kwargs, errors } = argumentsOf(this.parameters, this.written);
    let first = null;
    for (const field of this.fields) {
      const text = errors[field.parameter.name] ?? "";
      field.mark(text);
      if (text) first ??= field;
    }
    this.#tell("");
    if (first === null) return { args, kwargs };
    first.input.focus();
    return null;
  }

  /** Show an error of the node at its field. Returns whether it is about one. */
  refuse(error) {
    const name = fieldOf(error);
    const field = this.fields.find((one) => one.parameter.name === name);
    if (!field) return false;
    field.mark(cut(fieldText(error), 300));
    field.input.focus();
    return true;
  }

  #tell(text) {
    setText(this.summary, text);
    setAttr(this.summary, "hidden", !text);
  }
}

class Field {
  constructor(parameter, before) {
    this.parameter = parameter;
    this.id = `field-${++made}`;
    const isOpen = hasDefault(parameter);
    this.input = this.#input();
    this.modes = parameter.type === "bytes" && parameter.kind !== "rest" ? this.#modes() : null;
    this.usesDefault = isOpen ? this.#choice(restWords(parameter) ?? `default: ${cut(defaultOf(parameter), 60)}`) : null;
    this.isNull = parameter.is_optional && parameter.default !== "null" ? this.#choice("none") : null;
    this.error = h("p", { class: "field-error", id: `${this.id}-error`, hidden: true });
    const about = [parameter.annotation ?? parameter.type, PLACES[parameter.kind]].filter(Boolean).join(", ");
    this.element = h(
      "div",
      { class: "form-row" },
      h("label", { class: "form-name", for: this.id }, h("code", null, `${STARS[parameter.kind] ?? ""}${parameter.name}`), h("span", { class: "form-type muted" }, cut(about, 120))),
      h("div", { class: "form-value" }, this.input, this.modes),
      h("div", { class: "form-choices" }, this.usesDefault?.label, this.isNull?.label),
      this.error,
    );
    this.#fill(before);
  }

  get written() {
    const isDefault = this.usesDefault?.box.checked ?? false;
    return { given: !isDefault, isNull: this.isNull?.box.checked ?? false, text: this.input.value, mode: this.modes?.value };
  }

  mark(text) {
    setAttr(this.input, "aria-invalid", text ? "true" : null);
    setText(this.error, text);
    setAttr(this.error, "hidden", !text);
  }

  #input() {
    const { parameter, id } = this;
    const common = { id, class: "field form-input", "aria-describedby": `${id}-error`, oninput: () => this.#touched(), onchange: () => this.#touched() };
    if (parameter.kind === "rest") return h("textarea", { ...common, rows: 1, spellcheck: "false", placeholder: "a JSON list: [1, 2]" });
    if (parameter.kind === "named") return h("textarea", { ...common, rows: 1, spellcheck: "false", placeholder: 'a JSON object: {"name": 1}' });
    if (parameter.type === "bool") return h("select", common, h("option", { value: "false" }, "false"), h("option", { value: "true" }, "true"));
    if (parameter.type === "choice") return h("select", common, ...(parameter.choices ?? []).map((one) => h("option", { value: String(one) }, String(one))));
    const hint = HINTS[parameter.type] ?? "";
    if (AREAS.has(parameter.type)) return h("textarea", { ...common, rows: 2, spellcheck: "false", placeholder: hint });
    const mode = parameter.type === "int" ? "numeric" : parameter.type === "float" ? "decimal" : null;
    return h("input", { ...common, type: "text", inputmode: mode, autocomplete: "off", spellcheck: parameter.type === "str" ? null : "false", placeholder: hint });
  }

  #modes() {
    const options = ["text", "hex", "base64"].map((mode) => h("option", { value: mode }, mode));
    return h("select", { class: "field", "aria-label": `How ${this.parameter.name} is written` }, ...options);
  }

  #choice(word) {
    const box = h("input", { type: "checkbox", onchange: () => this.#chosen(box) });
    return { box, label: h("label", { class: "form-choice" }, box, h("span", null, word)) };
  }

  #fill(before) {
    const { parameter } = this;
    const text = before?.text ?? this.#first();
    if (this.input.tagName !== "SELECT" || [...this.input.options].some((option) => option.value === text)) this.input.value = text;
    if (this.modes) this.modes.value = before?.mode ?? "text";
    if (this.isNull) this.isNull.box.checked = before?.isNull ?? false;
    if (this.usesDefault) this.usesDefault.box.checked = before ? !before.given : hasDefault(parameter);
    this.#dim();
  }

  /** What a select shows at first: the default, where it is one of its options. */
  #first() {
    const { parameter } = this;
    if (parameter.type === "bool") return parameter.default === "true" ? "true" : "false";
    if (parameter.type !== "choice") return "";
    try {
      return String(JSON.parse(parameter.default ?? "null") ?? parameter.choices?.[0] ?? "");
    } catch {
      return "";
    }
  }

  #touched() {
    if (this.usesDefault) this.usesDefault.box.checked = isLeftOut(this.parameter, this.input.value);
    if (this.isNull) this.isNull.box.checked = false;
    this.mark("");
    this.#dim();
  }

  #chosen(box) {
    if (box.checked) for (const other of [this.usesDefault, this.isNull]) if (other && other.box !== box) other.box.checked = false;
    this.mark("");
    this.#dim();
  }

  #dim() {
    const isUnused = (this.usesDefault?.box.checked || this.isNull?.box.checked) ?? false;
    setAttr(this.element, "data-unused", isUnused ? "true" : null);
  }
}

const STARS = { rest: "*", named: "**" };
const PLACES = { keyword: "by name", positional: "by position", rest: "any number", named: "any names" };

function restWords(parameter) {
  return parameter.kind === "rest" || parameter.kind === "named" ? "none" : null;
}
